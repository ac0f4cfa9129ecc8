"""The reliability diagram of a card as an SVG file: accuracy against confidence by bin, with 95 % intervals."""

from html import escape

from calibration.reliability import ReliabilityBin, reliability
from model_store.card import CalibrationCard

_SIDE, _LEFT, _TOP = 300, 52, 34  # of the square from (0, 0) to (1, 1), in pixels
_STYLE = (
    "text{font:12px sans-serif;fill:#222}.bar{fill:#4c9a92}.line{stroke:#222;stroke-width:1}"
    ".ideal{stroke:#888;stroke-dasharray:4 3}.grid{stroke:#ddd}"
)


def diagram(calibration: CalibrationCard, *, title: str) -> str:
    """Return the diagram of the card's reference. Equal cards give equal bytes."""
    bars = reliability(calibration.sums)
    parts = [_grid(), *(_bar(bar) for bar in bars if bar.n)]
    parts.append(f'<line class="ideal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>')
    parts += [
        f'<text x="{_LEFT}" y="18">{escape(title)}</text>',
        f'<text x="{_x(0.5)}" y="{_TOP + _SIDE + 34}" text-anchor="middle">Confidence</text>',
        f'<text x="14" y="{_y(0.5)}" text-anchor="middle" transform="rotate(-90 14 {_y(0.5)})">Accuracy</text>',
    ]
    width, height = _LEFT + _SIDE + 16, _TOP + _SIDE + 44
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img"><title>{escape(title)}</title><style>{_STYLE}</style>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _bar(bar: ReliabilityBin) -> str:
    left, right, middle = _x(bar.lower), _x(bar.upper), _x(bar.confidence)
    said = (
        f"{bar.n} answers with a confidence of {bar.lower:.2f} to {bar.upper:.2f}: on average {bar.confidence:.3f}, "
        f"accuracy {bar.accuracy:.3f} [{bar.accuracy_lower:.3f}, {bar.accuracy_upper:.3f}]"
    )
    return (
        f'<g><title>{said}</title><rect class="bar" x="{left}" y="{_y(bar.accuracy)}" width="{right - left:.1f}" '
        f'height="{_y(0) - _y(bar.accuracy):.1f}"/><line class="line" x1="{middle}" x2="{middle}" '
        f'y1="{_y(bar.accuracy_lower)}" y2="{_y(bar.accuracy_upper)}"/></g>'
    )


def _grid() -> str:
    lines = []
    for tenths in range(0, 11, 2):
        at = tenths / 10
        lines.append(f'<line class="grid" x1="{_x(0)}" x2="{_x(1)}" y1="{_y(at)}" y2="{_y(at)}"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{_y(at) + 4:.1f}" text-anchor="end">{at:.1f}</text>')
        lines.append(f'<text x="{_x(at)}" y="{_TOP + _SIDE + 16}" text-anchor="middle">{at:.1f}</text>')
    return "".join(lines)


def _x(value: float) -> float:
    return round(_LEFT + _SIDE * value, 1)


def _y(value: float) -> float:
    return round(_TOP + _SIDE * (1 - value), 1)
