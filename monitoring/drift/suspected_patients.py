"""Do answers without a patient repeat patients? Suspected from request ids, and from errors that
stand together.

Residuals z = (right - p) / sqrt(p (1 - p)) of a calibrated model and independent images do not
correlate. Images of one patient do, and they are often served one after the other, or have ids that
begin alike (`p17_left.png`, `p17_right.png`). A change of the model makes all residuals alike, near
and far: so the correlation of answers 50 to 100 apart is subtracted.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, IntArray

LATEST: Final = 20_000  # labeled answers that are looked at
LEAST: Final = 200
_FAR: Final = (50, 101)  # lags of answers that have nothing in common but the model
_SHARE: Final = 0.2  # of answers in groups, below which ids that begin alike mean nothing
_LARGEST: Final = 0.1  # of answers in one group, above which it is no patient
_SURE: Final = 4.0  # standard errors
_SEPARATORS: Final = re.compile(r"[\s_./\\:-]+")


@dataclass(frozen=True)
class SuspectedPatients:
    """Repeated patients among answers that name none.

    Attributes:
        by: what gives them away.
        answers: labeled answers that were looked at.
        share: of them, in [0, 1], in groups of two images or more.
        images: in such a group, on average; at least 2.
        correlation: of the residuals within a group.
        design_effect: how many labels are worth one independent label, at least 1.
    """

    by: Literal["request_ids", "neighbors"]
    answers: int
    share: float
    images: float
    correlation: float
    design_effect: float


def suspect(
    request_ids: Sequence[str | None], confidence: npt.ArrayLike, correct: npt.ArrayLike
) -> SuspectedPatients | None:
    """Look at labeled answers (N,) without a patient, in the order in which they were served.

    Returns None without suspicion, or if they are fewer than LEAST.
    """
    if len(request_ids) < LEAST:
        return None
    z = _residuals(confidence, correct)
    groups = groups_of(request_ids)
    by_ids = None if groups is None else _by_ids(groups, z)
    return by_ids or _by_neighbors(z)


def _residuals(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> FloatArray:
    p = np.clip(np.asarray(confidence, dtype=np.float64), 1e-3, 1 - 1e-3)
    z = (np.asarray(correct, dtype=np.float64) - p) / np.sqrt(p * (1 - p))
    z -= z.mean()
    return np.asarray(z / max(float(z.std()), 1e-9))


def groups_of(request_ids: Sequence[str | None]) -> IntArray | None:
    """Number the answers (N,) whose ids begin alike, by the longest beginning that repeats.

    None if too few of them have an id that begins like another.
    """
    if not any(request_ids):
        return None
    parts = [
        _SEPARATORS.split((name or "").rpartition(".")[0] or name or "") for name in request_ids
    ]
    for left_out in range(1, max(map(len, parts))):
        stems = ["\0".join(part[:-left_out]) or f"\0{number}" for number, part in enumerate(parts)]
        groups = np.unique(stems, return_inverse=True)[1]
        size = np.bincount(groups)
        if size.max() <= _LARGEST * len(groups) and (size[groups] > 1).mean() >= _SHARE:
            return groups
    return None


def _by_ids(groups: IntArray, z: FloatArray) -> SuspectedPatients | None:
    size, total = np.bincount(groups), np.bincount(groups, z)
    pairs = float((size * (size - 1.0)).sum())
    inside = float((total**2 - np.bincount(groups, z * z)).sum()) / pairs - _far(z)
    if inside < _SURE * (2 / pairs) ** 0.5:
        return None
    repeated = size[size > 1]
    return SuspectedPatients(
        "request_ids",
        len(z),
        float(repeated.sum() / len(z)),
        float(repeated.mean()),
        inside,
        1 + inside * pairs / len(z),
    )


def _by_neighbors(z: FloatArray) -> SuspectedPatients | None:
    """Errors that stand together: how far the correlation reaches is the size of a group."""
    near, error = np.array([_at(z, lag) for lag in range(1, _FAR[0])]) - _far(z), len(z) ** -0.5
    if near[0] < _SURE * error:
        return None
    reach = int(np.argmax(near < 2 * error)) or len(near)  # the first lag without correlation
    images, found = reach + 1.0, near[:reach]
    correlation = float(min(found[0] * images / (images - 1), 1.0))
    return SuspectedPatients(
        "neighbors", len(z), 1.0, images, correlation, float(1 + 2 * found.sum())
    )


def _far(z: FloatArray) -> float:
    return float(np.mean([_at(z, lag) for lag in range(*_FAR)]))


def _at(z: FloatArray, lag: int) -> float:
    return float((z[:-lag] * z[lag:]).mean())
