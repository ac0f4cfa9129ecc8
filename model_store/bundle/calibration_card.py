"""The calibration part of a card: the calibrator inside the graph, its reference and promises."""

import dataclasses
from typing import Annotated, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field

from calibration.bins import BinSums
from calibration.conformal import Conformal
from calibration.measures.confusion import KNOWN_IMAGES, recalls
from calibration.measures.summary import Measures
from calibration.threshold import Threshold
from model_store.bundle.files import OpenRecord

CalibrationMethod = Literal["none", "temperature", "vector"]
Fraction = Annotated[float, Field(ge=0, le=1)]
TAG_KEY_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"


class BinRow(OpenRecord):
    """The sums of one confidence bin, as in `calibration.bins.BinSums`."""

    n: int = Field(ge=0)
    confidence: float = Field(ge=0)
    correct: float = Field(ge=0)
    variance: float = Field(ge=0)
    squared_error: float = Field(ge=0)


class Referral(OpenRecord):
    """The referral threshold and its promise, as in `calibration.threshold.Threshold`."""

    threshold: Fraction
    promised_accuracy: Fraction
    delta: Fraction
    coverage: Fraction

    @classmethod
    def from_threshold(cls, found: Threshold | None) -> "Referral | None":
        """Return the card's form of `found`."""
        if found is None:
            return None
        named = dataclasses.asdict(found)
        return cls(threshold=named.pop("confidence"), **named)


class ConformalCard(OpenRecord):
    """As `calibration.conformal.Conformal`: sets hold the classes from `threshold` on, or each
    class from its own of `thresholds` on."""

    alpha: Fraction
    threshold: Fraction
    method: Literal["lac", "class_conditional"] = "lac"
    mean_set_size: float = Field(ge=0)
    coverage_reference: Fraction
    thresholds: tuple[Fraction, ...] | None = Field(
        default=None, description="by class, with method class_conditional"
    )

    @classmethod
    def from_sets(cls, sets: Conformal) -> "ConformalCard":
        """Return the card's form of `sets`."""
        return cls.model_validate(dataclasses.asdict(sets))


class SubgroupCalibration(OpenRecord):
    """A calibrator for the answers whose tag `key` has one of `values`; see
    `calibration.calibrators.subgroups`.

    It takes the probabilities that the graph gives, and the calibrators before it in the list.
    """

    key: str = Field(pattern=TAG_KEY_PATTERN, description="of the tag")
    values: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field(min_length=1)
    temperature: float = Field(
        gt=0, allow_inf_nan=False, description="by which the logarithms are divided"
    )
    class_bias: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] | None = Field(
        default=None, description="added after the division, by class"
    )
    labels: int = Field(ge=1, description="of the subgroup, on which it was fitted")
    held_out: int = Field(ge=1, description="other labels of the subgroup, to measure")
    before: dict[str, float | None] = Field(
        description="calibration.measures.summary.Measures of the held-out answers as served"
    )
    after: dict[str, float | None] = Field(description="the same with this calibrator")
    referral: Referral | None = Field(
        default=None,
        description="in place of the card's; null where the card has one: every answer is referred",
    )
    conformal: ConformalCard | None = Field(
        default=None,
        description="in place of the card's; null where the card has one: sets hold every class",
    )

    @property
    def title(self) -> str:
        """The tags, as `site=B, site=E`."""
        return ", ".join(f"{self.key}={value}" for value in self.values)


class TestContradiction(OpenRecord):
    """Figures of test images on which the calibrator `method` is worse than none."""

    __test__ = False  # no test for pytest

    method: str
    images: int = Field(ge=1)
    nll_before: float = Field(description="mean negative log-likelihood without the calibrator")
    nll_after: float
    nll_error: float = Field(description="standard error of the rise")
    ece_before: float
    ece_after: float


class CalibrationCard(OpenRecord):
    """The calibrator inside the graph, and its measures on the labeled answers that are its
    reference.

    The graph divides the logits by `temperature`, and `method` says where that comes from. "none"
    was fitted on nothing: it is 1. "temperature" was fitted on the reference, on other images of
    the same folder, or on live labels. With "vector" the graph first applies a weight and a bias of
    the exported model to each logit, which the card does not hold. `class_weight` and `class_bias`
    are others, which a recalibration added after the temperature. `subgroups` follow the graph.
    """

    method: str = Field(
        default="temperature",
        min_length=1,
        description=f"{', '.join(get_args(CalibrationMethod))}, or a later one",
    )
    temperature: float = Field(gt=0)
    class_bias: tuple[float, ...] | None = Field(
        default=None, description="added to logits / temperature, by class"
    )
    class_weight: tuple[float, ...] | None = Field(
        default=None,
        description="factors of the log-softmax of logits / temperature, before the class bias",
    )
    reference_split: str
    confusion: tuple[tuple[int, ...], ...] | None = Field(
        default=None,
        description="answers of the reference: a row per true class, a column per predicted class",
    )
    recall: tuple[Fraction | None, ...] | None = Field(
        default=None,
        description="share of each class's images in the reference that got its answer; null, "
        f"which is unknown, below {KNOWN_IMAGES} images",
    )
    answers: tuple[tuple[int, ...], ...] | None = Field(
        default=None,
        description="answers of the reference: a row per predicted class, a column per confidence "
        "bin",
    )
    bins: tuple[BinRow, ...] = Field(min_length=1)
    measures: dict[str, float | None] = Field(
        description="calibration.measures.summary.Measures of the reference"
    )
    contradicted: TestContradiction | None = Field(
        default=None,
        description="a calibrator with which test is worse than without",
    )
    subgroups: tuple[SubgroupCalibration, ...] | None = Field(
        default=None,
        description="calibrators that the tags of a request choose; the graph has none of them",
    )

    @classmethod
    def from_reference(
        cls,
        *,
        temperature: float,
        split: str,
        sums: BinSums,
        measures: Measures,
        method: str = "temperature",
        class_bias: tuple[float, ...] | None = None,
        class_weight: tuple[float, ...] | None = None,
        confusion: npt.NDArray[np.int64] | None = None,
        answers: npt.NDArray[np.int64] | None = None,
        contradicted: TestContradiction | None = None,
    ) -> "CalibrationCard":
        """Describe a calibrator by the sums and measures of its reference answers."""
        rows = tuple(BinRow.model_validate(row) for row in sums.as_rows())
        return cls(
            method=method,
            temperature=temperature,
            class_bias=class_bias,
            class_weight=class_weight,
            reference_split=split,
            confusion=_rows(confusion),
            answers=_rows(answers),
            recall=None if confusion is None else recalls(confusion),
            bins=rows,
            measures=measures.as_dict(),
            contradicted=contradicted,
        )

    def applies(self, found: TestContradiction) -> bool:
        """Whether the graph has the contradicted calibrator."""
        return self.method == found.method and (self.method, self.temperature) != ("temperature", 1)

    @property
    def sums(self) -> BinSums:
        """The sums per bin of the reference."""
        return BinSums.from_rows([row.model_dump() for row in self.bins])


def _rows(counts: npt.NDArray[np.int64] | None) -> tuple[tuple[int, ...], ...] | None:
    return None if counts is None else tuple(tuple(row) for row in counts.tolist())
