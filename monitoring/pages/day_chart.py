"""Calibration error by day of service as inline SVG, with the range expected by chance and the version's events."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from markupsafe import Markup

from calibration import metrics
from calibration.bins import BinSums
from monitoring.findings.phrases import percent
from monitoring.ledger.days import Days, day_date, gather
from monitoring.pages.rendering import render

_WIDE, _NARROW, _HEIGHT = 760, 340, 232  # on a phone the narrow one is shown, so that its text keeps its size
_LEFT, _AFTER, _TOP, _BOTTOM = 46, 14, 30, 206  # the axes, and the room to the right of them
_MARK_WIDTH = 15
_LANE = 12  # where marks stand, above the plot, so that they hide no dot
_MARGIN = 10  # between the axes and the first and the last day
_POINT_LIMIT = 62  # longer spans are drawn in steps of several days
_Z90 = 1.645  # standard deviations that 19 of 20 stay under
FEW_LABELS = 20  # below this a dot is hollow
_EARLIER_DAYS = 7  # a mark this long before the first point is still drawn
_SQUARE = "M-5 -5H5V5H-5Z"
SHAPES = {  # each kind of event has its shape, because not everyone tells colors apart
    "alarm": "M0 -7L7 6H-7Z",
    "promoted": "M0 -7L6 0L0 7L-6 0Z",
    "acknowledged": _SQUARE,
    "reset": _SQUARE,
}


class Mark(NamedTuple):
    """An event on a day: its kind and a sentence."""

    day: int
    kind: str
    sentence: str


class _Dot(NamedTuple):
    days: Days
    day: float  # the middle
    ece: float
    floor: float
    limit: float
    labels: int


class DayChart(NamedTuple):
    """The chart for a wide and for a narrow page, and its points."""

    wide: Markup
    narrow: Markup
    dots: list[_Dot]


def day_chart(days: Sequence[Days], marks: Sequence[Mark] = ()) -> DayChart | None:
    """Draw the ECE of each day, and the range that it stays in on 19 of 20 days by chance. None without labels."""
    dots = [_dot(each) for each in gather(days, most=_POINT_LIMIT) if each.labeled.total]
    if not dots:
        return None
    return DayChart(_drawn(dots, marks, width=_WIDE), _drawn(dots, marks, width=_NARROW), dots)


def _drawn(dots: list[_Dot], marks: Sequence[Mark], *, width: int) -> Markup:
    plot = _Plot.around(dots, marks, width=width)
    inside = [mark for mark in marks if plot.first <= mark.day <= plot.last]
    return render(
        "day_chart.svg",
        plot=plot,
        dots=dots,
        limits=plot.line([(dot.day, dot.limit) for dot in dots]),
        floors=plot.line([(dot.day, dot.floor) for dot in dots]),
        marks=list(_beside_each_other(inside)),
        shapes=SHAPES,
        few_labels=FEW_LABELS,
        described=_description(dots, inside),
    )


def _beside_each_other(marks: Sequence[Mark]) -> Iterator[tuple[Mark, int]]:
    """Each mark, and how far it stands to the right of its day, so that none hides another."""
    seen: Counter[int] = Counter()
    for mark in marks:
        yield mark, seen[mark.day] * _MARK_WIDTH
        seen[mark.day] += 1


def _description(dots: list[_Dot], marks: Sequence[Mark]) -> str:
    """What the chart shows, in a few sentences."""
    outside, highest = sum(dot.ece > dot.limit for dot in dots), max(dots, key=lambda dot: dot.ece)
    events = "".join(f" {mark.kind.capitalize()} on {day_date(mark.day)}." for mark in marks)
    return (
        f"Calibration error by day, {dots[0].days} to {dots[-1].days}: on {outside} of {len(dots)} points it is above "
        f"what chance explains. The highest is {percent(highest.ece)}, {highest.days}.{events}"
    )


def chance_limit(labeled: BinSums) -> float:
    """The ECE that a calibrated model stays below with a probability of 95 %.

    ECE is then a sum of half-normal variables: its mean is the noise floor, its variance (1 - 2/pi) sum V / n^2.
    """
    spread = math.sqrt((1 - 2 / math.pi) * float(labeled.variance.sum())) / labeled.total
    return metrics.noise_floor(labeled) + _Z90 * spread


def _dot(each: Days) -> _Dot:
    labeled = each.labeled
    return _Dot(
        days=each,
        day=(each.first + each.last) / 2,
        ece=metrics.ece(labeled),
        floor=metrics.noise_floor(labeled),
        limit=chance_limit(labeled),
        labels=labeled.total,
    )


@dataclass(frozen=True)
class _Plot:
    """Maps days and ECE to coordinates: days from `first` to `last`, ECE from 0 to `highest`."""

    first: int
    last: int
    highest: float
    width: int
    height = _HEIGHT
    left, top, bottom, middle, lane = _LEFT, _TOP, _BOTTOM, (_TOP + _BOTTOM) / 2, _LANE

    @property
    def right(self) -> int:
        return self.width - _AFTER

    @property
    def name(self) -> str:
        """The class of the style sheet."""
        return "wide" if self.width == _WIDE else "narrow"

    @classmethod
    def around(cls, dots: Sequence[_Dot], marks: Sequence[Mark], *, width: int) -> "_Plot":
        first, last = dots[0].days.first, dots[-1].days.last
        inside = [mark.day for mark in marks if first - _EARLIER_DAYS <= mark.day]
        highest = max(max(dot.ece, dot.limit) for dot in dots)
        return cls(min([first, *inside]), max([last, *inside]), max(0.05, math.ceil(highest * 20) / 20), width)

    @property
    def dated(self) -> list[int]:
        """The days labeled with their date."""
        if self.last - self.first < 4 or self.width == _NARROW:
            return sorted({self.first, self.last})
        return sorted({round(self.first + (self.last - self.first) * share) for share in (0, 0.25, 0.5, 0.75, 1)})

    def date(self, day: int) -> date:
        return day_date(day)

    def x(self, day: float) -> float:
        inner = self.right - _LEFT - 2 * _MARGIN
        return round(_LEFT + _MARGIN + inner * (day - self.first) / max(self.last - self.first, 1), 1)

    def y(self, ece: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * min(ece / self.highest, 1.0), 1)

    def line(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Return (x, y) of (day, ECE) pairs; a single point becomes a short line."""
        placed = [(self.x(day), self.y(ece)) for day, ece in points]
        x, y = placed[0]
        return [(x - 12, y), (x + 12, y)] if len(placed) == 1 else placed
