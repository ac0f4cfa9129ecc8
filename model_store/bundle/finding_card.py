"""The card of a finding, a question that each image answers, yes or no: the record, made from
probabilities and labels of its reference, and as rows for the model card and the command line.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from calibration.bins import BinSums
from calibration.calibrators.affine import NONE, Affine
from calibration.conformal import finding_sets
from calibration.findings.calibrator import FEWEST_POSITIVES, UNFITTED
from calibration.findings.measures import known_answers, measure_finding
from calibration.findings.thresholds import ObservedRate, ThresholdKind, operating_point
from calibration.measures.summary import Measures
from calibration.wording import percent, percents, some
from model_store.bundle.calibration_card import CalibrationCard, ConformalCard, Fraction
from model_store.bundle.files import OpenRecord


class ThresholdRule(OpenRecord):
    """How a finding's threshold was chosen.

    "half" is 0.5. "youden" maximizes sensitivity + specificity. "sensitivity" and "specificity"
    reach `value` on the reference. With "cost", a missed finding costs `value` times a false alarm.
    """

    kind: ThresholdKind = "half"
    value: float | None = None


class Rate(OpenRecord):
    """A share of the reference with its 95 % interval, and of how many images it is one."""

    value: Fraction
    lower: Fraction
    upper: Fraction
    n: int = Field(ge=1)


class FindingPromise(OpenRecord):
    """What the threshold gave on the reference; null where no image tells."""

    sensitivity: Rate | None = None
    specificity: Rate | None = None
    ppv: Rate | None = None


class FindingCard(OpenRecord):
    """One finding: its threshold, its calibrator in the graph, and its reference.

    The graph gives sigmoid(logit / temperature + b) with the `temperature` of `calibration` and the
    second number of its `class_bias`, (0, b). The bins and measures of `calibration` compare the
    probability of presence with the outcome, over the images whose label is known.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    threshold: Fraction = Field(description="the finding is present from this probability on")
    rule: ThresholdRule = ThresholdRule()
    labeled: int = Field(ge=0, description="images of the reference whose label is known")
    positives: int = Field(ge=0, description="of these, images with the finding")
    calibration: CalibrationCard
    measures: dict[str, float | None] = Field(
        default_factory=dict,
        description="of the reference, such as auroc, auprc, observed_expected, ece, ece_floor",
    )
    promise: FindingPromise = FindingPromise()
    conformal: ConformalCard | None = Field(
        default=None, description="a person should look where the set is not one class"
    )


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


MEASURED = (
    *("finding", "labeled", "with it", "calibrator", "AUROC", "ECE", "floor"),
    "observed / expected",
)
POINTS = (
    "finding",
    "present from",
    "chosen by",
    "sensitivity",
    "specificity",
    "PPV",
    "to a person",
)


def measured(findings: Sequence[FindingCard]) -> Iterator[list[str]]:
    """Yield how good and how calibrated each finding is: the columns MEASURED."""
    for each in findings:
        calibration, bias = each.calibration, (each.calibration.class_bias or (0.0, 0.0))[1]
        fitted = f"temperature {calibration.temperature:.3g}, bias {bias:+.3g}"
        yield [
            each.name,
            f"{each.labeled:,}",
            f"{each.positives:,}",
            "none" if calibration.method == "none" else fitted,
            _figure(each.measures.get("auroc")),
            percent(each.measures.get("ece")),
            percent(each.measures.get("ece_floor")),
            _figure(each.measures.get("observed_expected")),
        ]


def points(findings: Sequence[FindingCard]) -> Iterator[list[str]]:
    """Yield what each threshold gives: the columns POINTS."""
    for each in findings:
        rule, promise, sets = each.rule, each.promise, each.conformal
        yield [
            each.name,
            percent(each.threshold, 2),
            rule.kind if rule.value is None else f"{rule.kind}={rule.value:g}",
            *map(rate_text, (promise.sensitivity, promise.specificity, promise.ppv)),
            "-" if sets is None else percent(sets.mean_set_size - 1),
        ]


def unfitted(findings: Sequence[FindingCard]) -> Iterator[str]:
    """Name the findings whose labels were too few."""
    few = [
        each.name
        for each in findings
        if each.calibration.method == "none" and each.rule.kind == "half"
    ]
    if few:
        yield (
            f"No calibrator, and present from 50 %: {some(few, 12)}. A calibrator and a threshold "
            f"take {FEWEST_POSITIVES} images with the finding, and as many without it, whose "
            "labels determine them."
        )


def notes(findings: Sequence[FindingCard]) -> Iterator[str]:
    """The same, and what sets promise."""
    yield from unfitted(findings)
    shares = sorted({each.conformal.alpha for each in findings if each.conformal})
    if not shares:
        return
    missed = " or ".join(percent(share, 0) for share in shares)
    yield (
        "The last column is the share of answers that a person should look at. Of the images with "
        f"a finding, at most {missed} are answered absent without that, and of those without it, "
        f"at most {missed} present."
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def rate_text(rate: Rate | None) -> str:
    """Return a rate with its interval.

    >>> rate_text(Rate(value=0.9, lower=0.8, upper=0.95, n=60)), rate_text(None)
    ('90.0 % (80.0 to 95.0 %)', '-')
    """
    return "-" if rate is None else f"{percent(rate.value)} ({percents(rate.lower, rate.upper)})"
