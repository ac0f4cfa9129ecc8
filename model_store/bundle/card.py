"""The card: what a model is, where it comes from, how calibrated it was, and file hashes.

`python -m model_store.bundle.card` writes the JSON Schema of card.json again after a change of the
card. It is in the wheel, and by a link in the documentation.
"""

import json
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from calibration.calibrators.finding_answers import ABSENT_PRESENT
from model_store.bundle.calibration_card import CalibrationCard, ConformalCard, Fraction, Referral
from model_store.bundle.files import OpenRecord
from model_store.bundle.finding_card import FindingCard
from model_store.image import InputSpec, Resample


class TrainingCard(OpenRecord):
    """The choices and the images of a training run, and where it fails."""

    choices: dict[str, Any] = Field(
        description="every choice of the run by name, such as learning_rate; of a file with "
        "weights only its name"
    )
    images: dict[str, tuple[int, ...]] = Field(
        description="number of images by split, one per class"
    )
    shortcomings: tuple[str, ...] | None = Field(
        default=None, description="where test shows that the model fails, as sentences"
    )


class Verification(OpenRecord):
    """How far the bundle's probabilities were from those of torch or of an imported file."""

    images: int = Field(
        ge=1,
        description="validation or labeled images, made-up ones if there were none, in one batch",
    )
    alone: int = Field(ge=1, description="how many of them were also run in a batch of one")
    max_difference: float = Field(ge=0, description="largest absolute difference of a probability")
    libraries: dict[str, str]


class Origin(OpenRecord):
    """The file from which a model was imported, and what was found out about it."""

    file: str = Field(max_length=255)
    sha256: str = Field(description="of that file, in hexadecimal")
    producer: str = Field(description="who wrote the graph, as it says itself")
    opset: int = Field(ge=0, description="of the file's standard operators")
    found: dict[str, str] = Field(
        description="sentences about input, output, classes and preprocessing"
    )
    trusted: bool = Field(
        default=False,
        description="whether pixels may decide how long the graph runs and how much memory it "
        "takes, because the importer trusts its maker",
    )


class Provenance(OpenRecord):
    """How the model was made."""

    dataset: str
    fingerprint: str = Field(description="sha256 over the data set's images and labels")
    backbone: str
    loss: str
    beta: float | None = Field(
        default=None, description="weight of the calibration term, if the loss has one"
    )
    seed: int
    epochs: int
    libraries: dict[str, str]
    created_at: datetime = Field(
        description="when the run was finished, or the version recalibrated"
    )
    training: TrainingCard | None = None
    parent_version: int | None = Field(
        default=None, description="the version that was recalibrated, if any"
    )
    recalibrated_by: Literal["person", "alarm"] | None = Field(
        default=None,
        description="who recalibrated: a person, or a process because of a drift alarm",
    )
    imported: Origin | None = Field(
        default=None, description="where a model comes from that Candor did not train"
    )


NO_PROMISE = "The scope check promises nothing about images that it does not flag."


class FlaggedShare(OpenRecord):
    """A share of in-scope images that is flagged at `alpha`: between `lower` and `upper`, in 95 of
    100 draws of the calibration images.
    """

    n: int = Field(ge=1, description="calibration images")
    lower: Fraction
    upper: Fraction


class ScopeCard(OpenRecord):
    """The graph's outputs `scope_score` and `scope_p`, each [N].

    `scope_p` is a conformal p-value among `n` calibration images: of images like these, at most a
    share alpha has one of at most alpha, on average over calibration sets
    (`calibration.scope.p_values`). Nothing is promised about other images, which may look in scope.
    """

    method: str = Field(min_length=1, description="mahalanobis, or a later one")
    features: str = Field(description="which of the network's features are scored")
    reference_split: str = Field(description="of the calibration images")
    fitted_on: int = Field(ge=1, description="images that the features were described with")
    alpha: Annotated[float, Field(gt=0, lt=1)] = Field(description="at which images are flagged")
    flagged: FlaggedShare


FORMAT_VERSION: Literal[2] = 2

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class InputCard(OpenRecord):
    """How an encoded image becomes the graph's input; the fields of `InputSpec`."""

    channels: Literal[1, 3]
    height: int = Field(gt=0, le=4096)
    width: int = Field(gt=0, le=4096)
    resize: Literal["stretch", "crop"] = "stretch"
    window: tuple[float, Annotated[float, Field(ge=1)]] | None = None
    frames: Literal["one", "first"] = "one"
    bits: int = Field(
        default=16, ge=9, le=16, description="that gray images of 16 bits use for values"
    )
    resample: Resample = "bilinear"

    @property
    def spec(self) -> InputSpec:
        """The same as a dataclass for `model_store.image`."""
        return InputSpec(**{each.name: getattr(self, each.name) for each in fields(InputSpec)})


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


class Initializers(NamedTuple):
    """The numbers of the calibrators in a graph, by the names of its initializers."""

    temperature: tuple[float, ...]
    class_weight: tuple[float, ...] | None
    class_bias: tuple[float, ...] | None


