"""The reliability diagram as inline SVG: accuracy against confidence, the room that chance needs, and the counts."""

import math
from collections.abc import Sequence

from calibration.reliability import ReliabilityBin

_LEFT, _TOP, _SIDE = 46, 10, 400  # the square plot
_COUNTS = 64  # the strip of bars under it
_WIDTH, _HEIGHT = _LEFT + _SIDE + 12, _TOP + _SIDE + 24 + _COUNTS + 46
_SURE = 1.96  # standard deviations that hold 95 %


def reliability_diagram(bins: Sequence[ReliabilityBin]) -> str:
    """Draw the bins. A dot on the dashed line: as right as it was sure; under it: too sure."""
    filled = [row for row in bins if row.n]
    parts = [_axes(), *map(_chance, filled), _truth(), *map(_bin, filled), *_counts(filled)]
    label = "Reliability diagram: accuracy against confidence, by confidence bin"
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _x(confidence: float) -> float:
    return round(_LEFT + _SIDE * confidence, 2)


def _y(accuracy: float) -> float:
    return round(_TOP + _SIDE * (1 - accuracy), 2)


def _line(style: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{style}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _axes() -> str:
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(_line("axis", _x(0), _y(tick), _x(1), _y(tick)))
        parts.append(_line("axis", _x(tick), _y(0), _x(tick), _y(1)))
        parts.append(f'<text x="{_LEFT - 8}" y="{_y(tick) + 4}" text-anchor="end">{100 * tick:.0f}</text>')
        parts.append(f'<text x="{_x(tick)}" y="{_y(0) + 17}" text-anchor="middle">{100 * tick:.0f}</text>')
    middle = _TOP + _SIDE / 2
    parts.append(
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">was right, %</text>'
    )
    return "".join(parts)


def _truth() -> str:
    return _line("truth", _x(0), _y(0), _x(1), _y(1))


def _chance(row: ReliabilityBin) -> str:
    """Where 95 % of the dots of a calibrated model would fall with as many answers."""
    half = _SURE * math.sqrt(row.confidence * (1 - row.confidence) / row.n)
    top, bottom = _y(min(1.0, row.confidence + half)), _y(max(0.0, row.confidence - half))
    left, width = _x(row.lower), _SIDE * (row.upper - row.lower)
    size = f'width="{width:.2f}" height="{bottom - top:.2f}"'
    return f'<rect class="chance" x="{left}" y="{top}" {size}/>'


def _bin(row: ReliabilityBin) -> str:
    x = _x(row.confidence)
    title = (
        f"sure of {100 * row.confidence:.1f} %, right in {100 * row.accuracy:.1f} % "
        f"({100 * row.accuracy_lower:.0f} to {100 * row.accuracy_upper:.0f}) of {row.n:,} answers"
    )
    return (
        f"<g><title>{title}</title>"
        + _line("gap", x, _y(row.confidence), x, _y(row.accuracy))
        + _line("whisker", x, _y(row.accuracy_lower), x, _y(row.accuracy_upper))
        + f'<circle class="dot" cx="{x}" cy="{_y(row.accuracy)}" r="5.5"/></g>'
    )


def _counts(filled: Sequence[ReliabilityBin]) -> list[str]:
    base = _TOP + _SIDE + 24 + _COUNTS
    most = max((row.n for row in filled), default=1)
    parts = [_line("axis", _x(0), base, _x(1), base)]
    for row in filled:
        height = max(1.0, (_COUNTS - 14) * row.n / most)
        left, width = _x(row.lower) + 2, _SIDE * (row.upper - row.lower) - 4
        place = f'x="{left}" y="{base - height:.2f}" width="{width:.2f}" height="{height:.2f}"'
        parts.append(f'<rect class="count" {place}/>')
        center = _x((row.lower + row.upper) / 2)
        number = f"{row.n:,}" if row.n < 10_000 else f"{row.n / 1000:.0f}k"
        parts.append(f'<text x="{center}" y="{base + 14}" text-anchor="middle" font-size="10">{number}</text>')
    parts.append(f'<text x="{_x(0.5)}" y="{base + 34}" text-anchor="middle">confidence, % · answers in each bin</text>')
    return parts
