"""Which preprocessing a bundle gets: what is said, or what a trial finds.

Labeled images prove it. Where they contradict what was said, or do not tell preprocessings apart,
the import is refused with the option that mends it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from calibration.wording import parameter
from model_store.errors import ForeignModelRefused, ForeignModelUnclear, LabeledFolderRefused
from model_store.foreign.image_input import ImageInput
from model_store.foreign.import_choices import ImportChoices
from model_store.foreign.inspection import Inspection
from model_store.foreign.preprocessing import (
    BLUE_FIRST,
    Pixels,
    Preprocessing,
    of_bits,
    usual,
)
from model_store.foreign.preprocessing_choice import (
    PreprocessingTrial,
    Progress,
    try_preprocessings,
)
from model_store.foreign.truth import Truth

PROVEN: Final = 3.0  # standard errors of NLL by which something else contradicts what was said
_SHOWN: Final = 4  # rivals in a sentence


@dataclass(frozen=True)
class Decision:
    """A preprocessing, why it was chosen, what was tried, the best first, and what to know."""

    preprocessing: Preprocessing
    why: str
    trials: tuple[PreprocessingTrial, ...] = ()
    notes: tuple[str, ...] = ()


def decide(
    inspection: Inspection, choices: ImportChoices, truth: Truth | None, *, progress: Progress
) -> Decision:
    """Decide, by `truth` if there are labeled images.

    Raises:
        ForeignModelUnclear: nothing says how pixels were prepared, or labeled images do not tell.
        LabeledFolderRefused: labeled images contradict what is said.
        ForeignModelRefused: numbers that were given do not fit the channels.
    """
    image, said = inspection.image, choices.pixels
    options = _options(choices, image)
    if truth is None:
        if said is None:
            _require_one(options)
        return Decision(options[0], said.why if said else "the only one for such an input")
    trials = try_preprocessings(options, inspection, truth, progress=progress)
    trial = next(each for each in trials if said is None or each.preprocessing is options[0])
    turned = _turned(trial, inspection, truth, progress)
    if said is not None:
        doubts = [*turned, *_contradicted(trial, trials, image, _constant(truth))]
        why, notes = said.why, []
    else:
        doubts = [*turned, *_untold(trial, trials, image)]
        why = f"the likeliest of {len(trials)} on {trial.images} labeled images"
        notes = [
            f"Nobody said how pixels are prepared. {_typed(trial.preprocessing, image)} is the "
            "likeliest of the usual ways; a network may be fairly right with another than its "
            "maker's. Ask whoever trained the model, and say it."
        ]
    if doubts and not choices.anyway:
        refusal = LabeledFolderRefused if said or turned else ForeignModelUnclear
        raise refusal(f"{doubts[0]}, or {parameter('anyway', True)} to publish it all the same")
    notes = [*(f"{each}." for each in doubts), *notes]
    return Decision(trial.preprocessing, why, tuple(trials), tuple(notes))


def _options(choices: ImportChoices, image: ImageInput) -> list[Preprocessing]:
    """What is said, and then its rivals; all usual ways if nothing is."""
    if image.channels == 1 and choices.order is not None:
        raise ForeignModelRefused(
            "its images are gray, so that their channels have no order: leave "
            f"{parameter('channels')} out"
        )
    usuals = [_sized(each, choices) for each in usual(image)]
    if choices.pixels is None:
        return [each for each in usuals if choices.order in (None, each.order)]
    first = _sized(_said(choices.pixels, choices, image), choices)
    if image.channels == 3:
        usuals.insert(0, replace(first, order="rgb" if first.order == "bgr" else "bgr"))
    same = (first.normalization, first.order)
    return [first, *(each for each in usuals if (each.normalization, each.order) != same)]


def _sized(option: Preprocessing, choices: ImportChoices) -> Preprocessing:
    """Return the option with what is said of size and gray values, which no trial decides."""
    return replace(
        option if choices.bits is None else of_bits(option, choices.bits),
        resize=choices.resize or "stretch",
        resample=choices.resample,
        decoded=choices.decoded,
        window=choices.window,
    )


def _said(pixels: Pixels, choices: ImportChoices, image: ImageInput) -> Preprocessing:
    name, numbers, _ = pixels
    for values, what in ((numbers.mean, "mean"), (numbers.std, "std")):
        if len(values) not in (1, image.channels):
            raise ForeignModelRefused(
                f"{len(values)} numbers were given as {what}; expected one, or one for each of "
                f"{image.channels} channels"
            )
    if np.issubdtype(image.dtype, np.integer) and numbers.divisor * max(numbers.std) > 1:
        raise ForeignModelRefused(
            f"its input takes whole numbers, and {numbers.formula} has fractions between: the "
            f"graph scales them itself. Give {parameter('pixels', 'raw')}"
        )
    return Preprocessing(name, numbers, choices.order or ("bgr" if name in BLUE_FIRST else "rgb"))


def _require_one(options: Sequence[Preprocessing]) -> None:
    """Ask, unless the order of channels is all that is open."""
    names = list(dict.fromkeys(each.name for each in options))
    if len(names) > 1:
        raise ForeignModelUnclear(
            "nothing in the file tells how its pixels were prepared: give "
            f"{parameter('pixels')} with one of {', '.join(names)} or DIVISOR/MEAN/STD (and "
            f"{parameter('channels', 'bgr')} if blue comes first), or {parameter('data')} with "
            "labeled images, on which the usual ways are tried"
        )


def _contradicted(
    said: PreprocessingTrial,
    trials: Sequence[PreprocessingTrial],
    image: ImageInput,
    constant: float,
) -> list[str]:
    """Say which of the trials is likelier than what was said, and no less accurate.

    `constant`: the accuracy of a constant answer. With less, the classes are in another order.
    """
    better = [
        each
        for each in trials
        if each.is_likelier_than(said, errors=PROVEN)
        and each.accuracy >= max(said.accuracy, constant)
    ]
    if not better:
        return []
    pixels = said.preprocessing.normalization
    better.sort(key=lambda each: each.preprocessing.normalization != pixels)  # in their order else
    return [
        f"the labeled images contradict how pixels are prepared: with {said.name} the model is "
        f"right on {100 * said.accuracy:.0f} % of {said.images} images (NLL {said.nll:.3g}), with "
        f"{better[0].name} on {100 * better[0].accuracy:.0f} % (NLL {better[0].nll:.3g}). Give "
        f"{_typed(better[0].preprocessing, image)} if the model was trained so"
    ]


def _untold(
    best: PreprocessingTrial, trials: Sequence[PreprocessingTrial], image: ImageInput
) -> list[str]:
    """Say which of the trials the labels do not tell from the likeliest."""
    rivals = [
        each
        for each in trials[1:]
        if (each.is_more_accurate_than(best) or not best.is_likelier_than(each))
        and not _is_turned_gray(best, each)
    ]
    if not rivals:
        return []
    names = " or ".join(
        f"{each.name} ({100 * each.accuracy:.1f} % right)" for each in rivals[:_SHOWN]
    )
    return [
        f"{best.images} labeled images do not tell {best.name} ({100 * best.accuracy:.1f} % right) "
        f"from {names}: their NLLs are equal or differ by less than chance, or the likelier one is "
        "right less often. Ask whoever trained the model, and give "
        f"{_typed(best.preprocessing, image)} or another {parameter('pixels')}"
    ]


def _is_turned_gray(best: PreprocessingTrial, other: PreprocessingTrial) -> bool:
    """Whether they differ in the order of channels alone, and images are gray: it is the same."""
    same = best.preprocessing.normalization == other.preprocessing.normalization
    return same and abs(best.losses - other.losses).max() < 1e-6


def _turned(
    trial: PreprocessingTrial, inspection: Inspection, truth: Truth, progress: Progress
) -> list[str]:
    """Say whether the labels speak for an input whose columns come before its rows."""
    if inspection.image.height != inspection.image.width:
        return []
    option = [trial.preprocessing]
    (turned,) = try_preprocessings(option, inspection, truth, progress=progress, turned=True)
    better = turned.accuracy > max(trial.accuracy, _constant(truth))
    if not (better and turned.is_likelier_than(trial, errors=PROVEN)):
        return []
    return [
        f"the labeled images contradict the layout of the input: the model is right on "
        f"{100 * trial.accuracy:.0f} % of {trial.images} images, and on "
        f"{100 * turned.accuracy:.0f} % with rows and columns exchanged. If it takes columns "
        "first, export it with rows first, as `model(images.swapaxes(2, 3))`"
    ]


def _constant(truth: Truth) -> float:
    """The share of the commonest kind of labels in the half to fit on."""
    fitting = truth.strata[~truth.data.held_out]
    return float(np.bincount(fitting).max() / len(fitting))


def _typed(option: Preprocessing, image: ImageInput) -> str:
    """What to type for an option."""
    order = parameter("channels", option.order) if image.channels == 3 else ""
    pixels = "" if option.name == "given" else parameter("pixels", option.name)
    return " ".join(each for each in (pixels, order) if each)
