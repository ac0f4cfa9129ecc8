"""Evaluate a network that answers several questions about an image, each by itself.

The calibrator of each finding is fitted on validation if that has positives and negatives enough
(`calibration.findings.calibrator`). Its threshold is chosen on validation too, and what it promises
is measured there. The test split shows what calibrators and thresholds are worth on new images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from calibration.bins import BinSums
from calibration.calibrators.affine import Affine
from calibration.calibrators.constant_answer import beats_prevalences
from calibration.calibrators.temperature import sigmoid
from calibration.conformal import Conformal, finding_sets
from calibration.cross_fitting import cross_fit
from calibration.findings.calibrator import fit_finding, stored
from calibration.findings.measures import FindingMeasures, known_answers, macro, measure_findings
from calibration.findings.thresholds import (
    OperatingPoint,
    ThresholdKind,
    choose_threshold,
    operating_point,
)
from calibration.measures.ranking import auroc_interval
from training.errors import BadRun
from training.evaluation.evaluation import MISSED_CLASS, Evaluation
from training.evaluation.predictions import (
    EVALUATED,
    EvaluatedSplit,
    Predictions,
    tenths,
    write_results,
)

FindingMethod = Literal["none", "calibrated"]
FINDING_METHODS: tuple[FindingMethod, ...] = ("none", "calibrated")
Rule = tuple[ThresholdKind, float | None]
DEFAULT_RULE: Rule = ("youden", None)


@dataclass(frozen=True)
class FindingsEvaluation:
    """Predictions by split, logits (N, K) and labels (N, K), and a calibrator for each finding."""

    names: tuple[str, ...]
    predictions: Mapping[EvaluatedSplit, Predictions]
    calibrators: tuple[Affine, ...]

    @property
    def of_classes(self) -> Evaluation:
        """Raises BadRun: these are findings."""
        raise BadRun(
            f"{', '.join(self.names)} are findings, of which an image may have several; this "
            "compares models of exclusive classes: use candor train and candor export"
        )

    @property
    def calibrated_sums(self) -> dict[EvaluatedSplit, BinSums]:
        """None: a run of findings has no diagram of all."""
        return {}

    def calibrate(self, logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Probabilities of presence (N, K), as the exported graph gives them."""
        columns = zip(self.calibrators, logits.T, strict=True)
        return np.stack([calibrator(z) for calibrator, z in columns], axis=1)

    def probabilities(self, split: EvaluatedSplit, method: FindingMethod) -> NDArray[np.float64]:
        """Probabilities of presence (N, K) of `split`."""
        logits = self.predictions[split].logits.astype(np.float64)
        return sigmoid(logits) if method == "none" else self.calibrate(logits)

    def measures(self, split: EvaluatedSplit, method: FindingMethod) -> tuple[FindingMeasures, ...]:
        return measure_findings(self.probabilities(split, method), self.predictions[split].labels)

    def threshold(self, finding: int, rule: Rule = DEFAULT_RULE) -> tuple[float, Rule]:
        """The threshold that validation gives by `rule`; 0.5, with its rule, if it gives none."""
        p = self.probabilities("val", "calibrated")[:, finding]
        labels = self.predictions["val"].labels[:, finding]
        found = choose_threshold(p, labels, kind=rule[0], value=rule[1])
        return (0.5, ("half", None)) if found is None else (found, rule)

    def point(self, split: EvaluatedSplit, finding: int, threshold: float) -> OperatingPoint:
        """What a threshold gives on `split`, with intervals by patient if patients are known."""
        known = self.predictions[split]
        p = self.probabilities(split, "calibrated")[:, finding]
        return operating_point(p, known.labels[:, finding], threshold, groups=known.groups)

    def held_out(self, finding: int) -> NDArray[np.float64]:
        """Probabilities (N,) of validation, each from a calibrator fitted without its label."""
        if not self.calibrators[finding].fitted:
            return self.probabilities("val", "calibrated")[:, finding]
        val = self.predictions["val"]
        z, y = val.logits[:, finding].astype(np.float64), val.labels[:, finding]
        return cross_fit(lambda rows: fit_finding(z[rows], y[rows]), z, tenths(y, val.groups))

    def sets(self, finding: int, threshold: float) -> Conformal | None:
        """Prediction sets of a finding, from validation; None with too few images for a promise."""
        p, known, _ = known_answers(
            self.held_out(finding), self.predictions["val"].labels[:, finding]
        )
        return finding_sets(p, known, present_from=threshold, alpha=MISSED_CLASS)

    def write(self, folder: Path) -> None:
        """Write metrics.json, calibrators.json and predictions.npz."""
        fitted = zip(self.names, self.calibrators, strict=True)
        write_results(
            folder,
            metrics=self.as_dict(),
            calibrators={name: calibrator.as_dict() for name, calibrator in fitted},
            predictions=self.predictions,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: by finding, and the means over findings."""
        return {
            "findings": {name: self._of(place) for place, name in enumerate(self.names)},
            "macro": {
                split: {method: macro(self.measures(split, method)) for method in FINDING_METHODS}
                for split in EVALUATED
            },
        }

    def _of(self, finding: int) -> dict[str, Any]:
        threshold, (kind, value) = self.threshold(finding)
        return {
            "calibrator": self.calibrators[finding].as_dict(),
            "threshold": threshold,
            "rule": {"kind": kind, "value": value},
            "splits": {
                split: {
                    method: self.measures(split, method)[finding].as_dict()
                    for method in FINDING_METHODS
                }
                for split in EVALUATED
            },
            "operating_points": {
                split: asdict(self.point(split, finding, threshold)) for split in EVALUATED
            },
        }


def evaluate_findings(
    names: Sequence[str], predictions: Mapping[EvaluatedSplit, Predictions]
) -> FindingsEvaluation:
    """Fit the calibrator of each finding on `val`."""
    val = predictions["val"]
    columns = zip(val.logits.T.astype(np.float64), val.labels.T, strict=True)
    return FindingsEvaluation(
        tuple(names), dict(predictions), tuple(stored(fit_finding(z, y)) for z, y in columns)
    )


def _lower_auroc(measured: FindingMeasures) -> float:
    negatives = measured.labeled - measured.positives
    return auroc_interval(measured.auroc, measured.positives, negatives).lower


def findings_shortcomings(evaluation: FindingsEvaluation) -> list[str]:
    """Sentences that say why the model is of no use: it ranks no finding better than chance, and
    its NLL is not below that of the prevalences.
    """
    every = evaluation.measures("test", "calibrated")
    measured = [each for each in every if 0 < each.positives < each.labeled]
    if not measured:
        return ["no finding has positives and negatives in the test split: nothing is known of it"]
    if any(_lower_auroc(each) > 0.5 for each in measured):
        return []
    test = evaluation.predictions["test"]
    if beats_prevalences(evaluation.probabilities("test", "calibrated"), test.labels, test.groups):
        return []
    best = max(each.auroc for each in measured)
    return [
        f"it ranks none of {len(measured)} findings better than chance on test: the largest AUROC "
        f"is {best:.3f}"
    ]
