"""The axes of charts over time: ticks, events in a lane above the plot, and shares."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from monitoring.diagnosis.coverage import DAY_S
from monitoring.diagnosis.phrases import day

WIDE, NARROW, HEIGHT = 760, 340, 232  # a phone shows the narrow one, so its text keeps its size
LEFT, AFTER, TOP, BOTTOM = 56, 14, 30, 206  # the axes, and the room to the right of them
_MARK_WIDTH = 15
_LANE = 12  # where marks stand, above the plot, so that they hide no dot
_MARGIN = 10  # between the axes and the first and the last day
_TICKS = 5
_EARLIER_DAYS = 7  # a mark this long before the first point is still drawn
_BAR = "M-7 -3H7V3H-7Z"
SHAPES = {  # each kind of event has its shape, because not everyone tells colors apart
    "alarm": "M0 -7L7 6H-7Z",
    "promoted": "M0 -7L6 0L0 7L-6 0Z",
    "acknowledged": _BAR,
    "reset": _BAR,
    "noted": "M-5 -6H5V2H1L-2 6V2H-5Z",
}


class Mark(NamedTuple):
    """An event at a place of the axis, such as a day: its kind and a sentence."""

    at: int
    kind: str
    sentence: str


class PlacedMark(NamedTuple):
    """A mark and where its shape stands, which is beside another if they would overlap."""

    mark: Mark
    x: float


class Tick(NamedTuple):
    at: int
    text: str


@dataclass(frozen=True, eq=False)
class Axis:
    """Maps days from `first` to `last`, counted from 1970 in UTC, to coordinates in a chart of this
    width.
    """

    first: int
    last: int
    width: int
    height, left, top, bottom, lane = HEIGHT, LEFT, TOP, BOTTOM, _LANE

    @classmethod
    def around(cls, first: int, last: int, marks: Sequence[Mark], *, width: int) -> "Axis":
        """The axis with these days and the marks that are not long before them."""
        inside = [mark.at for mark in marks if first - _EARLIER_DAYS <= mark.at]
        return cls(min([first, *inside]), max([last, *inside]), width)

    @property
    def right(self) -> int:
        return self.width - AFTER

    @property
    def name(self) -> str:
        """The class of the style sheet."""
        return "wide" if self.width == WIDE else "narrow"

    @property
    def ticks(self) -> list[Tick]:
        few = self.last - self.first < _TICKS - 1 or self.width == NARROW
        places = np.linspace(self.first, self.last, 2 if few else _TICKS).round().astype(int)
        return [Tick(at, self.told(at)) for at in sorted({*places.tolist()})]

    def told(self, at: int) -> str:
        return day(at * DAY_S)

    def x(self, at: float) -> float:
        """Where a place is; the only one is in the middle."""
        if self.last == self.first:
            return (LEFT + self.right) / 2
        inner = self.right - LEFT - 2 * _MARGIN
        return round(LEFT + _MARGIN + inner * (at - self.first) / (self.last - self.first), 1)

    def inside(self, marks: Sequence[Mark]) -> list[Mark]:
        """The marks that are on the axis, in their order."""
        ordered = sorted(marks, key=lambda mark: mark.at)
        return [mark for mark in ordered if self.first <= mark.at <= self.last]

    def placed(self, marks: Sequence[Mark]) -> list[PlacedMark]:
        """The marks, moved as little as needed so that none hides another or leaves the chart.

        Where there are more than fit, they stand closer to each other, at equal distances.
        """
        shown, most = self.inside(marks), self.width - _MARK_WIDTH / 2
        step = min(_MARK_WIDTH, (most - LEFT) / max(len(shown) - 1, 1))
        places = [self.x(mark.at) for mark in shown]
        for at in range(1, len(places)):
            places[at] = max(places[at], places[at - 1] + step)
        for at in range(len(places) - 1, -1, -1):  # what was pushed over the end goes back
            places[at] = min(places[at], most - step * (len(places) - 1 - at))
        return [
            PlacedMark(mark, round(place, 1)) for mark, place in zip(shown, places, strict=True)
        ]

    def in_words(self, marks: Sequence[Mark]) -> Iterator[str]:
        """Each event on the axis as a short sentence, for the description of a chart."""
        for mark in self.inside(marks):
            yield f" {mark.kind.capitalize()}: {self.told(mark.at)}."


class Chart(NamedTuple):
    """A chart for a wide and for a narrow page; `draw(width=...)` draws it."""

    draw: Callable[..., Markup]

    @property
    def wide(self) -> Markup:
        return self.draw(width=WIDE)

    @property
    def narrow(self) -> Markup:
        return self.draw(width=NARROW)


_STEPS = (1, 2, 5, 10, 20, 50)  # between ticks, in points: whole and easy to count in


@dataclass(frozen=True)
class Plot:
    """Maps shares from `lowest` to `highest` to the height of a chart, with `steps` + 1 ticks."""

    axis: Axis
    lowest: float
    highest: float
    steps: int

    @classmethod
    def upward(cls, axis: Axis, highest: float) -> "Plot":
        """The plot from zero to the first round tick at or above a share."""
        step, count = round_step(highest, most=5)
        return cls(axis, 0.0, step * count / 100, count)

    @classmethod
    def around_zero(cls, axis: Axis, lowest: float, highest: float) -> "Plot":
        """The plot that reaches to the first round ticks at or beyond two shares, over zero."""
        step, _ = round_step(max(-lowest, highest), most=3)
        below, above = (max(math.ceil(round(100 * end / step, 6)), 1) for end in (-lowest, highest))
        return cls(axis, -step * below / 100, step * above / 100, below + above)

    @property
    def ticks(self) -> list[float]:
        height = self.highest - self.lowest
        return [
            round(self.lowest + part / self.steps * height, 9) + 0.0
            for part in range(self.steps + 1)
        ]

    def y(self, share: float) -> float:
        """Where a share is; what is outside stands at the edge."""
        part = (share - self.lowest) / (self.highest - self.lowest)
        return round(BOTTOM - (BOTTOM - TOP) * min(max(part, 0.0), 1.0), 1)

    def line(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Return (x, y) of (place, share) pairs; a single point becomes a short line."""
        placed = [(self.axis.x(at), self.y(share)) for at, share in points]
        x, y = placed[0]
        return [(x - 12, y), (x + 12, y)] if len(placed) == 1 else placed


def round_step(share: float, *, most: int) -> tuple[int, int]:
    """The smallest step in points of which at most so many reach `share`, and their number."""
    points = round(100 * share, 6)
    step = next((each for each in _STEPS if points <= each * most), _STEPS[-1])
    return step, math.ceil(points / step)
