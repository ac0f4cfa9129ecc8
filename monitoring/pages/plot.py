"""The height of charts over time: shares from the bottom to the top of the plot."""

from collections.abc import Sequence
from dataclasses import dataclass

from monitoring.pages.axis import BOTTOM, TOP, Axis


@dataclass(frozen=True)
class Plot:
    """Maps shares from `lowest` to `highest` to the height of a chart over an axis; `steps` lie between its ticks."""

    axis: Axis
    lowest: float
    highest: float
    steps: int = 4

    @property
    def ticks(self) -> list[float]:
        """The labeled shares."""
        return [self.lowest + part / self.steps * (self.highest - self.lowest) for part in range(self.steps + 1)]

    def y(self, share: float) -> float:
        """Where a share is; what is outside stands at the edge."""
        part = (share - self.lowest) / (self.highest - self.lowest)
        return round(BOTTOM - (BOTTOM - TOP) * min(max(part, 0.0), 1.0), 1)

    def line(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Return (x, y) of (place, share) pairs; a single point becomes a short line."""
        placed = [(self.axis.x(at), self.y(share)) for at, share in points]
        x, y = placed[0]
        return [(x - 12, y), (x + 12, y)] if len(placed) == 1 else placed
