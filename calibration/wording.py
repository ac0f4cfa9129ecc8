"""Counts, percentages, points, lists, parameters and calls in sentences."""

import math
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_typed = False  # whether the reader types commands, not Python
_OPTIONS = {"labels": "label", "groups": "group"}  # options that are not called as parameters


def counted(number: int, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "label"), counted(1234, "label"), counted(2, "probability"), counted(2, "class")
    ('1 label', '1,234 labels', '2 probabilities', '2 classes')
    """
    if number == 1:
        return f"1 {noun}"
    plural = (
        f"{noun[:-1]}ies"
        if noun.endswith("ty")
        else f"{noun}es"
        if noun.endswith("s")
        else f"{noun}s"
    )
    return f"{number:,} {plural}"


def some(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are.

    >>> some(["a", "b"], 2), some(["a", "b", "c"], 2)
    ('a, b', 'a, b and 1 more')
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def percent(ratio: float | None, digits: int = 1) -> str:
    """A ratio in percent; a dash for None and NaN.

    >>> percent(0.1234), percent(-1e-9), percent(0.98764, 2), percent(None)
    ('12.3 %', '0.0 %', '98.76 %', '-')
    """
    if ratio is None or not math.isfinite(ratio):
        return "-"
    return f"{round(100 * ratio, digits) + 0.0:.{digits}f} %"  # no minus before zero


def probability(p: float, digits: int = 1) -> str:
    """The probability of one answer in percent, which is never shown as 0 or as certainty.

    >>> probability(0.1234), probability(0.9996), probability(0.0001), probability(0.9996, 0)
    ('12.3 %', 'over 99.9 %', 'under 0.1 %', 'over 99 %')
    """
    step = 10**-digits
    if 100 * p < step / 2:
        return f"under {step:.{digits}f} %"
    if 100 * p >= 100 - step / 2:
        return f"over {100 - step:.{digits}f} %"
    return percent(p, digits)


def percents(lower: float | None, upper: float | None, digits: int = 1) -> str:
    """A range of ratios in percent; a dash if neither end is known.

    >>> percents(0.031, 0.0592), percents(0.8, 0.8666, 0), percents(None, None)
    ('3.1 to 5.9 %', '80 to 87 %', '-')
    """
    first, last = percent(lower, digits), percent(upper, digits)
    return "-" if first == last == "-" else f"{first.removesuffix(' %')} to {last}"


def points(ratio: float) -> str:
    """A difference of two ratios in percentage points.

    >>> points(0.044), points(-1e-9)
    ('4.4 points', '0.0 points')
    """
    return f"{round(100 * ratio, 1) + 0.0:.1f} points"


def signed_points(ratio: float | None) -> str:
    """A difference of two ratios in points, with its sign; a dash for None and NaN.

    >>> signed_points(0.044), signed_points(None)
    ('+4.4', '-')
    """
    if ratio is None or not math.isfinite(ratio):
        return "-"
    return f"{round(100 * ratio, 1) + 0.0:+.1f}"


def in_points(ratio: float | None) -> str:
    """The same with its unit.

    >>> in_points(0.044), in_points(None)
    ('+4.4 points', '-')
    """
    said = signed_points(ratio)
    return said if said == "-" else f"{said} points"


@contextmanager
def typed() -> Iterator[None]:
    """Within, sentences are for a reader who types commands: they name options."""
    global _typed
    before, _typed = _typed, True
    try:
        yield
    finally:
        _typed = before


def parameter(name: str, value: object = None) -> str:
    """How the reader gives a parameter: as an option on the command line, by keyword in Python.

    >>> parameter("output"), parameter("anyway", True), parameter("scores", "sigmoid")
    ('output', 'anyway=True', "scores='sigmoid'")
    >>> with typed():
    ...     parameter("for_"), parameter("allow_leakage", True), parameter("scores", "sigmoid")
    ('--for', '--allow-leakage', '--scores sigmoid')
    """
    if not _typed:
        return name if value is None else f"{name}={value!r}"
    option = f"--{_OPTIONS.get(name, name).strip('_').replace('_', '-')}"
    return option if value is None or value is True else f"{option} {shlex.quote(str(value))}"


def call(verb: str, *given: object, **options: object) -> str:
    """How the reader calls a verb: as a command, or as a function of Python.

    >>> call("promote", "chest", 2)
    "candor.promote('chest', 2)"
    >>> with typed():
    ...     call("export", "runs/a b", name="MODEL")
    "candor export 'runs/a b' --name MODEL"
    """
    if _typed:
        words = [shlex.quote(str(each)) for each in given]
        return " ".join(["candor", verb, *words, *(parameter(*each) for each in options.items())])
    named = [f"{name}={value!r}" for name, value in options.items()]
    return f"candor.{verb}({', '.join([*map(repr, given), *named])})"
