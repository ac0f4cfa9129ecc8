"""The reliability diagram as inline SVG: accuracy against confidence, the range expected by chance, and the counts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from calibration.reliability import ReliabilityBin
from monitoring.pages.rendering import render

_LEFT, _TOP, _SIDE = 46, 10, 400  # the square plot
_COUNTS = 64  # the strip of bars under it
_Z95 = 1.96  # standard deviations that hold 95 %


def reliability_diagram(bins: Sequence[ReliabilityBin]) -> Markup:
    """Draw the bins that have answers. On the dashed line confidence equals accuracy."""
    filled = [row for row in bins if row.n]
    return render("diagram.svg", plot=_Plot(max((row.n for row in filled), default=1)), bins=filled)


@dataclass(frozen=True)
class _Plot:
    """Maps confidence and accuracy to coordinates. `most`: answers in the fullest bin."""

    most: int
    side = _SIDE
    base = _TOP + _SIDE + 24 + _COUNTS  # the bottom of the counts
    width, height = _LEFT + _SIDE + 12, base + 46

    def x(self, confidence: float) -> float:
        return round(_LEFT + _SIDE * confidence, 2)

    def y(self, accuracy: float) -> float:
        return round(_TOP + _SIDE * (1 - accuracy), 2)

    def chance(self, row: ReliabilityBin) -> tuple[float, float]:
        """Return the accuracies between which 95 % of a calibrated model's dots fall with as many answers."""
        half = _Z95 * math.sqrt(row.confidence * (1 - row.confidence) / row.n)
        return max(0.0, row.confidence - half), min(1.0, row.confidence + half)

    def count_height(self, n: int) -> float:
        return max(1.0, (_COUNTS - 14) * n / self.most)
