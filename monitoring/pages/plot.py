"""The height of charts over time: shares from the bottom to the top of the plot."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from monitoring.pages.axis import BOTTOM, TOP, Axis

_STEPS = (1, 2, 5, 10, 20, 50)  # between ticks, in points: whole and easy to count in


@dataclass(frozen=True)
class Plot:
    """Maps shares from `lowest` to `highest` to the height of a chart over an axis; `steps` lie
    between its ticks.
    """

    axis: Axis
    lowest: float
    highest: float
    steps: int

    @classmethod
    def upward(cls, axis: Axis, highest: float) -> "Plot":
        """The plot from zero to the first round tick at or above a share."""
        step, count = _round_step(highest, most=5)
        return cls(axis, 0.0, step * count / 100, count)

    @classmethod
    def around_zero(cls, axis: Axis, furthest: float) -> "Plot":
        """The plot that reaches as far down as up, to the first round tick at or beyond a share."""
        step, count = _round_step(furthest, most=3)
        return cls(axis, -step * count / 100, step * count / 100, 2 * count)

    @property
    def ticks(self) -> list[float]:
        """The labeled shares."""
        return [
            self.lowest + part / self.steps * (self.highest - self.lowest)
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


def _round_step(share: float, *, most: int) -> tuple[int, int]:
    """Return the smallest step in points with which at most so many reach `share`, and their
    number.
    """
    points = round(100 * share, 6)
    step = next((each for each in _STEPS if points <= each * most), _STEPS[-1])
    return step, math.ceil(points / step)
