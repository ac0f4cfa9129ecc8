"""A calibrator for labeled predictions, and what it improves on rows that it was not fitted on.

Few rows are used by cross-fitting: remedies are chosen and fitted on four fifths and judged on the
fifth, five times, so that the choice itself is part of what is judged. The calibrator handed out is
then chosen and fitted on all rows. Many rows are split: up to half of them choose and fit, the
others judge the very calibrator that is handed out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, IntArray
from calibration.calibrators.affine import Affine
from calibration.calibrators.remedies import (
    REMEDIES,
    RemedyChoice,
    choose,
    fall,
    undetermined,
)
from calibration.calibrators.temperature import check_answers
from calibration.cross_fitting import cross_fit, fold_numbers, part_of
from calibration.measures.metrics import log_loss
from calibration.wording import counted

FEWEST_ROWS = 100
FEWEST_GROUPS = 20
MANY_CLASSES = 30  # more cannot have biases of their own
# more rows if they have few classes
_CELLS, _CHOICE_ROWS, _FIT_ROWS = 1_000_000, (1_000, 2_500), 20_000

Judged = Literal["cross-fitted", "held-out"]


class TooFewRows(ValueError):
    """Too few rows, groups, or wrong answers to fit a calibrator on. The text is a clause."""


class OneLabel(TooFewRows):
    """All labels are the same."""


@dataclass(frozen=True)
class HonestFit:
    """A calibrator and its honest figures.

    Attributes:
        choice: how the remedies compared on the rows that the calibrator was chosen on.
        remedy: name of the one fitted; None if the predictions are better left alone.
        affine: the fitted map of log-probabilities; None without a remedy.
        judged: how the rows were kept apart.
        rows: (M,) those judged; `probabilities`: (M, K) from a calibrator that has not seen them.
        fitted_on: rows that the calibrator was fitted on.
        improvement: fall of the mean negative log-likelihood of the judged rows, in nats.
        standard_error: of it, by group.
    """

    choice: RemedyChoice
    remedy: str | None
    affine: Affine | None
    judged: Judged
    rows: npt.NDArray[np.int64]
    probabilities: FloatArray
    fitted_on: int
    improvement: float
    standard_error: float


def fit_honestly(
    served: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    allow_label_changes: bool = False,
    seed: int = 0,
    judging: npt.ArrayLike | None = None,
) -> HonestFit:
    """Choose and fit a remedy (`remedies.choose`), and judge it on rows that it has not seen.

    Those are the rows `judging` (N,) bool, if they are given; the others are then fitted on.

    The predictions are left alone if no remedy improves by a standard error, or if the one chosen
    does not improve the rows that judge it.

    Probabilities (N, K) as served are above 0; rounded ones need not add up to 1. Groups (N,) stay
    together. Raises TooFewRows below 100 rows or 20 groups, and ValueError as
    `calibration.calibrators.temperature.check_answers`.
    """
    p = np.asarray(served, dtype=np.float64)
    _, y = check_answers(np.log(p), labels)
    units = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    every, most = (
        np.arange(len(y)),
        min(_CHOICE_ROWS[1], max(_CHOICE_ROWS[0], _CELLS // p.shape[1])),
    )
    fitting = every if judging is None else np.flatnonzero(~np.asarray(judging, dtype=bool))
    _require(y[fitting], part_of(units, fitting))

    def fit(rows: IntArray) -> tuple[RemedyChoice, Affine | None]:
        few = rows[:most]  # many rows come in random order
        choice = choose(
            np.log(p[few]),
            y[few],
            served=p[few],
            groups=part_of(units, few),
            allow_label_changes=allow_label_changes,
            exclude=_exclusions(p.shape[1]),
            seed=seed,
        )
        if choice.chosen is None:
            return choice, None
        affine = REMEDIES[choice.chosen].fit(np.log(p[rows]), y[rows])
        return choice, None if undetermined(affine) else affine

    rows = every
    judged: Judged = "cross-fitted"
    if judging is None and len(y) <= most:
        folds = fold_numbers(y, units, seed=seed + 1)
        unseen = cross_fit(lambda kept: _map(fit(np.flatnonzero(kept))[1]), p, folds)
        choice, affine = fit(every)
    else:
        fitting = _drawn(p, units, seed) if judging is None else fitting
        rows, judged = np.setdiff1d(every, fitting), "held-out"
        choice, affine = fit(fitting)
        unseen = _map(affine)(p[rows])
    improvement, error = fall(
        log_loss(p[rows], y[rows]), log_loss(unseen, y[rows]), part_of(units, rows)
    )
    kept = affine is not None and improvement > 0
    return HonestFit(
        choice,
        choice.chosen if kept else None,
        affine if kept else None,
        judged,
        rows,
        unseen if kept else p[rows],
        len(fitting),
        improvement,
        error,
    )


def _map(affine: Affine | None) -> Callable[[FloatArray], FloatArray]:
    return lambda p: p if affine is None else affine(np.log(p))


def _drawn(p: FloatArray, units: IntArray | None, seed: int) -> IntArray:
    """The rows to fit on, at most half of all, in random order."""
    unit = np.arange(len(p)) if units is None else units
    # rows by shuffled unit
    order = np.argsort(
        np.random.default_rng(seed).permutation(int(unit.max()) + 1)[unit], kind="stable"
    )
    end = min(len(p) // 2, max(_FIT_ROWS, _CELLS // p.shape[1]))
    # a group is not torn apart
    while end < len(p) - 1 and unit[order[end]] == unit[order[end - 1]]:
        end += 1
    return order[:end]


def _require(labels: npt.NDArray[np.integer], units: IntArray | None) -> None:
    groups = len(labels) if units is None else len(np.unique(units))
    for count, fewest, noun in (
        (len(labels), FEWEST_ROWS, "labeled row"),
        (groups, FEWEST_GROUPS, "group"),
    ):
        if count < fewest:
            there = f"{'is' if count == 1 else 'are'} {counted(count, noun.split()[-1])}"
            raise TooFewRows(f"a calibrator needs {counted(fewest, noun)}; there {there}")
    if len(np.unique(labels)) < 2:
        raise OneLabel(
            "all labels are of one class, so nothing tells how often the model is wrong about the "
            "others"
        )


def _exclusions(classes: int) -> dict[str, str]:
    if classes <= MANY_CLASSES:
        return {}
    reason = f"{classes} classes are too many for biases of their own"
    return {name: reason for name, each in REMEDIES.items() if not each.keeps_argmax}
