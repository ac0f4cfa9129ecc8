"""`Measures`: every number that is compared between models; its fields are the table.

To add a measure, add a field here. The card, the terminal, the pages, the gauges and
docs/measures.md read its entry.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, BinSums
from calibration.measures import metrics
from calibration.measures.ranking import class_auroc
from calibration.measures.smooth import smooth_ece
from calibration.measures.table import Measure, entries, from_answers, from_bins


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Calibration and accuracy of one set of labeled answers.

    The fields `from_answers` are None if only bin sums are known. What is undefined is NaN.
    """

    n: int = from_bins(
        lambda sums: sums.total,
        "Labeled answers",
        "Labeled answers in the window.",
        digits=0,
        is_share=False,
        summary="n",
        gauge="candor_calibration_labels",
    )
    accuracy: float = from_bins(
        metrics.accuracy,
        "Accuracy",
        "Share of right predictions.",
        question="probabilities",
        range="0 to 1",
        misleads="classes are unequal in number",
        formula="ΣC / N",
        summary="accuracy",
        page=True,
        gauge="candor_calibration_accuracy_ratio",
    )
    mean_confidence: float = from_bins(
        metrics.mean_confidence,
        "Mean confidence",
        "Mean probability that the answers state: the accuracy that the model expects of itself.",
        question="probabilities",
        range="0 to 1",
        misleads="read without the accuracy",
        formula="ΣS / N",
        page=True,
    )
    ece: float = from_bins(
        metrics.ece,
        "Calibration error (ECE)",
        "Mean distance between confidence and accuracy, bin by bin.",
        more="The headline of the field.",
        range="0 to 1, 0 best",
        misleads="**N is small: it is never 0 by chance**, so read it beside `noise_floor`; "
        "opposite errors in one bin cancel",
        formula="Σ|D| / N",
        source="Naeini 2015, Guo 2017",
        summary="ECE",
        page=True,
        gauge="candor_calibration_ece_ratio",
    )
    ece_lower: float = from_bins(
        lambda sums: metrics.ece_interval(sums).lower,
        "Lower bound of the ECE",
        "Bounds of the ECE that infinitely many such answers would show, at 95 % or more.",
        range="0 to 1",
        misleads="several images belong to one patient: they assume independent answers and are "
        "then too short",
        formula="closed, see `ece_interval`",
        source="[0003](decisions/0003-interval-of-the-ece.md)",
        upper="ece_upper",
        summary="95 % interval",
        gauge="candor_calibration_ece_lower_ratio",
    )
    ece_upper: float = from_bins(
        lambda sums: metrics.ece_interval(sums).upper,
        "Upper bound of the ECE",
        "The upper of those bounds.",
        documented_with="ece_lower",
        gauge="candor_calibration_ece_upper_ratio",
    )
    noise_floor: float = from_bins(
        metrics.noise_floor,
        "Noise floor",
        "The ECE that a perfectly calibrated model would show on as many labels.",
        more="An ECE at its floor means that nothing was found.",
        range="0 to 1",
        misleads="bins hold about two answers each (it is then some 4 % low)",
        formula="√(2/π) Σ√V / N",
        source="[0003](decisions/0003-interval-of-the-ece.md)",
        summary="floor",
        page=True,
        gauge="candor_calibration_noise_floor_ratio",
    )
    ece_z: float = from_bins(
        metrics.ece_z,
        "z of the ECE",
        "Standard deviations by which the ECE exceeds its floor.",
        more="Under 2, chance explains it.",
        range="about -3 up",
        misleads="N is huge: a harmless gap is then significant",
        formula="(ECE - floor) / (√((1 - 2/π)ΣV) / N)",
        source="[0003](decisions/0003-interval-of-the-ece.md)",
        digits=1,
        is_share=False,
    )
    mce: float = from_bins(
        metrics.mce,
        "Largest error in a bin (MCE)",
        "Distance between confidence and accuracy in the worst bin.",
        range="0 to 1, 0 best",
        misleads="nearly always: it is the bin with the fewest answers",
        formula="max |D| / n",
        source="Naeini 2015",
        summary="MCE",
        page=True,
    )
    signed_gap: float = from_bins(
        metrics.signed_gap,
        "Confidence minus accuracy",
        "Mean confidence minus accuracy; above 0 confidence is too high.",
        more="Unbiased. `signed_gap_lower` and `signed_gap_upper` are its 95 % interval.",
        range="-1 to 1, 0 best",
        misleads="errors of both signs cancel: 0 does not mean calibrated; |gap| ≤ ECE",
        formula="-ΣD / N",
        signed=True,
        summary="gap",
        page=True,
        gauge="candor_calibration_overconfidence_ratio",
    )
    signed_gap_lower: float = from_bins(
        lambda sums: metrics.signed_gap_interval(sums).lower,
        "Lower bound of the gap",
        "Lower end of the 95 % interval of mean confidence minus accuracy.",
        documented_with="signed_gap",
    )
    signed_gap_upper: float = from_bins(
        lambda sums: metrics.signed_gap_interval(sums).upper,
        "Upper bound of the gap",
        "Upper end of the 95 % interval of mean confidence minus accuracy.",
        documented_with="signed_gap",
    )
    debiased_rms: float = from_bins(
        metrics.debiased_rms,
        "Debiased error",
        "Root mean square distance minus the part due to chance. Half of all samples of a "
        "calibrated model show 0, and some up to 1.5 times the noise floor: 0 is no proof, and a "
        "small value no finding.",
        range="0 to 1, 0 best",
        misleads='it is 0 for about half of all calibrated models: 0 means "not distinguishable"',
        formula="√max(0, Σ(D² - Q)/n / N)",
        source="Lee 2023 (T-Cal)",
        page=True,
    )
    nll: float | None = from_answers(
        "Negative log-likelihood (NLL)",
        "Mean negative log-likelihood in nats.",
        question="probabilities",
        more="Proper: the truth alone is best.",
        range="0 up, 0 best",
        misleads="one confident and wrong answer dominates: a 0 counts as a quarter of the last "
        "decimal of rounded probabilities, else as 2.2e-16, which costs 36 nats (`nll_zeros`)",
        formula="-mean ln p_label",
        summary="NLL",
        page=True,
        is_share=False,
    )
    nll_zeros: float | None = from_answers(
        "Zeros in the NLL",
        "Answers that give the true class a probability of 0.",
        documented_with="nll",
        digits=0,
        is_share=False,
    )
    brier: float | None = from_answers(
        "Brier score",
        "Mean squared distance of all probabilities from the truth.",
        question="probabilities",
        more="Proper, and bounded.",
        range="0 to 2, 0 best",
        misleads="data sets are compared: it contains their difficulty",
        formula="mean Σ_k (p_k - y_k)²",
        source="Brier 1950",
        summary="Brier",
        page=True,
        is_share=False,
    )
    smooth_ece: float | None = from_answers(
        "Smooth ECE",
        "The calibration error without bins: smoothed residuals, with the kernel as wide as the "
        "error is large.",
        more="Does not jump when a confidence crosses an edge.",
        range="0 to 1",
        misleads="read as if it were the ECE: it is smaller if errors alternate quickly",
        formula="s with ∫|Σ K_s(t, p)(p - c)| dt / N = s",
        source="Blasiok & Nakkiran 2023",
    )
    auroc: float | None = from_answers(
        "AUROC",
        "How often a positive case scores above a negative one (two classes: class 1; more: mean "
        "of each against the rest).",
        question="ranking",
        range="0 to 1, .5 is chance",
        misleads="positives are rare; it says nothing of calibration",
        formula="(wins + ties/2) / pairs",
        source="Hanley & McNeil 1982",
        is_share=False,
    )

    @classmethod
    def from_sums(cls, sums: BinSums) -> "Measures":
        """Compute what bin sums give; the other measures are None.

        >>> Measures.from_sums(BinSums.from_predictions([0.9, 0.9], [True, False])).signed_gap
        0.4
        """
        return cls(**_of_bins(sums))

    @classmethod
    def from_probabilities(
        cls,
        probabilities: npt.ArrayLike,
        labels: npt.ArrayLike,
        bin_count: int = BIN_COUNT,
        *,
        smallest: float | None = None,
    ) -> "Measures":
        """Compute all measures of probabilities (N, K) and labels (N,) in 0..K-1.

        Each row is in [0, 1] and sums to 1 within 0.01. There are `bin_count` bins of equal width.
        `smallest` counts for a 0 in the NLL; `metrics.smallest_probability` if it is None.
        ValueError for shapes that do not match, or values out of range.

        >>> Measures.from_probabilities([[0.1, 0.9], [0.1, 0.9]], [1, 0]).accuracy
        0.5
        """
        p, y = np.asarray(probabilities), np.asarray(labels)
        _require_distributions(p)
        true = metrics.of_true_class(p, y)
        confidence, predicted = metrics.top_label(p)
        return cls(
            **_of_bins(BinSums.from_predictions(confidence, predicted == y, bin_count)),
            nll=metrics.mean(metrics.log_loss(p, y, smallest=smallest)),
            nll_zeros=int((true < metrics.SMALLEST).sum()),
            brier=metrics.brier(p, y),
            smooth_ece=smooth_ece(confidence, predicted == y),
            auroc=class_auroc(p, y),
        )

    @classmethod
    def of_presence(cls, probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> "Measures":
        """Measure the claim that a finding is present, also where that is less likely than not.

        So accuracy is the share present, and mean confidence the mean probability. Arguments as in
        `from_probabilities`, of the classes absent and present.

        >>> Measures.of_presence([[0.9, 0.1], [0.9, 0.1]], [1, 0]).signed_gap
        -0.4
        """
        p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
        measured = cls.from_sums(BinSums.from_predictions(p[:, 1], y == 1))
        if not len(y):
            return measured
        return replace(measured, nll=metrics.nll(p, y), brier=metrics.brier(p, y))

    def as_dict(self) -> dict[str, float | None]:
        """Return plain data for JSON; NaN and infinities become None."""
        values = {each.name: getattr(self, each.name) for each in MEASURES}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }

    def _repr_markdown_(self) -> str:
        shown = (f"| {each.title} | {each.shown(getattr(self, each.name))} |" for each in MEASURES)
        return "\n".join(["| | |", "|---|---:|", *shown])


MEASURES: tuple[Measure, ...] = entries(Measures)


def _of_bins(sums: BinSums) -> dict[str, Any]:
    return {each.name: each.bins(sums) for each in MEASURES if each.bins}


SUM_TOLERANCE = 0.01  # for probabilities that were rounded or are in half precision


def _require_distributions(probabilities: npt.NDArray[np.floating]) -> None:
    """Raise ValueError for the first row that is no distribution, such as logits."""
    if probabilities.ndim != 2 or not probabilities.size:
        return  # the shape is checked where the labels are
    sums = probabilities.sum(axis=1, dtype=np.float64)
    wrong = ~(np.abs(sums - 1) <= SUM_TOLERANCE) | ~(probabilities.min(axis=1) >= 0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"each row of probabilities must be in [0, 1] and add up to 1; row {row} begins with "
            f"{np.round(probabilities[row, :3], 3).tolist()} and adds up to {sums[row]:.3f}. Pass "
            "logits through calibration.calibrators.temperature.softmax first."
        )
