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
from model_store.foreign.preprocessing import (
    BLUE_FIRST,
    Order,
    Pixels,
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
    image: ImageInput,
    choices: ImportChoices,
    run: Run,
    truth: Truth | None,
    *,
    progress: Progress,
) -> Decision:
    """Decide, by `truth` if there are labeled images.

    Raises:
        ForeignModelUnclear: nothing says how pixels were prepared, or labeled images do not tell.
        LabeledFolderRefused: labeled images contradict what is said.
        ForeignModelRefused: numbers that were given do not fit the channels.
    """
    said = _said(choices.pixels, choices.order, image) if choices.pixels else None
    options = _options(said, image, choices)
    if truth is None:
        why = choices.pixels.why if choices.pixels else "the only one for such an input"
        return Decision(options[0] if said else _only(options), why)
    trials = try_preprocessings(options, run, image, truth, progress=progress)
    trial = trials[0]
    if said is not None:
        trial = next(each for each in trials if each.preprocessing is options[0])
    turned = _turned(trial, run, image, truth, progress)
    if choices.pixels is not None:
        doubts = [*turned, *_contradicted(trial, trials, image, _constant(truth))]
        why, notes = choices.pixels.why, []
    else:
        doubts = [*turned, *_untold(trial, trials, image)]
        why = f"the likeliest of {len(trials)} on {trial.images} labeled images"
        notes = [_unsaid(trial, image)]
    if doubts and not choices.anyway:
        refusal = LabeledFolderRefused if said or turned else ForeignModelUnclear
        raise refusal(f"{doubts[0]}, or {parameter('anyway', True)} to publish it all the same")
    notes = [*(f"{each}." for each in doubts), *notes]
    return Decision(trial.preprocessing, why, tuple(trials), tuple(notes))


def _options(
    said: Preprocessing | None, image: ImageInput, choices: ImportChoices
) -> list[Preprocessing]:
    """What is said, and then its rivals; all usual ways if nothing is."""
    usuals = [_sized(each, choices) for each in usual(image)]
    if said is None:
        return [each for each in usuals if choices.order in (None, each.order)]
    first = _sized(said, choices)
    if image.channels == 3:
        usuals.insert(0, replace(first, order="rgb" if said.order == "bgr" else "bgr"))
    return [first, *(each for each in usuals if not _same(each, first))]


def _sized(option: Preprocessing, choices: ImportChoices) -> Preprocessing:
    """Return the option with what is said of size and gray values, which no trial decides."""
    return replace(
        option if choices.bits is None else of_bits(option, choices.bits),
        resize=choices.resize or "stretch",
        resample=choices.resample,
        decoded=choices.decoded,
        window=choices.window,
    )


def _said(pixels: Pixels, order: Order | None, image: ImageInput) -> Preprocessing:
    name, numbers, _ = pixels
    for values, what in ((numbers.mean, "mean"), (numbers.std, "std")):
        if len(values) not in (1, image.channels):
            raise ForeignModelRefused(
                f"{len(values)} numbers were given as {what}; expected one, or one for each of "
                f"{image.channels} channels"
            )
    return Preprocessing(name, numbers, order or ("bgr" if name in BLUE_FIRST else "rgb"))


def _same(option: Preprocessing, other: Preprocessing) -> bool:
    return (option.normalization, option.order) == (other.normalization, other.order)


def _only(options: Sequence[Preprocessing]) -> Preprocessing:
    """Return the option, RGB if the order is all that is open. Raises ForeignModelUnclear."""
    names = list(dict.fromkeys(each.name for each in options))
    if len(names) > 1:
        raise ForeignModelUnclear(
            "nothing in the file tells how its pixels were prepared: give "
            f"{parameter('pixels')} with one of {', '.join(names)} or DIVISOR/MEAN/STD (and "
            f"{parameter('channels', 'bgr')} if blue comes first), or {parameter('data')} with "
            "labeled images, on which the usual ways are tried"
        )
    return options[0]


def _contradicted(
    said: PreprocessingTrial,
    trials: Sequence[PreprocessingTrial],
    image: ImageInput,
    constant: float,
) -> tuple[str, ...]:
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
        return ()
    pixels = said.preprocessing.normalization
    better.sort(key=lambda each: each.preprocessing.normalization != pixels)  # in their order else
    return (
        f"the labeled images contradict how pixels are prepared: with {said.name} the model is "
        f"right on {100 * said.accuracy:.0f} % of {said.images} images (NLL {said.nll:.3g}), with "
        f"{better[0].name} on {100 * better[0].accuracy:.0f} % (NLL {better[0].nll:.3g}). Give "
        f"{_typed(better[0].preprocessing, image)} if the model was trained so",
    )


def _unsaid(best: PreprocessingTrial, image: ImageInput) -> str:
    return (
        f"Nobody said how pixels are prepared. {_typed(best.preprocessing, image)} is the "
        "likeliest of the usual ways; a network may be fairly right with another than its maker's. "
        "Ask whoever trained the model, and say it."
    )


def _untold(
    best: PreprocessingTrial, trials: Sequence[PreprocessingTrial], image: ImageInput
) -> tuple[str, ...]:
    """Say which of the trials the labels do not tell from the likeliest."""
    rivals = [
        each
        for each in trials
        if each is not best
        and not (best.is_likelier_than(each) and not each.is_more_accurate_than(best))
        and not _is_turned_gray(best, each)
    ]
    if not rivals:
        return ()
    names = " or ".join(
        f"{each.name} ({100 * each.accuracy:.1f} % right)" for each in rivals[:_SHOWN]
    )
    return (
        f"{best.images} labeled images do not tell {best.name} ({100 * best.accuracy:.1f} % right) "
        f"from {names}: their NLLs are equal or differ by less than chance, or the likelier one is "
        "right less often. Ask whoever trained the model, and give "
        f"{_typed(best.preprocessing, image)} or another {parameter('pixels')}",
    )


def _is_turned_gray(best: PreprocessingTrial, other: PreprocessingTrial) -> bool:
    """Whether they differ in the order of channels alone, and images are gray: it is the same."""
    same = best.preprocessing.normalization == other.preprocessing.normalization
    return same and abs(best.losses - other.losses).max() < 1e-6


def _turned(
    trial: PreprocessingTrial, run: Run, image: ImageInput, truth: Truth, progress: Progress
) -> tuple[str, ...]:
    """Say whether the labels speak for an input whose columns come before its rows."""
    if image.height != image.width:
        return ()
    option = trial.preprocessing
    (turned,) = try_preprocessings(
        [option],
        lambda prepared: run(prepared.swapaxes(2, 3)),
        image,
        truth,
        progress=progress,
    )
    better = turned.accuracy > max(trial.accuracy, _constant(truth))
    if not (better and turned.is_likelier_than(trial, errors=PROVEN)):
        return ()
    return (
        f"the labeled images contradict the layout of the input: the model is right on "
        f"{100 * trial.accuracy:.0f} % of {trial.images} images, and on "
        f"{100 * turned.accuracy:.0f} % with rows and columns exchanged. Give "
        f"{parameter('layout', image.turned_layout)} if its input has columns first",
    )


def _constant(truth: Truth) -> float:
    """The share of the commonest kind of labels in the half to fit on."""
    return float(
        np.bincount(truth.strata[~truth.data.held_out]).max() / (~truth.data.held_out).sum()
    )


def _typed(option: Preprocessing, image: ImageInput) -> str:
    """What to type for an option."""
    order = parameter("channels", option.order) if image.channels == 3 else ""
    pixels = "" if option.name == "given" else parameter("pixels", option.name)
    return " ".join(each for each in (pixels, order) if each)
