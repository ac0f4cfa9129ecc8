"""What the caller of an import decides."""

from dataclasses import dataclass
from typing import Final, Literal

from model_store.foreign.class_names import ClassNames
from model_store.foreign.class_scores import Reading
from model_store.foreign.image_input import ANY_INPUT, InputWishes
from model_store.foreign.preprocessing import Normalization, Order, Resize

Scores = Literal["softmax", "sigmoid", "logits"]
_READINGS: Final[dict[Scores, Reading]] = {
    "softmax": "exclusive",
    "sigmoid": "findings",
    "logits": "exclusive",
}


@dataclass(frozen=True, kw_only=True)
class ImportChoices:
    """What the caller decides; what is None is in the file, or labeled images tell it.

    Attributes:
        classes: names in the order of the model's scores.
        outputs: the output to take, or several of one score each.
        scores: what makes them probabilities: a softmax over exclusive classes or a sigmoid for
            each finding; "logits" are those of classes, although they are never negative.
        pixels: name and numbers of the normalization; `order` of the channels, `resize` and
            `decoded` as in `Preprocessing`.
        window: center and width for gray DICOM; `bits` of gray values in images of 16.
        calibrate: whether to fit calibrators on the labeled images.
        anyway: whether to publish what the labels contradict or cannot tell.
        trusted: whether pixels may decide how long the graph runs and how much memory it takes.
    """

    classes: ClassNames | None = None
    input: InputWishes = ANY_INPUT
    outputs: tuple[str, ...] = ()
    scores: Scores | None = None
    pixels: tuple[str, Normalization] | None = None
    order: Order | None = None
    resize: Resize | None = None
    decoded: tuple[int, int] | None = None
    window: tuple[float, float] | None = None
    bits: int | None = None
    calibrate: bool = True
    anyway: bool = False
    trusted: bool = False

    @property
    def reading(self) -> Reading | None:
        """Whether classes exclude each other, if the caller says so."""
        return None if self.scores is None else _READINGS[self.scores]
