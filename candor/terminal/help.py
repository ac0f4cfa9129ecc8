"""How help looks: plain text, the verbs by what they are for; and sentences name options.

What was typed stands in usage errors, so control characters in them are made visible.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from typer.core import TyperCommand, TyperGroup

from calibration.wording import typed
from candor.terminal.console import visible

_NAMES_WIDTH: Final = 26  # of the column of options; a longer one has a line of its own
_SHORT: Final = 200  # characters of a verb's first sentence


class VerbHelp(TyperCommand):
    """A verb whose options leave room for their texts."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """As TyperCommand.format_options, with a narrow column of names."""
        for kind, title in {"argument": "Arguments", "option": "Options"}.items():
            parameters = (each for each in self.get_params(ctx) if _is_a(each, kind))
            found = (each.get_help_record(ctx) for each in parameters)
            rows = [row for row in found if row is not None]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=_NAMES_WIDTH)


def _is_a(parameter: Any, kind: str) -> bool:
    return bool(parameter.param_type_name == kind)


class VerbsHelp(TyperGroup):
    """The root: verbs in sections; errors that a terminal can print."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """A section for each panel, in their order."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, verb in self.commands.items():
            row = (name, verb.get_short_help_str(_SHORT))
            panels.setdefault(getattr(verb, "rich_help_panel", None) or "Verbs", []).append(row)
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """As TyperGroup.make_context, whose usage errors are printable."""
        with _printable_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, *arguments: Any, **options: Any) -> Any:
        """As TyperGroup.invoke, whose usage errors are printable."""
        with typed(), _printable_errors():
            return super().invoke(*arguments, **options)


@contextmanager
def _printable_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        usage: Any = error
        if hasattr(error, "format_message"):  # a usage error, of whichever click Typer brings
            usage.message = visible(str(usage.message))
        raise
