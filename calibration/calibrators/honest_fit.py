"""A calibrator for labeled predictions, and what it improves on rows that it was not fitted on.

Few rows are used by cross-fitting: remedies are chosen and fitted on four fifths and judged on the
fifth, five times, so that the choice itself is part of what is judged. The calibrator handed out is
then chosen and fitted on all rows. Many rows are split: up to half of them choose and fit, the
others judge the very calibrator that is handed out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.calibrators.affine import Affine
from calibration.calibrators.remedies import (
    FOLDS,
    REMEDIES,
    RemedyChoice,
    choose,
    fold_numbers,
    standard_error,
    undetermined,
)
from calibration.calibrators.temperature import check_answers
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
    z, y = check_answers(np.log(p), labels)
    units = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    held_out = None if judging is None else np.asarray(judging, dtype=bool)
    fitted = np.ones(len(y), dtype=bool) if held_out is None else ~held_out
    _require(y[fitted], None if units is None else units[fitted])
    most = min(_CHOICE_ROWS[1], max(_CHOICE_ROWS[0], _CELLS // z.shape[1]))
    fitting = _Fitting(allow_label_changes, _exclusions(z.shape[1]), seed, most)
    if held_out is not None:
        return _fit_apart(p, y, units, np.flatnonzero(fitted), np.flatnonzero(held_out), fitting)
    return (
        _cross_fitted(p, y, units, fitting) if len(y) <= most else _held_out(p, y, units, fitting)
    )


@dataclass(frozen=True)
class _Fitting:
    """How remedies are chosen and fitted, on at most `most` rows for the choice."""

    allow_label_changes: bool
    exclude: Mapping[str, str]
    seed: int
    most: int

    def choose(
        self, p: FloatArray, y: npt.NDArray[np.integer], units: npt.NDArray[np.integer] | None
    ) -> tuple[RemedyChoice, Affine | None]:
        # the rows come in random order
        few = slice(None) if len(y) <= self.most else slice(self.most)
        groups, z = None if units is None else units[few], np.log(p)
        choice = choose(
            z[few],
            y[few],
            served=p[few],
            groups=groups,
            allow_label_changes=self.allow_label_changes,
            exclude=self.exclude,
            seed=self.seed,
        )
        affine = None if choice.chosen is None else REMEDIES[choice.chosen].fit(z, y)
        return choice, None if affine is None or undetermined(affine) else affine


def _cross_fitted(
    p: FloatArray,
    y: npt.NDArray[np.integer],
    units: npt.NDArray[np.integer] | None,
    fitting: _Fitting,
) -> HonestFit:
    probabilities = p.copy()
    (fold,) = fold_numbers(y, units, fitting.seed + 1, repeats=1)
    for number in range(FOLDS):
        held_out = fold == number
        _, affine = fitting.choose(
            p[~held_out], y[~held_out], None if units is None else units[~held_out]
        )
        if affine is not None:
            probabilities[held_out] = affine(np.log(p[held_out]))
    choice, affine = fitting.choose(p, y, units)
    return _judge(
        choice, affine, p, y, units, np.arange(len(y)), probabilities, "cross-fitted", len(y)
    )


def _held_out(
    p: FloatArray,
    y: npt.NDArray[np.integer],
    units: npt.NDArray[np.integer] | None,
    fitting: _Fitting,
) -> HonestFit:
    rng = np.random.default_rng(fitting.seed)
    unit = np.arange(len(y)) if units is None else units
    # rows by shuffled unit
    order = np.argsort(rng.permutation(int(unit.max()) + 1)[unit], kind="stable")
    end = min(len(y) // 2, max(_FIT_ROWS, _CELLS // p.shape[1]))
    # a group is not torn apart
    while end < len(y) - 1 and unit[order[end]] == unit[order[end - 1]]:
        end += 1
    return _fit_apart(p, y, units, order[:end], np.sort(order[end:]), fitting)


def _fit_apart(
    p: FloatArray,
    y: npt.NDArray[np.integer],
    units: npt.NDArray[np.integer] | None,
    fit: npt.NDArray[np.int64],
    rest: npt.NDArray[np.int64],
    fitting: _Fitting,
) -> HonestFit:
    """Fit on the rows `fit`, which come in random order, and judge on the rows `rest`."""
    choice, affine = fitting.choose(p[fit], y[fit], None if units is None else units[fit])
    probabilities = p[rest] if affine is None else affine(np.log(p[rest]))
    return _judge(choice, affine, p, y, units, rest, probabilities, "held-out", len(fit))


def _judge(
    choice: RemedyChoice,
    affine: Affine | None,
    p: FloatArray,
    y: npt.NDArray[np.integer],
    units: npt.NDArray[np.integer] | None,
    rows: npt.NDArray[np.int64],
    probabilities: FloatArray,
    judged: Judged,
    fitted_on: int,
) -> HonestFit:
    served = p[rows]
    difference = log_loss(served, y[rows]) - log_loss(probabilities, y[rows])
    improvement, share = float(difference.mean()), np.full(len(rows), 1 / len(rows))
    error = standard_error(difference, share, None if units is None else units[rows])
    kept = affine is not None and improvement > 0
    return HonestFit(
        choice,
        choice.chosen if kept else None,
        affine if kept else None,
        judged,
        rows,
        probabilities if kept else served,
        fitted_on,
        improvement,
        error,
    )


def _require(y: npt.NDArray[np.integer], units: npt.NDArray[np.integer] | None) -> None:
    if len(y) < FEWEST_ROWS:
        raise TooFewRows(
            f"a calibrator needs {FEWEST_ROWS} labeled rows; there {_are(len(y), 'row')}"
        )
    groups = len(y) if units is None else len(np.unique(units))
    if groups < FEWEST_GROUPS:
        raise TooFewRows(
            f"a calibrator needs {FEWEST_GROUPS} groups; there {_are(groups, 'group')}"
        )
    if len(np.unique(y)) < 2:
        raise OneLabel(
            "all labels are of one class, so nothing tells how often the model is wrong about the "
            "others"
        )


def _exclusions(classes: int) -> dict[str, str]:
    if classes <= MANY_CLASSES:
        return {}
    reason = f"{classes} classes are too many for biases of their own"
    return {name: reason for name, each in REMEDIES.items() if not each.keeps_argmax}


def _are(number: int, noun: str) -> str:
    return f"{'is' if number == 1 else 'are'} {counted(number, noun)}"
