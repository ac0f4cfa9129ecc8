"""The command line's verbs as functions, for notebooks and programs.

A function types what the command line would, so it reads, checks and does the same. Its parameters
are the verb's options with _ for -, and `for_` for --for. What it returns shows itself, in a
notebook with pictures. Left out is what prints or keeps running in the place of a result, and
processes of `candor train`, which torchrun or Ray start. A server gets a free port if none is
given.
"""

import inspect
import keyword
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from candor.command_line import app, reason
from candor.commands.options import settings
from candor.commands.serving import require_production
from candor.server_process import ServerProcess
from candor.terminal.verb_result import VerbResult

if TYPE_CHECKING:
    from candor.terminal.imported import Imported
    from candor.terminal.published import Exported
    from candor.terminal.recalibration import Recalibrated
    from candor.terminal.report import Reported
    from candor.terminal.run_result import Trained

_COMMANDS: Final[Mapping[str, Any]] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
_VERBS: Final = {
    name: name.replace("import", "import_model")
    for name in ("train", "export", "import", "promote", "serve", "report", "recalibrate")
}
_LEFT_OUT: Final[Mapping[str, set[str]]] = {
    "train": {"help_all", "list_losses", "nproc"},
    "promote": {"wait", "url", "limit", "token_file"},
    "report": {"every", "to", "once", "fail_on_alarm"},
}
_JOINED: Final = {"size": "x"}  # what stands between the parts of a value


class Refused(Exception):
    """A verb cannot do what was asked; its text says why, and what to do.

    The error behind it is its cause. A notebook shows the text alone.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"candor: {self}"]


def parameters(verb: str) -> dict[str, Any]:
    """Return the parameters of a verb, by their names in Python."""
    left_out = _LEFT_OUT.get(verb, set()) | {"json_out"}
    return {_name(each): each for each in _COMMANDS[verb].params if each.name not in left_out}


def _name(parameter: Any) -> str:
    name: str = parameter.opts[0].lstrip("-").replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


def _signature(verb: str) -> inspect.Signature:
    """Arguments by position or name, options by name; None is what was not given."""
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                kinds[each.param_type_name == "option"],
                default=inspect.Parameter.empty if each.required else each.default,
            )
            for name, each in parameters(verb).items()
        ]
    )


def _typed(verb: str, given: Mapping[str, Any]) -> list[str]:
    """What the command line would be given: options first, then arguments."""
    known = parameters(verb)
    options = [
        typed
        for name, value in given.items()
        if value is not None and known[name].param_type_name == "option"
        for typed in _option(verb, name, known[name], value)
    ]
    arguments = (given.get(name) for name in known if known[name].param_type_name == "argument")
    return [*options, "--", *(_text(value, ",") for value in arguments if value is not None)]


def _option(verb: str, name: str, option: Any, value: Any) -> Iterator[str]:
    if option.is_flag:
        yield from (option.opts if value else option.secondary_opts)[:1]
        return
    between = "|" if (verb, name) == ("train", "findings") else _JOINED.get(name, ",")
    if option.multiple and isinstance(value, Mapping):
        value = [f"{key}={_text(each, ',')}" for key, each in value.items()]
    several = option.multiple and not isinstance(value, str)
    for each in value if several else [value]:
        yield f"{option.opts[0]}={_text(each, between)}"


def _text(value: Any, between: str) -> str:
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return between.join(str(each) for each in value)
    return str(value)


def in_python(text: str) -> str:
    """The text with functions in the place of commands, and parameters in that of options.

    >>> print(in_python("Next: candor export runs/first --name MODEL"))
    Next: candor.export('runs/first', name='MODEL')
    >>> print(in_python("`candor export` refuses it without --anyway; see --class-weights"))
    `candor.export` refuses it without anyway=True; see class_weights
    """
    text = re.sub(r"(?m)(?<=Next: )candor .+$", lambda found: _call(found[0]), text)
    text = re.sub(r"(?<=`)candor [^`]+(?=`)", lambda found: _call(found[0], bare=True), text)
    options = r"Next: candor .+|(?<![\w-])--[a-z][a-z-]+"  # a command that is no function stays
    return re.sub(options, lambda found: _spoken(found[0]), text)


def _call(command: str, *, bare: bool = False) -> str:
    """A command as a call, if it is one of these verbs; `bare`: without () if nothing is given."""
    _, verb, *words = [*shlex.split(command), ""]
    if verb not in _VERBS:
        return command
    known = {option: each for each in _COMMANDS[verb].params for option in each.opts}
    given, left = [], iter(words[:-1])
    for word in left:
        option = known.get(word)
        if option is None:
            given.append(word if word.isdecimal() else repr(word))
        else:
            value = "True" if option.is_flag else repr(next(left, ""))
            given.append(f"{_name(option)}={value}")
    return f"candor.{_VERBS[verb]}" + ("" if bare and not given else f"({', '.join(given)})")


def _spoken(option: str) -> str:
    for verb in _VERBS:
        for name, each in parameters(verb).items():
            if option in each.opts:
                return f"{name}=True" if getattr(each, "is_flag", False) else name
    return option


def _do(verb: str, given: Mapping[str, Any]) -> Any:
    """Do what the verb does. Raises Refused."""
    command, typed = _COMMANDS[verb], _typed(verb, given)
    if verb == "serve":
        require_production(settings(store=given.get("store")).opened_store)
        return ServerProcess([f"--port={given.get('port') or 0}", *typed])
    with command.make_context(f"candor {verb}", typed) as context:
        return command.invoke(context)


def _function(verb: str) -> Callable[..., Any]:
    """The verb as a function."""
    signature = _signature(verb)

    def call(*given: Any, **options: Any) -> Any:
        bound = signature.bind(*given, **options)
        try:
            made = _do(verb, bound.arguments)
        except Exception as error:
            why = reason(error)
            if why is None:
                raise
            raise Refused(in_python(why)) from error
        if isinstance(made, VerbResult):
            made.worded = in_python
        return made

    call.__name__ = call.__qualname__ = _VERBS[verb]
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__doc__ = _documentation(verb)
    return call


def _documentation(verb: str) -> str:
    told = inspect.cleandoc(_COMMANDS[verb].callback.__doc__ or "").partition("\n\nExample:")[0]
    lines = (f"    {name}: {each.help}" for name, each in parameters(verb).items())
    return in_python("\n".join([told, "", "Args:", *lines]))


train: Callable[..., "Trained"] = _function("train")
export: Callable[..., "Exported"] = _function("export")
import_model: Callable[..., "Imported"] = _function("import")
promote: Callable[..., None] = _function("promote")
serve: Callable[..., ServerProcess] = _function("serve")
report: Callable[..., "Reported"] = _function("report")
recalibrate: Callable[..., "Recalibrated"] = _function("recalibrate")
