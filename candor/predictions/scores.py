"""Probabilities from scores: what is said to be logits or percent, and rows that cannot be either.

Rounded probabilities add up to 1 as far as their last decimal lets them.
"""

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.calibrators.temperature import sigmoid, softmax
from calibration.measures.metrics import last_decimal
from calibration.wording import parameter
from candor.predictions.columns import Kind
from candor.predictions.errors import PredictionsRefused, rows_listed

SUM_TOLERANCE = 0.01
_MOST_TOLERANCE = 0.1  # that rounding explains
_ABOVE_ONE = 1 + 1e-6
Read = tuple[FloatArray, tuple[str, ...]]


def shares(
    values: FloatArray, rows: IntArray, *, kind: Kind | None, normalize: bool = False
) -> Read:
    """Return probabilities (N, K) of exclusive classes, and notes; `rows` are numbers in the file.

    Raises PredictionsRefused: values that are not finite, no probabilities, or do not add up to 1.
    """
    _require_finite(values, rows)
    if kind == "logits":
        return softmax(values), ()
    if normalize:
        return _normalized(_not_negative(values, rows), rows)
    p = _fractions(values, rows, kind)
    sums = p.sum(axis=1)
    tolerance = _tolerance(p)
    wrong = np.abs(sums - 1) > tolerance
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        shown = ", ".join(f"{value:.4g}" for value in p[first][:6])
        raise PredictionsRefused(
            f"{int(wrong.sum()):,} of {len(rows):,} rows do not add up to 1: "
            f"{rows_listed(rows[wrong])}; row {rows[first]:,} adds up to {sums[first]:.4g} "
            f"({shown}). {parameter('normalize', True)} divides each row by its sum; "
            f"{parameter('logits', True)} takes the values as logits; {parameter('findings', '*')} "
            "takes each column as a finding of its own, if several can be present at once"
        )
    if tolerance <= SUM_TOLERANCE or (np.abs(sums - 1) <= SUM_TOLERANCE).all():
        return p, ()
    return p / sums[:, np.newaxis], (
        f"Rows of {last_decimal(p):g} as last decimal add up to 1 within what rounding explains; "
        "each was divided by its sum.",
    )


def share_of_two(values: FloatArray, rows: IntArray, *, kind: Kind | None) -> FloatArray:
    """Return probabilities (N, 2) from the score (N,) of the second of two classes, as `shares`."""
    if kind == "logits":
        return shares(np.stack([np.zeros_like(values), values], axis=1), rows, kind=kind)[0]
    p = fractions(values[:, np.newaxis], rows, kind=kind)
    return np.hstack([1 - p, p])


def fractions(values: FloatArray, rows: IntArray, *, kind: Kind | None) -> FloatArray:
    """Return probabilities (N, K) that need not add up to 1. Raises as `shares`."""
    _require_finite(values, rows)
    if kind == "logits":
        return sigmoid(values)
    return _fractions(values, rows, kind)


def add_up(probabilities: FloatArray) -> bool:
    """Whether probabilities (N, K) are those of exclusive classes: each row adds up to 1."""
    if probabilities.shape[1] < 2 or not len(probabilities):
        return False
    tolerance = _tolerance(probabilities)
    return bool(np.abs(probabilities.sum(axis=1) - 1).max() <= tolerance)


def _tolerance(p: FloatArray) -> float:
    rounding = p.shape[1] * last_decimal(p) / 2
    return float(max(SUM_TOLERANCE, min(rounding, _MOST_TOLERANCE)) + 1e-9)


def _fractions(values: FloatArray, rows: IntArray, kind: Kind | None) -> FloatArray:
    _not_negative(values, rows)
    highest = float(values.max())
    if kind == "percent":
        if not _ABOVE_ONE < highest <= 100 * _ABOVE_ONE:
            raise PredictionsRefused(
                f"{parameter('percent')}: the highest value is {highest:g}; percent go up to 100, "
                "and have values above 1. If these are probabilities from 0 to 1, leave it out; if "
                "all are below 1 percent, divide them by 100 and leave it out"
            )
        return np.clip(values / 100, 0, 1)
    sums_to_one = values.shape[1] > 1 and highest <= 1 + SUM_TOLERANCE
    if highest > _ABOVE_ONE and not sums_to_one:
        bad = rows[(values > _ABOVE_ONE).any(axis=1)]
        raise PredictionsRefused(
            f"a probability is between 0 and 1; got up to {highest:g} ({rows_listed(bad)}). Say "
            f"{parameter('percent', True)} if the values are percent, {parameter('logits', True)} "
            f"if they are logits, {parameter('normalize', True)} if they are counts or weights"
        )
    return np.clip(values, 0, 1)


def _not_negative(values: FloatArray, rows: IntArray) -> FloatArray:
    negative = (values < 0).any(axis=1)
    if negative.any():
        raise PredictionsRefused(
            f"probabilities cannot be negative: {rows_listed(rows[negative])}. Correct them; if "
            f"the scores are logits, say {parameter('logits', True)}"
        )
    return values


def _require_finite(values: FloatArray, rows: IntArray) -> None:
    bad = np.asarray(~np.isfinite(values).all(axis=1))
    if bad.any():
        raise PredictionsRefused(
            f"scores must be finite numbers; {rows_listed(rows[bad])} have infinity"
        )


def _normalized(values: FloatArray, rows: IntArray) -> Read:
    sums = values.sum(axis=1)
    if not (sums > 0).all():
        raise PredictionsRefused(
            f"rows of zeros have no sum to divide by: {rows_listed(rows[~(sums > 0)])}"
        )
    changed = int((np.abs(sums - 1) > SUM_TOLERANCE).sum())
    return np.asarray(values / sums[:, np.newaxis]), (
        f"Rows were divided by their sum ({parameter('normalize')}); {changed:,} of {len(sums):,} "
        "did not add up to 1.",
    )
