"""How a measure is described, for card, terminal, pages, gauges and docs/measures.md.

The entries are the fields of `calibration.measures.summary.Measures`.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from calibration.bins import BinSums
from calibration.wording import in_points, percent

Question = Literal["calibration", "probabilities", "ranking"]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measure: what it means, how it is computed, and where it is shown.

    Attributes:
        name: of the field, in JSON and on the card.
        text: what it is, in a sentence.
        bins: computes it from the bin sums; None if it takes probabilities and labels.
        question: the section of docs/measures.md: is it calibrated, are the probabilities good,
            does the order of confidences tell which answers to doubt.
        documented_with: the measure whose row of docs/measures.md includes this one.
        more, range, misleads, formula, source: the rest of that row, in Markdown.
        digits: its decimals, if it is no share.
        signed: whether a plus sign is shown.
        upper: if this is a lower bound, the name of the upper bound, which is shown in the same
            cell.
        summary: its column in the terminal's tables; None if they do not have it.
        page: whether the pages list it, now and on the card.
        is_share: whether it is shown in percent, or in points if it has a sign.
        gauge: the Prometheus gauge that exports it for each window; only for what bin sums give.
    """

    title: str
    text: str
    name: str = ""
    bins: Callable[[BinSums], float] | None = None
    question: Question = "calibration"
    documented_with: str | None = None
    more: str = ""
    range: str = ""
    misleads: str = ""
    formula: str = ""
    source: str = ""
    digits: int = 3
    signed: bool = False
    upper: str | None = None
    summary: str | None = None
    page: bool = False
    is_share: bool = True
    gauge: str | None = None

    def shown(self, value: float | None) -> str:
        """Write a value of it, for terminal and pages; a dash if it is not known."""
        if self.is_share:
            return in_points(value) if self.signed else percent(value)
        return "-" if value is None or not math.isfinite(value) else f"{value:.{self.digits}f}"


def from_bins(compute: Callable[[BinSums], float], title: str, text: str, **details: Any) -> Any:
    """Return a dataclass field for a measure of bin sums."""
    return _entry(Measure(bins=compute, title=title, text=text, **details))


def from_answers(title: str, text: str, **details: Any) -> Any:
    """Return a dataclass field for a measure of probabilities and labels; its default is None."""
    return _entry(Measure(title=title, text=text, **details), default=None)


def entries(table: type) -> tuple[Measure, ...]:
    """Return the measures that a dataclass declares as its fields, in their order."""
    return tuple(
        dataclasses.replace(field.metadata["measure"], name=field.name)
        for field in dataclasses.fields(table)
    )


def _entry(measure: Measure, **options: Any) -> Any:
    return dataclasses.field(metadata={"measure": measure}, **options)
