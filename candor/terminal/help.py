"""The root of the command line's verbs: sentences name options, and help prints brackets as they
are.

Typer reads help texts as Rich's markup, so `'NAME [key=value ...]'` would lose its second half. It
prints usage errors with what was typed in them, so control characters are made visible first.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.markup import escape
from typer.core import TyperGroup

from calibration.wording import typed
from candor.terminal.console import visible

# Within a paragraph, whose lines Typer would keep and break again where the terminal ends.
_BREAK = re.compile(r"(?<=\S)\n(?=\S)(?!Example: )")


class LiteralHelp(TyperGroup):
    """A group of verbs whose help texts are not markup."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        _escape(self)

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
        if hasattr(error, "format_message"):  # a usage error, of whichever click Typer brings
            error.message = visible(str(error.message))  # type: ignore[attr-defined]
        raise


def _escape(command: Any) -> None:
    for each in (command, *command.params):
        if getattr(each, "help", None):
            each.help = escape(_BREAK.sub(" ", each.help))
    for inner in getattr(command, "commands", {}).values():
        _escape(inner)
