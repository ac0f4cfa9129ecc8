"""The card of a finding from probabilities and labels of its reference."""

from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from calibration.bins import BinSums
from calibration.calibrators.affine import NONE, Affine
from calibration.conformal import finding_sets
from calibration.findings.calibrator import UNFITTED
from calibration.findings.measures import known_answers, measure_finding
from calibration.findings.thresholds import ObservedRate, operating_point
from calibration.measures.summary import Measures
from model_store.bundle.calibration_card import CalibrationCard, ConformalCard
from model_store.bundle.finding_card import FindingCard, FindingPromise, Rate, ThresholdRule


def finding_card(
    name: str,
    probability: npt.ArrayLike,
    label: npt.ArrayLike,
    *,
    split: str,
    calibrator: Affine = UNFITTED,
    threshold: float = 0.5,
    rule: ThresholdRule | None = None,
    groups: npt.ArrayLike | None = None,
) -> FindingCard:
    """Describe a finding by labeled images.

    Probabilities (N,) are those after `calibrator`, the one in the graph; a label is 1, 0, or NaN
    for unknown. `rule` is how `threshold` was chosen, and `split` names the images.
    """
    p, y, _ = known_answers(probability, label)
    sets = finding_sets(p, y, present_from=threshold)
    point = operating_point(probability, label, threshold, groups=groups)
    return FindingCard(
        name=name,
        threshold=threshold,
        rule=rule or ThresholdRule(),
        labeled=len(y),
        positives=int(y.sum()),
        calibration=binary_card(p, y, split=split, calibrator=calibrator),
        measures=measure_finding(probability, label).as_dict() if len(y) else {},
        promise=FindingPromise(
            sensitivity=_rate(point.sensitivity),
            specificity=_rate(point.specificity),
            ppv=_rate(point.ppv),
        ),
        conformal=None if sets is None else ConformalCard.from_sets(sets),
    )


def binary_card(
    probability: npt.NDArray[np.float64],
    outcome: npt.NDArray[np.bool_],
    *,
    split: str,
    calibrator: Affine = UNFITTED,
) -> CalibrationCard:
    """Describe probabilities of presence (M,) and outcomes (M,); M may be 0."""
    sums = BinSums.from_predictions(probability, outcome)
    both = np.stack([1 - probability, probability], axis=1)
    measures = Measures.of_presence(both, outcome.astype(np.int64))
    return CalibrationCard.from_reference(
        method="temperature" if calibrator.fitted else NONE,
        temperature=float(np.float32(calibrator.temperature)),  # as the graph holds it
        class_bias=(0.0, *calibrator.bias) if calibrator.fitted else None,
        split=split,
        sums=sums,
        measures=measures,
    )


def _rate(estimate: ObservedRate | None) -> Rate | None:
    return None if estimate is None else Rate.model_validate(asdict(estimate))
