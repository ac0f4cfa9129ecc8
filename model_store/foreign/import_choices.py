"""What is said about a model beside its graph: by the caller, and else by its maker."""

from dataclasses import dataclass, fields, replace
from typing import Final, Literal

from model_store.foreign.class_names import ClassNames
from model_store.foreign.class_scores import Reading
from model_store.foreign.image_input import Size
from model_store.foreign.preprocessing import Order, Pixels, Resize
from model_store.image import Resample

Scores = Literal["softmax", "sigmoid", "logits"]
_READINGS: Final[dict[Scores, Reading]] = {
    "softmax": "exclusive",
    "sigmoid": "findings",
    "logits": "exclusive",
}


@dataclass(frozen=True, kw_only=True)
class ImportChoices:
    """What is said; what is None is in the graph, or labeled images tell it.

    Attributes:
        classes: names in the order of the model's scores.
        size: (height, width) of the model's input.
        outputs: the output to take, or several of one score each.
        scores: what makes them probabilities: a softmax over exclusive classes or a sigmoid for
            each finding; "logits" are those of classes, whatever operator they come from.
        order: of the channels; `resize`, `resample` and `decoded` as in `Preprocessing`.
        window: center and width for gray DICOM; `bits` of gray values in images of 16.
        anyway: whether to publish what the labels contradict or cannot tell.
        trusted: whether pixels may decide how long the graph runs and how much memory it takes.
    """

    classes: ClassNames | None = None
    size: Size | None = None
    outputs: tuple[str, ...] = ()
    scores: Scores | None = None
    pixels: Pixels | None = None
    order: Order | None = None
    resize: Resize | None = None
    resample: Resample = "bilinear"
    decoded: Size | None = None
    window: tuple[float, float] | None = None
    bits: int | None = None
    anyway: bool = False
    trusted: bool = False

    @property
    def reading(self) -> Reading | None:
        """Whether classes exclude each other, if that is said."""
        return None if self.scores is None else _READINGS[self.scores]

    def over(self, maker: "ImportChoices") -> "ImportChoices":
        """Return these choices, and where they leave something open, those of the maker."""
        if self.size not in (None, maker.size):
            maker = replace(maker, decoded=None)  # the maker's crop says nothing of another size
        chosen = [(each.name, getattr(self, each.name), each.default) for each in fields(self)]
        return replace(maker, **{name: value for name, value, usual in chosen if value != usual})


NOTHING_SAID: Final = ImportChoices()
