"""The root of the command line's verbs: its help prints brackets as they are, in every verb below it.

Typer reads help texts as Rich's markup, so `'NAME [key=value ...]'` would lose its second half.
"""

from typing import Any

from rich.markup import escape
from typer.core import TyperGroup


class LiteralHelp(TyperGroup):
    """A group of verbs whose help texts are not markup."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        _escape(self)


def _escape(command: Any) -> None:
    for each in (command, *command.params):
        if getattr(each, "help", None):
            each.help = escape(each.help)
    for inner in getattr(command, "commands", {}).values():
        _escape(inner)
