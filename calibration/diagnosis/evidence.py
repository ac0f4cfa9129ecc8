"""Log e-values of labels against "the confidence is true within the tolerance".

An e-value has a mean of at most 1 if the claim holds. It compares the label's probability under an
alternative q with that under the claim's nearest edge b, the confidence p moved toward q by the
tolerance: q/b if the answer was right, (1-q)/(1-b) if it was wrong. A product of e-values, and a
mixture of such products, is an e-value again, exact however few the labels are (Vovk and Wang
2021; Grunwald, de Heide and Koolen 2024).

Labels enter through histograms of logit p alone, so that one more window, group or shape costs a
matrix product and not a pass through the labels.
"""

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import BoolArray
from calibration.diagnosis.facts import Shape

REACH: Final = 10.0  # logits beyond are taken as this
POSITIONS: Final = np.linspace(-REACH, REACH, 129)
CELLS: Final = 2 * len(POSITIONS)  # wrong answers, then right ones
_STEP = POSITIONS[1] - POSITIONS[0]
_SIZES: Final[dict[Shape, tuple[float, ...]]] = {
    Shape.SHIFT: (-0.12, -0.3, -0.6, -1.2, -2.4, -4.0, 0.12, 0.3, 0.6, 1.2, 2.4),
    Shape.SCALE: (0.9, 0.75, 0.55, 0.35, 1.12, 1.35, 1.8),
    Shape.NOISE: (0.02, 0.05, 0.1, 0.2),
    Shape.GAP: (0.015, 0.03, 0.06, 0.12, 0.24, -0.015, -0.04, -0.08),
}
ALTERNATIVES: Final = tuple((shape, size) for shape, sizes in _SIZES.items() for size in sizes)
FAMILY: Final = np.array([shape.value for shape, _ in ALTERNATIVES])
SHAPE_PRIOR: Final = np.log(
    [1 / (len(_SIZES) * len(sizes)) for sizes in _SIZES.values() for _ in sizes]
)
_AT_HALF, _PER_LOGIT = 0.04, 0.035  # tolerance in log-odds: 0.01 at p = 0.5 and at p = 0.8


def sigmoid(z: FloatArray) -> FloatArray:
    """1 / (1 + e^-z)."""
    return np.asarray(1 / (1 + np.exp(-z)))


def logit(p: FloatArray) -> FloatArray:
    """Log-odds of p (N,) in [0, 1], limited to +-10, which is 4.5e-5 from 0 and 1."""
    low = 1 / (1 + np.exp(REACH))
    p = np.clip(p, low, 1 - low)
    return np.asarray(np.log(p) - np.log1p(-p))


def log_sum_exp(values: FloatArray, axis: int | None = None) -> FloatArray:
    """log of the sum of exponentials along an axis, or of all."""
    top = values.max(axis=axis, keepdims=True)
    total = np.log(np.exp(values - top).sum(axis=axis, keepdims=True)) + top
    return np.asarray(total.squeeze() if axis is None else total.squeeze(axis))


def tolerance(z: FloatArray) -> FloatArray:
    """Log-odds by which a confidence with logit z may be off: sqrt(0.04^2 + (0.035 z)^2).

    That is 0.010 at p = 0.5 and 0.8, and a fifth of the expected errors at 0.995. The second term
    is the error of a temperature fitted on about 1,000 labels. The drift watch tolerates more where
    confidence is high: with its tolerance, rare classes that err are named less often (two that are
    both rare: .80 of runs instead of .93, benchmarks/diagnosis).

    >>> tolerance(np.array([0.0, 5.3])).round(3)
    array([0.04, 0.19])
    """
    return np.asarray(np.hypot(_AT_HALF, _PER_LOGIT * z))


def bend(z: FloatArray, shape: Shape, size: float) -> FloatArray:
    """P(right) if the logits z of confidence are wrong in this way.

    Args:
        z: logits.
        shape: SHIFT adds `size` to z, SCALE multiplies it, NOISE turns that share of labels round,
            GAP subtracts it from the confidence.
        size: of the error.
    """
    if shape == Shape.SHIFT:
        return sigmoid(z + size)
    if shape == Shape.SCALE:
        return sigmoid(z * size)
    p = sigmoid(z)
    if shape == Shape.NOISE:
        return p * (1 - size) + (1 - p) * size
    return np.clip(p - size, 0.01, np.maximum(p, 0.995))


@lru_cache(maxsize=1)
def overconfident() -> BoolArray:
    """Which alternatives (alternatives,) say that confidence exceeds accuracy."""
    z = np.array([2.0])
    return np.array([bend(z, *each)[0] < sigmoid(z)[0] for each in ALTERNATIVES])


@lru_cache(maxsize=2)
def log_e_values(*, tolerant: bool) -> FloatArray:
    """Table (CELLS, alternatives) of log e; without the tolerance a plain likelihood ratio."""
    table = np.empty((CELLS, len(ALTERNATIVES)))
    p = sigmoid(POSITIONS)
    for place, (shape, size) in enumerate(ALTERNATIVES):
        q = bend(POSITIONS, shape, size)
        side = np.sign(q - p)
        edge = POSITIONS + side * tolerance(POSITIONS) * tolerant
        b, q = sigmoid(edge), np.clip(bend(edge, shape, size), 1e-9, 1 - 1e-9)
        room = (q - b) * side > 0
        logs = np.concatenate([np.log((1 - q) / (1 - b)), np.log(q / b)])
        table[:, place] = np.where(np.concatenate([room, room]), logs, 0.0)
    return table


class CellWeights(NamedTuple):
    """n labels: each in `cell` (n,) with the weight `lower`, and in the next with `upper`."""

    cell: IntArray
    lower: FloatArray
    upper: FloatArray


def in_cells(z: FloatArray, right: BoolArray, weight: FloatArray) -> CellWeights:
    """Split labels between neighboring positions.

    Args:
        z: (n,) logits of confidence.
        right: (n,) whether the answer was right.
        weight: (n,) what each label is worth.
    """
    place = np.clip((z + REACH) / _STEP, 0, len(POSITIONS) - 1.001)
    low = place.astype(np.int64)
    upper = weight * (place - low)
    return CellWeights(right * len(POSITIONS) + low, weight - upper, upper)


def histogram(groups: IntArray, count: int, labels: CellWeights) -> FloatArray:
    """Weights (count, CELLS) of the labels of each group; `groups` (n,) in 0..count-1."""
    cell, size = groups * CELLS + labels.cell, count * CELLS
    sums = np.bincount(cell, labels.lower, size)
    sums[1:] += np.bincount(cell, labels.upper, size)[:-1]
    return np.asarray(sums.reshape(count, CELLS))
