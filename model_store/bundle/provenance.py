"""The part of a card that says where a model comes from, and how it was verified."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from model_store.bundle.records import OpenRecord


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
