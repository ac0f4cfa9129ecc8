"""Calibration error by day of service as inline SVG, with what chance would show and what happened when."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from calibration import metrics
from calibration.bins import BinSums
from monitoring.ledger.days import Days, day_date, gather

_WIDTH, _HEIGHT = 760, 216
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 14, 190
_MOST = 62  # points; longer spans are drawn in steps of several days
_SURE = 1.645  # standard deviations that 19 of 20 stay under
_FEW = 20  # labels: below this a dot is hollow


class Mark(NamedTuple):
    """Something that happened on a day: its event's kind and a sentence."""

    day: int
    kind: str
    sentence: str


def day_chart(days: Sequence[Days], marks: Sequence[Mark] = ()) -> str:
    """Draw the ECE of each day over the gray area in which chance keeps it in 19 days of 20."""
    points = [each for each in gather(days, most=_MOST) if each.labeled.total]
    if not points:
        return '<p class="explain">No day has labels yet.</p>'
    frame = _Frame.around(points, [mark.day for mark in marks])
    parts = [frame.axes(), frame.chance(points), *map(frame.dot, points), *map(frame.mark, marks)]
    label = "Calibration error by day, over what chance alone would show"
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


class _Frame(NamedTuple):
    first: int
    last: int
    top: float  # the ECE at the upper edge

    @classmethod
    def around(cls, points: Sequence[Days], marked: Sequence[int]) -> "_Frame":
        highest = max(max(metrics.ece(each.labeled), chance_limit(each.labeled)) for each in points)
        inside = [day for day in marked if points[0].first - 7 <= day]
        return cls(
            min([points[0].first, *inside]), max([points[-1].last, *inside]), max(0.05, math.ceil(highest * 20) / 20)
        )

    def x(self, day: float) -> float:
        span = max(self.last - self.first, 1)
        inner = _WIDTH - _LEFT - _RIGHT - 20
        return round(_LEFT + 10 + inner * (day - self.first) / span, 1)

    def y(self, ece: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * min(ece / self.top, 1.0), 1)

    def axes(self) -> str:
        parts = []
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            y, percent = self.y(share * self.top), 100 * share * self.top
            parts.append(f'<line class="axis" x1="{_LEFT}" y1="{y}" x2="{_WIDTH - _RIGHT}" y2="{y}"/>')
            parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{percent:.3g}</text>')
        shown = sorted({round(self.first + (self.last - self.first) * share) for share in (0, 0.25, 0.5, 0.75, 1)})
        for day in shown if self.last - self.first >= 4 else sorted({self.first, self.last}):
            place = "start" if day == self.first else "end" if day == self.last else "middle"
            parts.append(f'<text x="{self.x(day)}" y="{_BOTTOM + 18}" text-anchor="{place}">{day_date(day)}</text>')
        middle = (_TOP + _BOTTOM) / 2
        parts.append(
            f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">ECE, %</text>'
        )
        return "".join(parts)

    def chance(self, points: Sequence[Days]) -> str:
        """The area of what chance explains, and the noise floor, its mean, in it; a lone point gets some width."""
        top = self._line([(_middle(each), chance_limit(each.labeled)) for each in points])
        floor = self._line([(_middle(each), metrics.noise_floor(each.labeled)) for each in points])
        area = [(top[0][0], self.y(0)), *top, (top[-1][0], self.y(0))]
        return f'<polygon class="chance" points="{_joined(area)}"/><polyline class="floor" points="{_joined(floor)}"/>'

    def _line(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        placed = [(self.x(day), self.y(ece)) for day, ece in points]
        (x, y) = placed[0]
        return [(x - 12, y), (x + 12, y)] if len(placed) == 1 else placed

    def dot(self, each: Days) -> str:
        ece, floor, n = metrics.ece(each.labeled), metrics.noise_floor(each.labeled), each.labeled.total
        title = f"{each}: ECE {100 * ece:.1f} %, by chance {100 * floor:.1f} %; {n:,} labels of {each.served:,} answers"
        style = "dot" if n >= _FEW else "dot hollow"
        place = f'cx="{self.x(_middle(each))}" cy="{self.y(ece)}"'
        return f'<g><title>{title}</title><circle class="{style}" {place} r="4.5"/></g>'

    def mark(self, mark: Mark) -> str:
        if not self.first <= mark.day <= self.last:
            return ""
        x = self.x(mark.day)
        return (
            f'<g class="mark {escape(mark.kind)}"><title>{day_date(mark.day)}: {escape(mark.sentence)}</title>'
            f'<line x1="{x}" y1="{_TOP}" x2="{x}" y2="{_BOTTOM + 4}"/><circle cx="{x}" cy="{_TOP}" r="4"/></g>'
        )


def chance_limit(labeled: BinSums) -> float:
    """The ECE under which chance keeps a calibrated model in 19 days of 20.

    Its mean is the noise floor, its variance (1 - 2/pi) sum V / n^2, of a sum of half-normal bins.
    """
    spread = math.sqrt((1 - 2 / math.pi) * float(labeled.variance.sum())) / labeled.total
    return metrics.noise_floor(labeled) + _SURE * spread


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def _middle(each: Days) -> float:
    return (each.first + each.last) / 2
