"""`candor.measure`: every measure of predictions, from arrays of any library."""

import warnings
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy.typing as npt

from calibration.bins import BIN_COUNT
from calibration.measures.summary import Measures
from candor.predictions.arrays import kind_of, read_arrays, require_bins
from candor.predictions.columns import ColumnWishes
from candor.predictions.labeled import ReadingOptions


def measure(
    probabilities: npt.ArrayLike | PathLike[str],
    labels: npt.ArrayLike | None = None,
    *,
    logits: bool = False,
    percent: bool = False,
    normalize: bool = False,
    classes: Sequence[str] | None = None,
    groups: npt.ArrayLike | None = None,
    findings: str | None = None,
    exclusive: bool = False,
    bins: int = BIN_COUNT,
) -> Measures | Any:
    """Measure how calibrated and how accurate predictions are, as `candor.calibrate` does.

    Args:
        probabilities: and all others: those of `candor.calibrate`. Rows without a label or with a
            missing value are left out, with a warning; intervals and floor know `groups`.

    Returns:
        Every measure, the ECE with its 95 % interval (`ece_lower`, `ece_upper`) and its floor: the
        ECE that a perfectly calibrated model would show on so many labels (`noise_floor`).
        FindingsMeasures if columns are findings.

    Raises:
        ValueError: what is wrong with the arrays, in a sentence.

    >>> # 80 % confident, right 60 % of the time
    >>> found = measure([[0.2, 0.8]] * 10, [1] * 6 + [0] * 4)
    >>> print(f"ECE {found.ece:.2f}, 95 % interval {found.ece_lower:.2f} to {found.ece_upper:.2f}")
    ECE 0.20, 95 % interval 0.00 to 0.50
    """
    options = ReadingOptions(
        wishes=ColumnWishes(kind=kind_of(logits=logits, percent=percent)),
        classes=None if classes is None else tuple(map(str, classes)),
        normalize=normalize,
        findings=findings,
        exclusive=exclusive,
    )
    read = read_arrays(probabilities, labels, groups, options)
    for sentence in read.left_out:
        warnings.warn(sentence, stacklevel=2)
    return read.measured(require_bins(bins))
