"""What the caller of an import decides."""

from dataclasses import dataclass, field

from model_store.foreign.class_names import ClassNames
from model_store.foreign.class_scores import Reading
from model_store.foreign.image_input import ANY_INPUT, InputWishes
from model_store.foreign.preprocessing_decision import PreprocessingWishes


@dataclass(frozen=True, kw_only=True)
class ImportChoices:
    """What the caller decides; what is None is found out.

    Attributes:
        classes: names in the order of the model's scores.
        outputs: the output to take, or several of one score each.
        reading: whether classes exclude each other, or each is a finding.
        calibrate: whether to fit calibrators on the labeled images.
        anyway: whether to publish a model that the labels say is useless or wrongly named.
        trusted: whether pixels may decide how long the graph runs and how much memory it takes.
    """

    classes: ClassNames | None = None
    input: InputWishes = ANY_INPUT
    outputs: tuple[str, ...] = ()
    reading: Reading | None = None
    preprocessing: PreprocessingWishes = field(default_factory=PreprocessingWishes)
    calibrate: bool = True
    anyway: bool = False
    trusted: bool = False
