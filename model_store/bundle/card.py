"""The card: what a model is, where it comes from, how calibrated it was, and file hashes."""

import dataclasses
from typing import Annotated, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from calibration.bins import BinSums
from calibration.conformal import Conformal
from calibration.measures.confusion import recalls
from calibration.measures.summary import Measures
from model_store.bundle.provenance import Provenance, Verification
from model_store.bundle.records import OpenRecord
from model_store.image import InputSpec

FORMAT_VERSION: Literal[2] = 2

Precision = Literal["float32", "float16", "int8"]
CalibrationMethod = Literal["none", "temperature", "perturbed", "vector", "histogram", "isotonic"]
Fraction = Annotated[float, Field(ge=0, le=1)]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
TAG_KEY_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"


class InputCard(OpenRecord):
    """How an encoded image becomes the graph's input; the fields of `InputSpec`."""

    channels: Literal[1, 3]
    height: int = Field(gt=0, le=4096)
    width: int = Field(gt=0, le=4096)
    resize: Literal["stretch", "crop"] = "stretch"
    window: tuple[float, Annotated[float, Field(ge=1)]] | None = None
    frames: Literal["one", "first"] = "one"

    @property
    def spec(self) -> InputSpec:
        """The same as a dataclass for `model_store.image`."""
        return InputSpec(
            self.channels, self.height, self.width, self.resize, self.window, self.frames
        )


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


class ConformalCard(OpenRecord):
    """As `calibration.conformal.Conformal`: sets hold the classes from `threshold` on."""

    alpha: Fraction
    threshold: Fraction
    method: Literal["lac"] = "lac"
    mean_set_size: float = Field(ge=0)
    coverage_reference: Fraction

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


class CalibrationCard(OpenRecord):
    """The calibrator inside the graph, and its measures on the labeled answers that are its
    reference.

    The graph divides the logits by `temperature`, and `method` says where that comes from. "none"
    was fitted on
    nothing: it is 1. "temperature" was fitted on the reference, on other images of the same folder,
    or on live labels. "perturbed" was fitted on perturbed images of the reference, so confidence on
    the reference itself is too low. With "vector" the graph first applies a weight and a bias of
    the exported model to each logit; with "histogram" or "isotonic" it maps the softmax of the
    logits by a function for each class and continues with the logarithm. The card holds none of
    these. `class_weight` and `class_bias` are others, which a recalibration added after the
    temperature. `subgroups` follow the graph.
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
        description="share of each class's images in the reference that got its answer; null: no "
        "image",
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
        )

    @property
    def sums(self) -> BinSums:
        """The sums per bin of the reference."""
        return BinSums.from_rows([row.model_dump() for row in self.bins])


def _rows(counts: npt.NDArray[np.int64] | None) -> tuple[tuple[int, ...], ...] | None:
    return None if counts is None else tuple(tuple(row) for row in counts.tolist())


class VariantCard(OpenRecord):
    """The same network in another precision, with its own calibrator, promises and costs.

    Everything here was measured on the reference split of the card, with the graph in `file`.
    """

    precision: str = Field(
        min_length=1, description=f"{', '.join(get_args(Precision))}, or a later one"
    )
    file: str
    calibration: CalibrationCard
    referral: Referral | None = None
    conformal: ConformalCard | None = None
    accuracy_loss: float = Field(
        ge=-1, le=1, description="accuracy of model.onnx minus that of the variant"
    )
    agreement: Fraction = Field(description="share of images of which both predict the same class")
    max_difference: float = Field(
        ge=0, le=1, description="largest difference of a probability to model.onnx"
    )


class InputReference(OpenRecord):
    """Brightness of `n` validation inputs (`model_store.image.brightness`), and its spread.

    All values are gray levels of the 8-bit input.
    """

    mean: float = Field(ge=0, le=255)
    mean_sd: float = Field(ge=0)
    contrast: float = Field(ge=0)
    contrast_sd: float = Field(ge=0)
    n: int = Field(ge=1)

    @classmethod
    def from_brightness(cls, measured: npt.NDArray[np.float64]) -> "InputReference":
        """Summarize mean and contrast of each image, (N, 2)."""
        mean, contrast = measured.mean(axis=0).tolist()
        mean_sd, contrast_sd = measured.std(axis=0).tolist()
        return cls(
            mean=mean, mean_sd=mean_sd, contrast=contrast, contrast_sd=contrast_sd, n=len(measured)
        )


class Card(OpenRecord):
    """card.json, format version 2.

    Later Candors may add optional fields and values of `calibration.method` to this version;
    readers ignore fields that they do not know. A change that would make such a reader give wrong
    answers gets another format version, which readers of this one refuse.
    """

    format_version: Literal[2] = FORMAT_VERSION
    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1)
    classes: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(min_length=2)
    input: InputCard
    provenance: Provenance
    calibration: CalibrationCard
    referral: Referral | None = None
    conformal: ConformalCard | None = None
    input_reference: InputReference | None = None
    verification: Verification | None = None
    precision: str | None = Field(
        default=None, description="of the graph that the card describes; null: float32"
    )
    variants: tuple[VariantCard, ...] | None = Field(
        default=None, description="the same network in other precisions, each in a file of its own"
    )
    dropped_promises: tuple[str, ...] | None = Field(
        default=None,
        description="what versions before this one promised and this one does not, each a sentence",
    )
    files: dict[str, str] = Field(
        default_factory=dict, description="file name -> sha256, in hexadecimal"
    )

    @property
    def precisions(self) -> tuple[str, ...]:
        """Every precision in which the bundle has the network, that of model.onnx first."""
        return (self.precision or "float32", *(each.precision for each in self.variants or ()))

    def of_variant(self, precision: str) -> "Card":
        """The card of one precision: its calibrator and promises, not those of model.onnx.

        Another card is another calibration in the ledger, so answers of two precisions never mix.
        Raises KeyError.
        """
        if precision == self.precisions[0]:
            return self
        variant = {each.precision: each for each in self.variants or ()}[precision]
        return self.model_copy(
            update={
                "precision": precision,
                "calibration": variant.calibration,
                "referral": variant.referral,
                "conformal": variant.conformal,
                "variants": None,
                "verification": None,
            }
        )

    @model_validator(mode="after")
    def _subgroups_fit(self) -> Self:
        for each in self.calibration.subgroups or ():
            if each.class_bias is not None and len(each.class_bias) != len(self.classes):
                raise ValueError("the calibrator of a subgroup needs one bias per class")
        return self

    @field_validator("variants")
    @classmethod
    def _variants_differ(
        cls, variants: tuple[VariantCard, ...] | None
    ) -> tuple[VariantCard, ...] | None:
        names = [each.precision for each in variants or ()]
        if len({*names, "float32"}) <= len(names):
            raise ValueError("each variant needs a precision of its own, other than float32")
        return variants

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) < len(classes):
            raise ValueError("each class needs a distinct name")
        return classes
