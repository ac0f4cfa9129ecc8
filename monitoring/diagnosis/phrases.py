"""The parts that sentences share: points, and which answers a figure is about."""

from calibration.drift.tolerance import allowed_gap


def points(ratio: float) -> str:
    """A difference of two ratios in percentage points.

    >>> points(0.044), points(-1e-9)
    ('4.4 points', '0.0 points')
    """
    return f"{round(100 * ratio, 1) + 0.0:.1f} points"


def tolerance(ratio: float) -> str:
    """The drift watch's setting, and what it is in percentage points at a confidence.

    >>> tolerance(0.025)
    '0.025 (1.0 points at 80 %)'
    """
    return f"{ratio:g} ({points(float(allowed_gap(0.8, ratio)))} at 80 %)"


def answers_of(name: str) -> str:
    """The answers that name a class."""
    return f'answers of "{name}"'


def answers_in_slice(name: str) -> str:
    """The answers of a slice, by its name in the ledger.

    >>> answers_in_slice("predicted:pneumonia"), answers_in_slice("tag:site=A")
    ('answers of "pneumonia"', 'answers with site=A')
    """
    kind, _, value = name.partition(":")
    return answers_of(value) if kind == "predicted" else f"answers with {value}"


def answers_in_stream(stream: str, name: str | None) -> str:
    """The answers of one stream of the drift detector.

    >>> answers_in_stream("class", "pneumonia"), answers_in_stream("all", None)
    ('answers of "pneumonia"', 'all answers')
    """
    if stream == "class":
        return answers_of(name or "")
    return f"answers with a confidence in {name}" if stream == "bin" else "all answers"
