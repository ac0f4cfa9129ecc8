"""Every verb of the command line, from its own help."""

import inspect
from typing import Any

import typer

from candor.command_line import app
from docs.generators.markdown import plain, table


def command_line() -> str:
    """One section for each verb."""
    return "\n\n".join(_sections(typer.main.get_command(app), "candor", None))


def _sections(command: Any, name: str, parent: Any) -> list[str]:
    context = command.context_class(command, info_name=name.split()[-1], parent=parent)
    verbs = getattr(command, "commands", None)
    if verbs is None:
        return [_section(command, name, context)]
    return [part for verb in verbs for part in _sections(verbs[verb], f"{name} {verb}", context)]


def _section(command: Any, name: str, context: Any) -> str:
    usage = f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
    rows = [_row(each, context) for each in command.params if each.name != "help"]
    return "\n\n".join(
        [f"## `{name}`", plain(inspect.cleandoc(command.help)), usage, *_table(rows)]
    )


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    return [table(("argument or option", "default", "meaning"), rows)] if rows else []


def _row(parameter: Any, context: Any) -> tuple[str, str, str]:
    if parameter.param_type_name == "argument":
        names = f"`{parameter.name.upper()}`"
    else:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    default = parameter.get_default(context, call=False)
    unset = default is None or default is False or default in ((), [])
    shown = "required" if parameter.required else "" if unset else f"`{default}`"
    return names, shown, plain(parameter.help or "")
