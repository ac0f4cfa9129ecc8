"""The part of a card that describes one finding: a question that each image answers, yes or no."""

from typing import Annotated

from pydantic import Field

from calibration.findings.thresholds import ThresholdKind
from model_store.bundle.calibration_card import CalibrationCard, ConformalCard, Fraction
from model_store.bundle.records import OpenRecord


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
