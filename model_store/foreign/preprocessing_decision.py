"""Which preprocessing a bundle gets: the caller's, the maker's, the graph's, or by trial."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from model_store.bundle.provenance import Assumption
from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.graph_evidence import Evidence, graph_evidence
from model_store.foreign.image_input import ImageInput
from model_store.foreign.inspection import Inspection
from model_store.foreign.preprocessing import (
    BLUE_FIRST,
    MEANINGS,
    Normalization,
    Order,
    Preprocessing,
    of_bits,
    usual,
)
from model_store.foreign.preprocessing_choice import (
    PreprocessingTrial,
    Progress,
    Run,
    try_preprocessings,
)
from model_store.foreign.source import ForeignSource
from model_store.foreign.truth import Truth


@dataclass(frozen=True)
class PreprocessingWishes:
    """What the caller says; None is found out.

    Attributes:
        normalization: its name and numbers.
        order: of the channels that the model expects.
        resize, decoded: how an image gets its size, see `Preprocessing`.
        window: center and width for gray DICOM.
        bits: of the values that the model was trained on, where they are more than 8.
    """

    normalization: tuple[str, Normalization] | None = None
    order: Order | None = None
    resize: Literal["stretch", "crop"] | None = None
    decoded: tuple[int, int] | None = None
    window: tuple[float, float] | None = None
    bits: int | None = None


@dataclass(frozen=True)
class Decision:
    """A preprocessing, why it was chosen, and what was tried, the best first."""

    preprocessing: Preprocessing
    why: str
    trials: tuple[PreprocessingTrial, ...] = ()

    def sentence(self, image: ImageInput) -> str:
        """Say it to people."""
        best = self.preprocessing
        meaning = f" ({MEANINGS.get(best.name) or best.normalization.formula})"
        sized = "stretched to size" if best.resize == "stretch" else "scaled and cropped to size"
        deep = ""
        if best.bits != 16:
            deep = f", {best.bits} bits in 256 steps of {2 ** (best.bits - 8)}"
        return f"{best.described(image.channels)}{meaning}{deep}, {sized}; {self.why}"

    def doubts(self, image: ImageInput) -> tuple[str, ...]:
        """Return a note if the labeled images do not tell it from others."""
        rivals = [each for each in self.trials[1:] if not self.trials[0].is_likelier_than(each)]
        if not rivals:
            return ()
        best, others = self.preprocessing, [each.preprocessing for each in rivals]
        differing = {
            "--normalize": any(each.normalization != best.normalization for each in others),
            "--channels": image.channels == 3 and any(each.order != best.order for each in others),
            "--resize": any(each.resize != best.resize for each in others),
        }
        options = " and ".join(option for option, differs in differing.items() if differs)
        names = " or ".join(f"{each.name} ({each.preprocessing.resize})" for each in rivals)
        return (
            f"{rivals[0].images} labeled images do not tell {self.trials[0].name} "
            f"({best.resize}), which was taken, from {names}: their NLLs are equal or differ by "
            f"less than chance. Ask whoever trained the model, and import it again with {options} "
            "if it was another.",
        )


def decide(
    source: ForeignSource,
    inspection: Inspection,
    wishes: PreprocessingWishes,
    run: Run,
    truth: Truth | None,
    *,
    progress: Progress,
) -> Decision:
    """Decide. Raises ForeignModelUnclear if several are possible and nothing is labeled."""
    resize, image = wishes.resize or source.resize, inspection.image
    options, why = possible(source, inspection, wishes)
    decoded = wishes.decoded or source.decoded
    options = [
        replace(each, resize=resize or "stretch", decoded=decoded, window=wishes.window)
        for each in (
            options if wishes.bits is None else [of_bits(each, wishes.bits) for each in options]
        )
    ]
    trials: list[PreprocessingTrial] = []
    if truth is not None:
        if len(options) > 1:
            trials = try_preprocessings(options, run, image, truth, progress=progress)
            options = [trials[0].preprocessing]
            fits = f"the likeliest of {len(trials)} on {trials[0].images} labeled images"
            why = f"{why}; {fits}" if why else fits
        if resize is None:
            ways = [options[0], replace(options[0], resize="crop")]
            resized = try_preprocessings(ways, run, image, truth, progress=progress)
            options = [resized[0].preprocessing]
            if resized[0].nll != resized[-1].nll:  # square images come out the same
                trials = [*resized, *trials[1:]]
    if len(options) > 1:
        raise _unclear(options)
    return Decision(options[0], why, tuple(sorted(trials, key=lambda trial: trial.nll)))


def inferred(
    decision: Decision, source: ForeignSource, wishes: PreprocessingWishes, image: ImageInput
) -> Iterator[Assumption]:
    """Give what of a decision the caller did not say."""
    best, why = decision.preprocessing, decision.why
    tested = bool(decision.trials) and not decision.doubts(image)
    given = wishes.normalization
    if given is None and np.dtype(image.dtype) != np.uint8:
        taken = MEANINGS.get(best.name) or best.normalization.formula
        yield Assumption(
            about="pixels",
            taken=f"pixels are {taken}",
            why=why,
            instead="--normalize",
            tested=tested and source.normalization is None,
        )
    if wishes.order is None and image.channels == 3 and (given or [""])[0] not in BLUE_FIRST:
        yield Assumption(
            about="channels",
            taken=f"channels are in the order {best.order.upper()}",
            why=why,
            instead="--channels",
            tested=tested and source.order is None,
        )
    if wishes.resize is None and source.resize is None:
        sized = "stretched to" if best.resize == "stretch" else "scaled and cropped to"
        yield Assumption(
            about="resize",
            taken=f"images are {sized} {image.height} x {image.width}",
            why="the likelier way" if tested else "the usual way; square images stay the same",
            instead="--resize",
            tested=tested,
        )


def possible(
    source: ForeignSource, inspection: Inspection, wishes: PreprocessingWishes
) -> tuple[list[Preprocessing], str]:
    """Return the preprocessings that are still possible, and what narrowed them down."""
    image = inspection.image
    evidence = graph_evidence(inspection.original, image)
    order = wishes.order or source.order
    given = wishes.normalization or source.normalization
    if given is not None:
        name, numbers = given
        order = order or evidence.order or ("bgr" if name in BLUE_FIRST else None)
        orders: tuple[Order, ...] = (order or "rgb",)
        if image.channels == 3 and order is None:
            orders = ("rgb", "bgr")
        why = "as given" if wishes.normalization else source.preprocessing_from
        return [Preprocessing(name, _checked(numbers, image), each) for each in orders], why
    options = [each for each in usual(image) if order in (None, each.order)]
    agreeing = [each for each in options if _agrees(each, evidence)]
    if agreeing and evidence.why:
        return agreeing, evidence.why
    return options, "the only one for such an input" if len(options) == 1 else ""


def _agrees(option: Preprocessing, evidence: Evidence) -> bool:
    return evidence.name in (None, option.name) and evidence.order in (None, option.order)


def _checked(numbers: Normalization, image: ImageInput) -> Normalization:
    for values, what in ((numbers.mean, "mean"), (numbers.std, "std")):
        if len(values) not in (1, image.channels):
            raise ForeignModelRefused(
                f"{len(values)} numbers were given as {what}; expected one, or one for each of "
                f"{image.channels} channels"
            )
    return numbers


def _unclear(options: list[Preprocessing]) -> ForeignModelUnclear:
    names = list(dict.fromkeys(each.name for each in options))
    asked = [f"--normalize with one of {', '.join(names)}"] if len(names) > 1 else []
    if len({each.order for each in options}) > 1:
        asked.append("--channels rgb (as PIL reads; or bgr, as OpenCV and Caffe do)")
    exactly = ", or --mean and --std" if len(names) > 1 else ""
    return ForeignModelUnclear(
        f"nothing in the file tells how its pixels were prepared: give {' and '.join(asked)}"
        f"{exactly}, or --data with labeled images, on which the usual ways are tried"
    )
