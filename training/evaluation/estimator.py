"""A calibrator in the shape of scikit-learn, which the extra `train` installs."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from calibration.bins import FloatArray, IntArray
from calibration.calibrators.honest_fit import FEWEST_ROWS
from calibration.cross_fitting import FOLDS, fold_numbers
from calibration.examination import examine
from calibration.measures.summary import SUM_TOLERANCE


class ProbabilityCalibrator(ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities are calibrated by what `candor.calibrate` fits.

    Args:
        estimator: the classifier to calibrate, with `predict_proba`. If it is None, X has the
            probabilities of another model: (N, K) in the order of the sorted classes, each row
            adding up to 1, or (N, 1) of the second of two. Other X is taken as features of a
            logistic regression.
        allow_label_changes: consider calibrators that may change the predicted class.
        random_state: seed of folds and of the split into fitting and judging rows.

    Attributes:
        classes_: (K,) the labels, sorted.
        estimator_: the classifier, fitted on all rows; None if X has probabilities.
        examination_: what `candor.calibrate` finds, of probabilities of rows that the classifier
            was not fitted on.
        calibrator_: the calibrator; it changes nothing below 100 rows, or if it does not help.

    >>> found = ProbabilityCalibrator().fit([[0.1, 0.9]] * 200, [1] * 140 + [0] * 60)
    >>> found.predict_proba([[0.1, 0.9]]).round(2)
    array([[0.3, 0.7]])
    """

    def __init__(
        self, estimator: Any = None, *, allow_label_changes: bool = False, random_state: int = 0
    ) -> None:
        self.estimator = estimator
        self.allow_label_changes = allow_label_changes
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:  # noqa: N803
        """Fit on X (N, M) and labels (N,); rows of one of `groups` (N,) are kept together.

        Raises:
            ValueError: shapes or values that scikit-learn refuses, a single class, or columns that
                name the classes in another order.
        """
        table, labels = validate_data(self, X, y)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"labels of one class ({self.classes_[0]!r}) calibrate nothing")
        self._require_order()
        served = None if self.estimator is not None else self._probabilities(table)
        self.estimator_ = None
        if served is None:
            self.estimator_ = self._estimator().fit(table, codes)
            served = self._of_unseen(table, codes, groups)
        self.examination_ = examine(
            served,
            codes,
            classes=tuple(map(str, self.classes_)),
            groups=groups,
            allow_label_changes=self.allow_label_changes,
            seed=self.random_state,
        )
        self.calibrator_ = self.examination_.calibrator
        return self

    def predict_proba(self, X: Any) -> FloatArray:  # noqa: N803
        """Return calibrated probabilities (N, K), in the order of `classes_`.

        Raises:
            ValueError: another number of columns, or no probabilities where `fit` had some.
        """
        check_is_fitted(self)
        table = validate_data(self, X, reset=False)
        if self.estimator_ is not None:
            return self.calibrator_(self.estimator_.predict_proba(table))
        served = self._probabilities(table)
        if served is None:
            raise ValueError("X must have probabilities, as in fit: each row adding up to 1")
        return self.calibrator_(served)

    def predict(self, X: Any) -> npt.NDArray[Any]:  # noqa: N803
        """Return the most probable class of each row, (N,)."""
        most_probable = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[most_probable])

    def _estimator(self) -> Any:
        return (
            LogisticRegression(max_iter=1000) if self.estimator is None else clone(self.estimator)
        )

    def _probabilities(self, table: npt.NDArray[Any]) -> FloatArray | None:
        """X as probabilities (N, K); None if it has none."""
        p = np.asarray(table, dtype=np.float64)
        if p.min() < 0 or p.max() > 1:
            return None
        if p.shape[1] == 1 and len(self.classes_) == 2:
            return np.concatenate([1 - p, p], axis=1)
        adds_up = np.abs(p.sum(axis=1) - 1).max() <= SUM_TOLERANCE
        return p if p.shape[1] == len(self.classes_) and adds_up else None

    def _of_unseen(self, table: npt.NDArray[Any], codes: IntArray, groups: Any) -> FloatArray:
        """Probabilities (N, K) of rows that the classifier was not fitted on, if rows suffice."""
        fewest = int(np.bincount(codes).min())
        if len(codes) < FEWEST_ROWS or fewest < 2:
            return np.asarray(self._estimator().fit(table, codes).predict_proba(table))
        count = min(FOLDS, fewest)
        folds = PredefinedSplit(fold_numbers(codes, groups, seed=self.random_state, count=count))
        return np.asarray(
            cross_val_predict(self._estimator(), table, codes, cv=folds, method="predict_proba")
        )

    def _require_order(self) -> None:
        names = [str(name) for name in getattr(self, "feature_names_in_", ())]
        classes = [str(name) for name in self.classes_]
        if names != classes and sorted(names) == sorted(classes):
            raise ValueError(f"columns must be in the order of the sorted classes: {classes}")
