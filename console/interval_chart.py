"""Gaps with their intervals as dots on one scale, a row of a table each (a forest plot)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from calibration.wording import signed_points
from console.formatting import span
from console.rendering import render

_WIDTH: Final = 240
_LEAST: Final = 0.1  # that the scale reaches to both sides, so that little error looks little
_MOST: Final = 0.6  # further intervals are cut


@dataclass(frozen=True)
class Forest:
    """Draws gaps from `-furthest` to `furthest`."""

    furthest: float

    @classmethod
    def of(cls, ends: Iterable[float]) -> "Forest":
        """The scale that shows these ends of intervals."""
        ends = [abs(end) for end in ends if math.isfinite(end)]
        return cls(min(_MOST, max([_LEAST, *ends])))

    def draw(self, estimate: float, lower: float, upper: float) -> Markup:
        """Draw a gap; without labels the line at zero alone."""
        ends = (lower, estimate, upper)
        known = all(map(math.isfinite, ends))
        return render(
            "interval.svg",
            width=_WIDTH,
            zero=self._x(0.0),
            places=[self._x(end) for end in ends] if known else [],
            described=f"{signed_points(estimate)} points "
            f"({span(signed_points(lower), signed_points(upper))})"
            if known
            else "not known",
        )

    def _x(self, gap: float) -> float:
        part = 0.5 + gap / self.furthest / 2
        return round(6 + (_WIDTH - 12) * min(max(part, 0.0), 1.0), 1)
