"""The axis of days that charts share: dates, and a lane above the plot in which events stand beside each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from markupsafe import Markup

from monitoring.ledger.days import day_date

WIDE, NARROW, HEIGHT = 760, 340, 232  # on a phone the narrow one is shown, so that its text keeps its size
LEFT, AFTER, TOP, BOTTOM = 52, 14, 30, 206  # the axes, and the room to the right of them
_MARK_WIDTH = 15
_LANE = 12  # where marks stand, above the plot, so that they hide no dot
_MARGIN = 10  # between the axes and the first and the last day
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


class PlacedMark(NamedTuple):
    """A mark, and where its shape stands: at its day, or beside the one that stands there already."""

    mark: Mark
    x: float


@dataclass(frozen=True)
class DayAxis:
    """Maps days from `first` to `last` to coordinates in a chart of this width."""

    first: int
    last: int
    width: int
    height, left, top, bottom, middle, lane = HEIGHT, LEFT, TOP, BOTTOM, (TOP + BOTTOM) / 2, _LANE

    @classmethod
    def around(cls, first: int, last: int, marks: Sequence[Mark], *, width: int) -> "DayAxis":
        """The axis with these days and the marks that are not long before them."""
        inside = [mark.day for mark in marks if first - _EARLIER_DAYS <= mark.day]
        return cls(min([first, *inside]), max([last, *inside]), width)

    @property
    def right(self) -> int:
        """The end of the plot."""
        return self.width - AFTER

    @property
    def name(self) -> str:
        """The class of the style sheet."""
        return "wide" if self.width == WIDE else "narrow"

    @property
    def dated(self) -> list[int]:
        """The days labeled with their date."""
        if self.last - self.first < 4 or self.width == NARROW:
            return sorted({self.first, self.last})
        return sorted({round(self.first + (self.last - self.first) * share) for share in (0, 0.25, 0.5, 0.75, 1)})

    def date(self, day: int) -> date:
        """The date of a day."""
        return day_date(day)

    def x(self, day: float) -> float:
        """Where a day is."""
        inner = self.right - LEFT - 2 * _MARGIN
        return round(LEFT + _MARGIN + inner * (day - self.first) / max(self.last - self.first, 1), 1)

    def inside(self, marks: Sequence[Mark]) -> list[Mark]:
        """The marks on these days, in their order."""
        return [mark for mark in sorted(marks, key=lambda each: each.day) if self.first <= mark.day <= self.last]

    def placed(self, marks: Sequence[Mark]) -> list[PlacedMark]:
        """Each mark, moved as little as needed so that none hides another and none leaves the chart.

        Where there are more than fit, they stand closer to each other, at equal distances.
        """
        shown, most = self.inside(marks), self.width - _MARK_WIDTH / 2
        step = min(_MARK_WIDTH, (most - LEFT) / max(len(shown) - 1, 1))
        places = [self.x(mark.day) for mark in shown]
        for at in range(1, len(places)):
            places[at] = max(places[at], places[at - 1] + step)
        for at in range(len(places) - 1, -1, -1):  # what was pushed over the end goes back
            places[at] = min(places[at], most - step * (len(places) - 1 - at))
        return [PlacedMark(mark, round(place, 1)) for mark, place in zip(shown, places, strict=True)]


class WidthPair(NamedTuple):
    """A chart for a wide and for a narrow page."""

    wide: Markup
    narrow: Markup


def in_words(marks: Sequence[Mark]) -> Iterator[str]:
    """Each event as a short sentence, for the description of a chart."""
    for mark in marks:
        yield f" {mark.kind.capitalize()} on {day_date(mark.day)}."
