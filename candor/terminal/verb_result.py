"""What a verb returns: a document that the command line prints, and a notebook shows."""

import io
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from calibration.document import Document, Part
from calibration.wording import call
from candor.terminal.console import TABLE_WIDTH, LiteralConsole, print_json, stdout
from candor.terminal.rendering import rendered

if TYPE_CHECKING:
    from model_store.bundle.card import Card


class VerbResult(ABC):
    """A result with its figures and sentences."""

    @property
    def failed(self) -> bool:
        """Whether the command's exit code is 1."""
        return False

    @abstractmethod
    def document(self) -> Document:
        """Return what is shown, from top to bottom; it may come bit by bit."""

    @abstractmethod
    def as_dict(self) -> Any:
        """Return the same as plain data, for `--json`."""

    def __repr__(self) -> str:
        console = LiteralConsole(file=io.StringIO(), width=TABLE_WIDTH, color_system=None)
        console.is_jupyter = False  # else it would show the text where it only renders it
        with console.capture() as text:
            for part in rendered(self.document()):
                console.print(part)
        return text.get().rstrip()

    def _repr_html_(self) -> str:
        from console.document import fragment

        return fragment(self.document())


class PlainResult(VerbResult):
    """Plain data, and the same as a document."""

    def __init__(self, data: Any, *parts: Part, failed: bool = False) -> None:
        self._data, self._parts, self._failed = data, parts, failed

    @property
    def failed(self) -> bool:
        return self._failed

    def document(self) -> Document:
        return self._parts

    def as_dict(self) -> Any:
        return self._data


def next_step(card: "Card", *, promoted: bool) -> str:
    """Return what to do with a published version."""
    if promoted:
        return f"{card.name}: version {card.version} is in production. Next: {call('serve')}"
    return f"Next: {call('promote', card.name, card.version)}"


def print_made(made: VerbResult, *, as_json: bool) -> None:
    """Print what a verb returned."""
    if as_json:
        print_json(made.as_dict())
        return
    for part in rendered(made.document()):
        stdout.print(part)
