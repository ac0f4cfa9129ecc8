"""`Measures`: every number one wants beside another when two models, splits or months are compared."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration import auroc, metrics, selective, smooth
from calibration.bins import BIN_COUNT, BinSums
from calibration.brier_parts import brier_parts
from calibration.classwise import class_sums, classwise_ece, classwise_noise_floor, classwise_z
from calibration.equal_mass import equal_mass_sums


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Calibration and accuracy of one set of labeled answers; docs/measures.md says what each means.

    From `nll` on they need whole probability vectors, or single answers, and are None where only bin sums are known.
    """

    n: int
    accuracy: float
    mean_confidence: float
    ece: float
    ece_lower: float
    ece_upper: float
    noise_floor: float
    ece_z: float
    mce: float
    signed_gap: float
    signed_gap_lower: float
    signed_gap_upper: float
    debiased_rms: float
    nll: float | None = None
    brier: float | None = None
    brier_reliability: float | None = None
    brier_resolution: float | None = None
    brier_uncertainty: float | None = None
    brier_within: float | None = None
    classwise_ece: float | None = None
    classwise_noise_floor: float | None = None
    classwise_z: float | None = None
    equal_mass_ece: float | None = None
    equal_mass_noise_floor: float | None = None
    equal_mass_z: float | None = None
    smooth_ece: float | None = None
    smooth_noise_floor: float | None = None
    smooth_z: float | None = None
    auroc: float | None = None
    aurc: float | None = None
    excess_aurc: float | None = None

    @classmethod
    def from_sums(cls, sums: BinSums, **others: float | None) -> "Measures":
        """Compute what the sums tell; `others` are taken as they are."""
        ece_interval, gap_interval = metrics.ece_interval(sums), metrics.signed_gap_interval(sums)
        return cls(
            n=sums.total,
            accuracy=metrics.accuracy(sums),
            mean_confidence=metrics.mean_confidence(sums),
            ece=metrics.ece(sums),
            ece_lower=ece_interval.lower,
            ece_upper=ece_interval.upper,
            noise_floor=metrics.noise_floor(sums),
            ece_z=metrics.ece_z(sums),
            mce=metrics.mce(sums),
            signed_gap=metrics.signed_gap(sums),
            signed_gap_lower=gap_interval.lower,
            signed_gap_upper=gap_interval.upper,
            debiased_rms=metrics.debiased_rms(sums),
            **others,
        )

    @classmethod
    def from_probabilities(
        cls, probabilities: npt.ArrayLike, labels: npt.ArrayLike, bin_count: int = BIN_COUNT
    ) -> "Measures":
        """Compute all measures from probabilities (N, K) and labels (N,).

        >>> Measures.from_probabilities([[0.1, 0.9], [0.1, 0.9]], [1, 0]).accuracy
        0.5
        """
        p, y = np.asarray(probabilities), np.asarray(labels)
        confidence, predicted = metrics.top_label(p)
        correct = predicted == y
        return cls.from_sums(
            BinSums.from_predictions(confidence, correct, bin_count),
            nll=metrics.nll(p, y),
            brier=metrics.brier(p, y),
            **_of_classes(p, y, bin_count),
            **_of_answers(confidence, correct, bin_count),
            auroc=auroc.class_auroc(p, y),
        )

    def as_dict(self) -> dict[str, float | None]:
        """Return plain data for JSON; what is not a number becomes None."""
        values = dataclasses.asdict(self)
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in values.items()
        }


def _of_classes(p: npt.NDArray[Any], labels: npt.NDArray[Any], bin_count: int) -> dict[str, float]:
    sums = class_sums(p, labels, bin_count)
    parts = dataclasses.asdict(brier_parts(sums))
    return {f"brier_{name}": value for name, value in parts.items()} | {
        "classwise_ece": classwise_ece(sums),
        "classwise_noise_floor": classwise_noise_floor(sums),
        "classwise_z": classwise_z(sums),
    }


def _of_answers(confidence: npt.NDArray[Any], correct: npt.NDArray[Any], bin_count: int) -> dict[str, float]:
    equal, smoothed = (
        equal_mass_sums(confidence, correct, bin_count),
        smooth.SmoothSums.from_predictions(confidence, correct),
    )
    return {
        "equal_mass_ece": metrics.ece(equal),
        "equal_mass_noise_floor": metrics.noise_floor(equal),
        "equal_mass_z": metrics.ece_z(equal),
        "smooth_ece": smooth.smooth_ece(smoothed),
        "smooth_noise_floor": smooth.smooth_noise_floor(smoothed),
        "smooth_z": smooth.smooth_z(smoothed),
        "aurc": selective.aurc(confidence, correct),
        "excess_aurc": selective.excess_aurc(confidence, correct),
    }
