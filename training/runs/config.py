"""The choices of a run, TrainConfig, and the record of a finished one, RunRecord."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)

from model_store.bundle.card import InputReference
from model_store.image import InputSpec
from training.choices import DeviceChoice, TrainOptions, Weights
from training.datasets import Dataset, SplitName
from training.errors import BadRun
from training.features.augmentation import Augmentation
from training.fitting.schedule import Decay, Schedule, Select
from training.load_options import options_of
from training.losses import LossSettings, loss_title
from training.networks.backbones import SMALL, Trunk
from training.networks.classifier import Classifier, build_classifier
from training.networks.heads import HeadKind


def _declared(name: str) -> Any:
    """The field of an option, with the default and the range that it declares."""
    _, option = options_of(TrainOptions)[name]
    least, most = option.within or (None, None)
    return Field(default=option.fixed, ge=least, le=most)


class TrainConfig(BaseModel):
    """Every choice of one run: those with an option, and what only a file sets.

    The defaults follow the paper's protocol with two exceptions. The learning rate decays to zero:
    at a constant rate, results on shifted data vary more between epochs than between methods, and
    twelve epochs from 2e-4 achieve what fifteen at 1e-4 did. Class weights are natural: with
    balanced ones, one seed of three had DCA miscalibrated within each class although its overall
    gap was zero, on validation already.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    loss: str = _declared("loss")
    beta: float | None = _declared("beta")
    class_weights: Literal["natural", "balanced"] = _declared("class_weights")
    epochs: int = _declared("epochs")
    batch_size: int = _declared("batch_size")
    learning_rate: float = _declared("learning_rate")
    seed: int = _declared("seed")
    backbone: str = _declared("backbone")
    weights: Weights = _declared("weights")
    frozen: bool = _declared("frozen")
    gentle: bool = _declared("gentle")
    augment: str | None = _declared("augment")
    image_size: int | None = _declared("image_size")
    device: DeviceChoice = _declared("device")
    micro_batch: int | None = _declared("micro_batch")
    loss_options: Annotated[
        dict[str, float], Field(description="further options of the loss, by name")
    ] = {}
    decay: Decay = "cosine"
    select: Select = "last"
    heads: Annotated[
        PositiveInt,
        Field(
            description="networks whose probabilities are averaged; they share what is frozen, "
            "else nothing"
        ),
    ] = 1
    validation: Annotated[
        Literal["split", "folds"],
        Field(
            description="split: the validation split; folds: each of the heads is validated on "
            "its own part of train and val, so that every image validates once"
        ),
    ] = "split"
    head: Annotated[
        HeadKind,
        Field(
            description="paper; pooled: the mean of the feature map and one hidden layer, for few "
            "images; blend: this, averaged with a logistic regression, both with balanced class "
            "weights, for folds"
        ),
    ] = "paper"
    head_reduction: Literal[2, 4] = 4
    amp: bool = False

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.augment is not None:
            Augmentation(self.augment)
        if self.validation == "folds" and (self.heads < 2 or not self.cached):
            raise ValueError("folds need two heads or more on a frozen backbone, and no augment")
        if self.head == "blend" and not self.cached:
            raise ValueError("the head blend needs a frozen backbone, and no augment")
        return self

    @property
    def cached(self) -> bool:
        """Whether only heads are trained, on features that are computed once."""
        return self.frozen and self.augment is None

    @property
    def is_committee(self) -> bool:
        """Whether it takes more than one fit."""
        return self.heads > 1 or self.validation == "folds" or self.head == "blend"

    @property
    def title(self) -> str:
        """The title of the method in plots."""
        strength = "" if self.beta is None else f" (beta {self.beta:g})"
        heads = f", {self.heads} heads" if self.heads > 1 else ""
        return f"{loss_title(self.loss)}{strength}{heads}"

    @property
    def schedule(self) -> Schedule:
        return Schedule(**{each.name: getattr(self, each.name) for each in fields(Schedule)})

    @property
    def loss_settings(self) -> LossSettings:
        """The settings of the loss, without class weights, which depend on the data."""
        return LossSettings(beta=self.beta, options=self.loss_options)

    def input_spec(self, dataset: Dataset) -> InputSpec:
        """The input of the network for images like those of `dataset`."""
        side = self.image_size or default_image_size(dataset.size, backbone=self.backbone)
        channels = 1 if self.backbone == SMALL else dataset.channels
        return InputSpec(channels, side, side, "stretch", dataset.window, dataset.frames)


