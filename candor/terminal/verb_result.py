"""What a verb returns: the command line prints its parts, a notebook shows them with pictures."""

import base64
import html
import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from calibration.wording import call
from candor.terminal.console import TABLE_WIDTH, LiteralConsole, print_json, stdout

if TYPE_CHECKING:
    from model_store.bundle.card import Card


class VerbResult(ABC):
    """A result with its figures and sentences."""

    @property
    def failed(self) -> bool:
        """Whether the command's exit code is 1."""
        return False

    @abstractmethod
    def parts(self) -> Iterable[RenderableType]:
        """Return what the command line prints, from top to bottom."""

    @abstractmethod
    def as_dict(self) -> Any:
        """Return the same as plain data, for `--json`."""

    def pictures(self) -> Mapping[str, str]:
        """Return diagrams as SVG files, by what they show."""
        return {}

    def __repr__(self) -> str:
        console = LiteralConsole(file=io.StringIO(), width=TABLE_WIDTH, color_system=None)
        console.is_jupyter = False  # else it would show the text where it only renders it
        with console.capture() as text:
            for part in self.parts():
                console.print(part)
        return text.get().rstrip()

    def _repr_html_(self) -> str:
        shown = (
            f'<figure><img alt="Reliability diagram, {html.escape(name)}" width="380" '
            f'src="data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}">'
            f"<figcaption>{html.escape(name)}</figcaption></figure>"
            for name, svg in self.pictures().items()
        )
        return f"<pre>{html.escape(repr(self))}</pre>{''.join(shown)}"


class PlainResult(VerbResult):
    """Plain data, and the same in sentences and tables."""

    def __init__(self, data: Any, *parts: RenderableType, failed: bool = False) -> None:
        self._data, self._parts, self._failed = data, parts, failed

    @property
    def failed(self) -> bool:
        return self._failed

    def parts(self) -> Iterable[RenderableType]:
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
    for part in made.parts():
        stdout.print(part)
