"""The root of the command line's verbs: it says that a verb starts, and its help prints brackets as
they are.

Typer reads help texts as Rich's markup, so `'NAME [key=value ...]'` would lose its second half. It
prints usage errors with what was typed in them, so control characters are made visible first.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TextIO

from rich.markup import escape
from typer.core import TyperGroup

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
        """As TyperGroup.invoke, whose usage errors are printable; a terminal sees it start."""
        with _starting(), _printable_errors():
            return super().invoke(*arguments, **options)


@contextmanager
def _starting() -> Iterator[None]:
    """Show "Starting ..." on a terminal until the first output: imports take seconds."""
    if not sys.stderr.isatty():
        yield
        return
    streams, shown = (sys.stdout, sys.stderr), "Starting ..."

    def erase() -> None:
        for each in streams:
            vars(each).pop("write", None)
        sys.stderr.write(f"\r{' ' * len(shown)}\r")

    def erased_first(text: str, stream: TextIO) -> int:
        if "write" in vars(stream):
            erase()
        return stream.write(text)

    sys.stderr.write(shown)
    sys.stderr.flush()
    for each in streams:
        each.write = partial(erased_first, stream=each)  # type: ignore[method-assign]
    try:
        yield
    finally:
        if "write" in vars(streams[1]):
            erase()


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
