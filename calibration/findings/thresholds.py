"""From which probability on a finding counts as present, and what that gives.

A threshold is chosen on labeled images and lies halfway between two of their probabilities, so that
rounding in another runtime changes no answer. Sensitivity and specificity depend on the order of
the probabilities alone, so a calibrator that was fitted on the same labels does not flatter them.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, IntArray
from calibration.findings.calibrator import FEWEST_POSITIVES
from calibration.findings.measures import BoolArray, known_answers
from calibration.intervals.confidence_sequence import share_interval
from calibration.measures.ranking import steps_down

ThresholdKind = Literal["half", "youden", "sensitivity", "specificity", "cost"]
KINDS: tuple[ThresholdKind, ...] = get_args(ThresholdKind)
_ROUNDING = 1e-9


def choose_threshold(
    probability: npt.ArrayLike,
    label: npt.ArrayLike,
    *,
    kind: ThresholdKind = "half",
    value: float | None = None,
) -> float | None:
    """Return a threshold in [0, 1], or None if these labels are too few to choose it.

    "half" is 0.5. "youden" has the largest sensitivity + specificity. "sensitivity" is the highest
    threshold that finds the share `value` of the positives, "specificity" the lowest that clears
    the share `value` of the negatives. With "cost" a missed finding costs `value` times a false
    alarm: 1 / (1 + value), the best one for true probabilities (Elkan 2001), without any labels.
    The others take as many positives or negatives as a calibrator, "youden" of both.

    Raises ValueError for a value that does not fit the kind, and as `known_answers`.

    >>> p, y = [0, 0.25, 0.5, 0.75] * 10, [0, 1, 0, 1] * 10
    >>> choose_threshold(p, y, kind="sensitivity", value=1.0)
    0.125
    >>> choose_threshold(p, y, kind="specificity", value=1.0)
    0.625
    >>> choose_threshold(p, y, kind="cost", value=4)
    0.2
    """
    check_rule(kind, value)
    p, y, _ = known_answers(probability, label)
    if kind == "half":
        return 0.5
    if kind == "cost":
        return 1 / (1 + (value or 0))
    return _of_labels(p, y, kind, value or 0)


def check_rule(kind: str, value: float | None) -> ThresholdKind:
    """Return the kind of the rule. Raises ValueError unless there is one with such a value."""
    if kind not in KINDS:
        raise ValueError(f"no threshold is chosen by {kind!r}; known are {', '.join(KINDS)}")
    if kind in ("half", "youden"):
        if value is not None:
            raise ValueError(f"{kind} has no value; got {value:g}")
    elif value is None or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{kind} needs a value above 0, as in {kind}=0.9; got {value}")
    elif kind != "cost" and value > 1:
        raise ValueError(f"a {kind} is at most 1; got {value:g}")
    return kind


def _of_labels(p: FloatArray, y: BoolArray, kind: ThresholdKind, value: float) -> float | None:
    positives = int(y.sum())
    negatives = len(y) - positives
    telling = {"sensitivity": positives, "specificity": negatives}
    if telling.get(kind, min(positives, negatives)) < FEWEST_POSITIVES:
        return None
    levels, hits, false_alarms = _curve(p, y)
    if kind == "sensitivity":
        place = int(np.argmax(hits >= value * positives - _ROUNDING))
    elif kind == "specificity":
        allowed = (1 - value) * negatives + _ROUNDING
        place = int(np.flatnonzero(false_alarms <= allowed)[-1])
    else:
        place = int(np.argmax(hits / positives - false_alarms / negatives))
    return float(levels[place] + levels[place + 1]) / 2


def _curve(p: FloatArray, y: BoolArray) -> tuple[FloatArray, IntArray, IntArray]:
    """Levels (U + 2,) from 1 down to 0; positives and negatives at or above each, (U + 1,)."""
    level, kept, negative = steps_down(p, y)
    return (
        np.concatenate([[1.0], level, [0.0]]),
        np.append(0, kept - negative),
        np.append(0, negative),
    )


@dataclass(frozen=True)
class ObservedRate:
    """A share of `n` images, with its exact 95 % interval (Clopper and Pearson 1934)."""

    value: float
    lower: float
    upper: float
    n: int


@dataclass(frozen=True)
class OperatingPoint:
    """What a threshold gives on labeled images; a rate is None without images that tell it."""

    threshold: float
    sensitivity: ObservedRate | None
    specificity: ObservedRate | None
    ppv: ObservedRate | None


def operating_point(
    probability: npt.ArrayLike,
    label: npt.ArrayLike,
    threshold: float,
    *,
    groups: npt.ArrayLike | None = None,
) -> OperatingPoint:
    """Return what `threshold` gives; images from it on are said to have the finding.

    If the threshold was chosen as the one that reaches a sensitivity on the same images, the lower
    end of that sensitivity is still exact: the share of positives above an order statistic has the
    beta distribution of that end.

    The likeness of images of one group (N,) counts as fewer images. ValueError as `known_answers`.

    >>> operating_point([0.1, 0.2, 0.6, 0.8], [0, 1, 0, 1], 0.5).sensitivity.value
    0.5
    """
    p, y, known = known_answers(probability, label)
    units = None if groups is None else np.asarray(groups)[known]
    present = p >= threshold

    def rate(right: BoolArray, among: BoolArray) -> ObservedRate | None:
        return rate_estimate(right[among], None if units is None else units[among])

    return OperatingPoint(threshold, rate(present, y), rate(~present, ~y), rate(y, present))


def rate_estimate(right: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> ObservedRate | None:
    """Return the share of true values in `right` (N,), or None if N is 0.

    With `groups` (N,), the interval is that of n / (design effect) images, the variance between
    groups over that of independent images (Rao and Scott 1992).
    """
    r = np.asarray(right, dtype=bool)
    if not r.size:
        return None
    share, n = float(r.mean()), _independent(r, groups)
    lower = share_interval(n, math.floor(share * n + _ROUNDING)).lower
    upper = share_interval(n, math.ceil(share * n - _ROUNDING)).upper
    return ObservedRate(share, lower, upper, r.size)


def _independent(right: BoolArray, groups: npt.ArrayLike | None) -> int:
    """How many independent images tell as much; at least the number of groups if all are alike."""
    n, share = right.size, float(right.mean())
    if groups is None:
        return n
    _, unit = np.unique(np.asarray(groups), return_inverse=True)
    count = int(unit.max()) + 1
    if share in (0, 1) or count < 2:
        return count
    between = float((np.bincount(unit, right - share) ** 2).sum()) * count / (count - 1)
    return max(1, math.floor(n / max(1.0, between / (n * share * (1 - share)))))
