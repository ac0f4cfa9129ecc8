"""What a verb made: the command line prints its parts, a notebook shows them with pictures."""

import base64
import html
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import RenderableType

from candor.terminal.console import TABLE_WIDTH, LiteralConsole, print_json, stdout
from model_store.bundle.card import Card


class VerbResult(ABC):
    """A result with its figures and sentences.

    `worded` makes sentences speak of parameters in Python instead of options.
    """

    worded: Callable[[str], str] = staticmethod(str)

    @abstractmethod
    def parts(self) -> Iterable[RenderableType]:
        """Return what the command line prints, from top to bottom."""

    @abstractmethod
    def as_dict(self) -> Mapping[str, Any]:
        """Return the same as plain data, for `--json`."""

    def pictures(self) -> Mapping[str, str]:
        """Return diagrams as SVG files, by what they show."""
        return {}

    def __repr__(self) -> str:
        console = LiteralConsole(file=io.StringIO(), width=TABLE_WIDTH, color_system=None)
        console.is_jupyter = False  # else it would show the text where it only renders it
        with console.capture() as text:
            for part in self.parts():
                console.print(self.worded(part) if isinstance(part, str) else part)
        return text.get().rstrip()

    def _repr_html_(self) -> str:
        shown = (
            f'<figure><img alt="Reliability diagram, {html.escape(name)}" width="380" '
            f'src="data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}">'
            f"<figcaption>{html.escape(name)}</figcaption></figure>"
            for name, svg in self.pictures().items()
        )
        return f"<pre>{html.escape(repr(self))}</pre>{''.join(shown)}"


def next_step(card: Card, *, promoted: bool) -> str:
    """Return what to do with a published version."""
    if promoted:
        return f"{card.name}: version {card.version} is in production. Next: candor serve"
    return f"Next: candor promote {card.name} {card.version}"


def print_made(made: VerbResult | Mapping[str, Any] | str) -> None:
    """Print what a verb returned."""
    if isinstance(made, Mapping):
        print_json(made)
        return
    for part in made.parts() if isinstance(made, VerbResult) else [made]:
        stdout.print(part)
