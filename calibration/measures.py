"""`Measures`: every number one wants beside another when two models, splits or months are compared."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration import metrics
from calibration.bins import BIN_COUNT, BinSums


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Calibration and accuracy of one set of labeled answers; the formulas stand in `calibration.metrics`.

    `nll` and `brier` need whole probability vectors and are None where only sums are known.
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

    @classmethod
    def from_sums(cls, sums: BinSums, *, nll: float | None = None, brier: float | None = None) -> "Measures":
        """Compute what the sums tell."""
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
            nll=nll,
            brier=brier,
        )

    @classmethod
    def from_probabilities(
        cls, probabilities: npt.ArrayLike, labels: npt.ArrayLike, bin_count: int = BIN_COUNT
    ) -> "Measures":
        """Compute all measures from probabilities (N, K) and labels (N,).

        >>> Measures.from_probabilities([[0.1, 0.9], [0.1, 0.9]], [1, 0]).accuracy
        0.5
        """
        confidence, predicted = metrics.top_label(probabilities)
        sums = BinSums.from_predictions(confidence, predicted == np.asarray(labels), bin_count)
        return cls.from_sums(sums, nll=metrics.nll(probabilities, labels), brier=metrics.brier(probabilities, labels))

    def as_dict(self) -> dict[str, float | None]:
        """Return plain data for JSON; what is not a number becomes None."""
        values = dataclasses.asdict(self)
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in values.items()
        }