def offline_config(*, loss: str, seed: int) -> TrainConfig:
    """Choices that need no pretrained weights, for the bundled digits.

    The features come from the small network with random weights, untrained. A head reaches an
    accuracy of 0.92 to 0.97 on them in seconds; training the whole network takes three times as
    long and gains nothing on the digits.
    """
    return TrainConfig(
        loss=loss,
        seed=seed,
        backbone=SMALL,
        weights="none",
        epochs=80,
        batch_size=32,
        learning_rate=1e-3,
        head_reduction=2,
    )


def build_network(
    config: TrainConfig, trunk: Trunk, spec: InputSpec, *, classes: int
) -> Classifier:
    """The network of `config`, of one member, on a trunk, before training."""
    return build_classifier(
        trunk,
        spec,
        class_count=classes,
        reduction=config.head_reduction,
        frozen=config.frozen,
        seed=config.seed,
        head=config.head,
    )


def default_image_size(native: int, *, backbone: str) -> int:
    """Side of the input in pixels for images of about `native` pixels.

    Pretrained filters expect structure at the scale of photographs, so small images are enlarged;
    112 is four times MedMNIST's 28. At 224 a pass costs four times as much and adds no detail to an
    image of 28 pixels.

    >>> default_image_size(28, backbone="resnet18"), default_image_size(256, backbone="resnet18")
    (112, 224)
    """
    if backbone == SMALL:
        return 32
    return 112 if native < 100 else 224


class CandidateScore(BaseModel):
    """A candidate of the recipe, as the choices that differ between candidates, and how it did on
    validation.

    `val_nll` is the cross-entropy after a temperature fitted there, `val_mean_recall` the mean
    recall of the classes with images enough to tell, and `unanswered` those of them that it never
    answered. None: it diverged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    choices: dict[str, str | float]
    val_nll: float | None
    val_accuracy: float | None
    val_mean_recall: float | None = None
    unanswered: tuple[str, ...] = ()
    chosen: bool = False


class RecipeRecord(BaseModel):
    """What the recipe `auto` chose and why; no `candidates` if nothing was to be chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reasons: tuple[str, ...]
    candidates: tuple[CandidateScore, ...] = ()


class RunRecord(BaseModel):
    """config.json of a run folder: the choices, and everything else that the numbers depend on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    config: TrainConfig
    recipe: Annotated[
        RecipeRecord | None, Field(description="None: every choice was the user's or the default")
    ] = None
    dataset: str
    fingerprint: str
    classes: tuple[str, ...]
    has_findings: Annotated[
        bool, Field(description="an image may have several of the classes, or none")
    ] = False
    counts: dict[SplitName, list[int]]
    spec: Annotated[InputSpec, Field(description="the network's input")]
    backbone_sha256: str
    loaded: Annotated[
        dict[str, Any] | None,
        Field(description="how the data was loaded; None: not from a source"),
    ] = None
    processes: PositiveInt = 1
    device: Annotated[str, Field(description="cpu or cuda")]
    input_reference: InputReference | None = None
    libraries: dict[str, str]


def read_record(folder: Path) -> RunRecord:
    """The record of a finished run. Raises BadRun, which says what is missing or wrong."""
    path = folder / "config.json"
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise BadRun(
            f"{folder} is not a finished run: it has no config.json; give a folder that `candor "
            "train` wrote"
        ) from error
    except ValidationError as error:
        raise BadRun(f"{path} is not a run's record of format 1: {error}") from error
