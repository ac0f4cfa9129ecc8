"""`BinMeasures`: the measures that bin sums give.

To add one, add a field here; `calibration.measures.summary` has those that need
probabilities and labels.
"""

from dataclasses import dataclass

from calibration.measures import metrics
from calibration.measures.table import from_bins


@dataclass(frozen=True, kw_only=True)
class BinMeasures:
    """Calibration and accuracy of labeled answers, from bin sums; NaN where undefined."""

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
        gauge="candor_calibration_overconfidence_lower_ratio",
    )
    signed_gap_upper: float = from_bins(
        lambda sums: metrics.signed_gap_interval(sums).upper,
        "Upper bound of the gap",
        "Upper end of the 95 % interval of mean confidence minus accuracy.",
        documented_with="signed_gap",
        gauge="candor_calibration_overconfidence_upper_ratio",
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
