"""A calibrator for labeled predictions, and what it improves on rows that it was not fitted on.

Few rows are used by cross-fitting: remedies are chosen and fitted on four fifths and judged on the
fifth, five times, so that the choice itself is part of what is judged. The calibrator handed out is
then chosen and fitted on all rows. Many rows are split: up to half of them choose and fit, the
others judge the very calibrator that is handed out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.calibrators.affine import Affine
from calibration.calibrators.remedies import (
    REMEDIES,
    RemedyChoice,
    choose,
    standard_error,
    undetermined,
)
from calibration.calibrators.temperature import check_answers
from calibration.cross_fitting import Rows, cross_fit, fold_numbers
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
    known = _Rows(p, y, units)
    apart = None if judging is None else np.asarray(judging, dtype=bool)
    _require(known if apart is None else known.part(~apart))
    most = min(_CHOICE_ROWS[1], max(_CHOICE_ROWS[0], _CELLS // p.shape[1]))
    fitting = _Fitting(allow_label_changes, _exclusions(p.shape[1]), seed, most)
    if apart is None and len(y) <= most:
        return _cross_fitted(known, fitting)
    fit = _drawn(known, seed) if apart is None else np.flatnonzero(~apart)
    rest = np.setdiff1d(np.arange(len(y)), fit)
    choice, affine = fitting.choose(known.part(fit))
    probabilities = p[rest] if affine is None else affine(np.log(p[rest]))
    return _judge(choice, affine, known, rest, probabilities, fitted_on=len(fit))


@dataclass(frozen=True)
class _Rows:
    """Probabilities (N, K) as served, labels (N,) and groups (N,), if they are known."""

    served: FloatArray
    labels: npt.NDArray[np.integer]
    units: npt.NDArray[np.integer] | None

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: slice | npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "_Rows":
        units = None if self.units is None else self.units[rows]
        return _Rows(self.served[rows], self.labels[rows], units)


@dataclass(frozen=True)
class _Fitting:
    """How remedies are chosen and fitted, on at most `most` rows for the choice."""

    allow_label_changes: bool
    exclude: Mapping[str, str]
    seed: int
    most: int

    def choose(self, known: _Rows) -> tuple[RemedyChoice, Affine | None]:
        """The choice among remedies on these rows, and the fit of the one chosen."""
        few = known.part(slice(self.most))  # many rows come in random order
        choice = choose(
            np.log(few.served),
            few.labels,
            served=few.served,
            groups=few.units,
            allow_label_changes=self.allow_label_changes,
            exclude=self.exclude,
            seed=self.seed,
        )
        if choice.chosen is None:
            return choice, None
        affine = REMEDIES[choice.chosen].fit(np.log(known.served), known.labels)
        return choice, None if undetermined(affine) else affine


def _cross_fitted(known: _Rows, fitting: _Fitting) -> HonestFit:
    def fit(rows: Rows) -> Callable[[FloatArray], FloatArray]:
        _, affine = fitting.choose(known.part(rows))
        return lambda p: p if affine is None else affine(np.log(p))

    folds = fold_numbers(known.labels, known.units, seed=fitting.seed + 1)
    probabilities = cross_fit(fit, known.served, folds)
    return _judge(*fitting.choose(known), known, np.arange(len(known)), probabilities)


def _drawn(known: _Rows, seed: int) -> npt.NDArray[np.int64]:
    """The rows to fit on, at most half of all, in random order."""
    unit = np.arange(len(known)) if known.units is None else known.units
    # rows by shuffled unit
    order = np.argsort(
        np.random.default_rng(seed).permutation(int(unit.max()) + 1)[unit], kind="stable"
    )
    end = min(len(known) // 2, max(_FIT_ROWS, _CELLS // known.served.shape[1]))
    # a group is not torn apart
    while end < len(known) - 1 and unit[order[end]] == unit[order[end - 1]]:
        end += 1
    return order[:end]


def _judge(
    choice: RemedyChoice,
    affine: Affine | None,
    known: _Rows,
    rows: npt.NDArray[np.int64],
    probabilities: FloatArray,
    *,
    fitted_on: int | None = None,
) -> HonestFit:
    """The fit, judged on `rows`; it was fitted on all rows if `fitted_on` is None."""
    judged = known.part(rows)
    difference = log_loss(judged.served, judged.labels) - log_loss(probabilities, judged.labels)
    improvement, share = float(difference.mean()), np.full(len(rows), 1 / len(rows))
    kept = affine is not None and improvement > 0
    return HonestFit(
        choice,
        choice.chosen if kept else None,
        affine if kept else None,
        "cross-fitted" if fitted_on is None else "held-out",
        rows,
        probabilities if kept else judged.served,
        len(known) if fitted_on is None else fitted_on,
        improvement,
        standard_error(difference, share, judged.units),
    )


def _require(known: _Rows) -> None:
    if len(known) < FEWEST_ROWS:
        raise TooFewRows(
            f"a calibrator needs {FEWEST_ROWS} labeled rows; there {_are(len(known), 'row')}"
        )
    groups = len(known) if known.units is None else len(np.unique(known.units))
    if groups < FEWEST_GROUPS:
        raise TooFewRows(
            f"a calibrator needs {FEWEST_GROUPS} groups; there {_are(groups, 'group')}"
        )
    if len(np.unique(known.labels)) < 2:
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
