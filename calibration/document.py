"""A document: what is said and shown of something, wherever it is shown.

A card, a report and a result are one document each. Three renderers show it: in the terminal
(candor/terminal/rendering.py), as Markdown (calibration/markdown.py), and as HTML
(console/document.py). Texts are plain: each renderer makes sure that they are no markup.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from calibration.measures.reliability import ReliabilityBin


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Verdict:
    """What holds, in a word and a sentence. `tone`: ok, off, early or accent."""

    word: str
    sentence: str
    tone: str = "accent"


@dataclass(frozen=True)
class FactList:
    """Names and their values."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Items:
    """Sentences that stand alone, each in its line. `title`: what they are, if it is said."""

    lines: Sequence[str]
    title: str = ""


@dataclass(frozen=True, eq=False)
class FigureTable:
    """Figures in rows, which the first column names; `text` are columns that wrap."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: Collection[str] = ()


@dataclass(frozen=True)
class Diagram:
    """A reliability diagram, where pictures can be shown."""

    title: str
    bins: "Sequence[ReliabilityBin]"


Part: TypeAlias = (
    str | Heading | Verdict | FactList | Items | FigureTable | Diagram
)  # text: a paragraph
Document: TypeAlias = Iterable[Part]