def initializers_of(
    calibration: CalibrationCard, findings: tuple[FindingCard, ...] | None
) -> Initializers:
    """Return those of the calibrators that a card has."""
    if findings is None:
        one = calibration
        return Initializers((one.temperature,), one.class_weight, one.class_bias)
    each = [finding.calibration for finding in findings]
    biases = tuple((one.class_bias or (0.0, 0.0))[1] for one in each)
    return Initializers(tuple(one.temperature for one in each), None, biases)


class Card(OpenRecord):
    """card.json, format version 2.

    Later Candors may add optional fields and values of `calibration.method` to this version;
    readers ignore fields that they do not know. A change that would make such a reader give wrong
    answers gets another format version, which readers of this one refuse.
    """

    format_version: Literal[2] = FORMAT_VERSION
    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1)
    classes: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        min_length=1, description="exclusive, or the names of `findings`"
    )
    findings: tuple[FindingCard, ...] | None = Field(
        default=None,
        description="several answers for one image, one for each of `classes`; null: one answer",
    )
    finding: str | None = Field(
        default=None, description="the one finding that this card is about, as in the ledger"
    )
    input: InputCard
    provenance: Provenance
    calibration: CalibrationCard
    referral: Referral | None = None
    conformal: ConformalCard | None = None
    input_reference: InputReference | None = None
    scope: ScopeCard | None = Field(
        default=None,
        description="how the graph says whether an image is unusual; null: it does not",
    )
    verification: Verification | None = None
    dropped_promises: tuple[str, ...] | None = Field(
        default=None,
        description="what versions before this one promised and this one does not, each a sentence",
    )
    files: dict[str, str] = Field(
        default_factory=dict, description="file name -> sha256, in hexadecimal"
    )

    @property
    def has_findings(self) -> bool:
        """Whether an image has several answers, one for each finding."""
        return self.findings is not None and self.finding is None

    @property
    def asked(self) -> tuple[FindingCard, ...]:
        """The findings, none of exclusive classes."""
        return self.findings or ()

    @property
    def answers(self) -> "tuple[Card | FindingCard, ...]":
        """What has a calibrator and promises of its own: each finding, or the card."""
        return self.findings or (self,)

    @property
    def initializers(self) -> Initializers:
        """The numbers of the calibrators in the graph."""
        return initializers_of(self.calibration, self.findings)

    @property
    def temperature(self) -> float | None:
        """That of the one answer; None with findings."""
        return None if self.has_findings else self.calibration.temperature

    @property
    def accuracy(self) -> float | None:
        """That of the one answer; None with findings, whose reference has the share present."""
        return None if self.has_findings else self.calibration.measures.get("accuracy")

    @property
    def method(self) -> str | None:
        """How its calibrator was fitted; None with findings."""
        return None if self.has_findings else self.calibration.method

    @property
    def questions(self) -> "tuple[Card, ...]":
        """What the ledger watches: a card for each finding, or the card itself."""
        return tuple(map(self.of_finding, self.classes)) if self.has_findings else (self,)

    @property
    def kind(self) -> Literal["classes", "findings"]:
        """What `classes` are: exclusive, or findings."""
        return "findings" if self.has_findings else "classes"

    @property
    def uncalibrated(self) -> tuple[str, ...]:
        """The classes or findings that no calibrator was fitted for: all of exclusive classes."""
        if self.has_findings:
            known = self.findings or ()
            return tuple(each.name for each in known if each.calibration.method == "none")
        return self.classes if self.calibration.method == "none" else ()

    def of_finding(self, name: str) -> "Card":
        """The card of one question: absent or present, its calibrator and promises.

        The ledger watches each finding by a card of its own. Raises KeyError.
        """
        found = {each.name: each for each in self.findings or ()}[name]
        return self.model_copy(
            update={
                "classes": ABSENT_PRESENT,
                "findings": (found,),
                "finding": name,
                "calibration": found.calibration,
                "referral": None,
                "conformal": found.conformal,
            }
        )

    @model_validator(mode="after")
    def _findings_are_the_classes(self) -> Self:
        if self.findings is None and len(self.classes) < 2:
            raise ValueError("a card without findings needs two classes")
        names = tuple(each.name for each in self.findings or ())
        if self.findings is not None and self.finding is None and names != self.classes:
            raise ValueError("classes must be the names of the findings, in their order")
        return self

    @model_validator(mode="after")
    def _subgroups_fit(self) -> Self:
        if self.has_findings and self.calibration.subgroups:
            raise ValueError("each finding has its own calibrators of subgroups")
        asked = [(each.calibration, len(ABSENT_PRESENT)) for each in self.asked]
        for calibration, classes in [(self.calibration, len(self.classes)), *asked]:
            for each in calibration.subgroups or ():
                if each.class_bias is not None and len(each.class_bias) != classes:
                    raise ValueError("the calibrator of a subgroup needs one bias per class")
        return self

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) < len(classes):
            raise ValueError("each class needs a distinct name")
        return classes


SCHEMA_FILE = Path(__file__).with_name("card.schema.json")


def card_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of this format version, of later Candors too.

    Unknown fields are allowed everywhere, because a later Candor may add optional ones.
    """
    generated = Card.model_json_schema(mode="validation")
    generated["required"] = ["format_version", *generated["required"], "files"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:candor:card:{FORMAT_VERSION}",
    } | generated


def schema_text() -> str:
    return json.dumps(card_schema(), indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
