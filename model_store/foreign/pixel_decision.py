"""Which preprocessing a bundle gets: what the caller or the maker says, or what a trial finds.

Labeled images prove it. Where they contradict what was said, or do not tell preprocessings apart,
the import is refused with the option that mends it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from model_store.errors import ForeignModelRefused, ForeignModelUnclear, LabeledFolderRefused
from model_store.foreign.image_input import ImageInput
from model_store.foreign.import_choices import ImportChoices
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

PROVEN: Final = 3.0  # standard errors of NLL by which something else contradicts what was said
_SHOWN: Final = 4  # rivals in a sentence


@dataclass(frozen=True)
class Decision:
    """A preprocessing, why it was chosen, what was tried, the best first, and what is doubtful."""

    preprocessing: Preprocessing
    why: str
    trials: tuple[PreprocessingTrial, ...] = ()
    doubts: tuple[str, ...] = ()

    def sentence(self, image: ImageInput) -> str:
        """Say it to people."""
        best = self.preprocessing
        meaning = f" ({MEANINGS.get(best.name) or best.normalization.formula})"
        sized = "stretched to size" if best.resize == "stretch" else "scaled and cropped to size"
        deep = ""
        if best.bits != 16:
            deep = f", {best.bits} bits in 256 steps of {2 ** (best.bits - 8)}"
        return (
            f"{best.described(image.channels)}{meaning}{deep}, {sized}, {best.resample}; {self.why}"
        )


def decide(
    source: ForeignSource,
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
        LabeledFolderRefused: labeled images contradict what the caller or the maker says.
        ForeignModelRefused: numbers that were given do not fit the channels.
    """
    sized = _Sizes(source, choices)
    usuals = [sized.of(each) for each in usual(image)]
    order = choices.order or source.order
    notes: tuple[str, ...] = ()
    given = choices.pixels or source.normalization
    if given is not None:
        chosen = sized.of(_said(given, order, image))
        why = "as given" if choices.pixels else source.preprocessing_from
        if truth is None:
            return Decision(chosen, why)
        if image.channels == 3:  # what was said, in the other order
            usuals = [replace(chosen, order="rgb" if chosen.order == "bgr" else "bgr"), *usuals]
        rivals = [each for each in usuals if not _same(each, chosen)]
        trials = try_preprocessings([chosen, *rivals], run, image, truth, progress=progress)
        trial = next(each for each in trials if each.preprocessing is chosen)
        doubts = _contradicted(trial, trials, image, _constant(truth))
    else:
        options = [each for each in usuals if choices.order in (None, each.order)]
        if truth is None:
            return Decision(_only(options), "the only one for such an input")
        trials = try_preprocessings(options, run, image, truth, progress=progress)
        trial = trials[0]
        chosen = trial.preprocessing
        why = f"the likeliest of {len(trials)} on {trial.images} labeled images"
        doubts = _untold(trial, trials, image)
        notes = (_unsaid(trial, image), *_passed_over(trial, trials))
    turned = _turned(trial, run, image, truth, progress)
    doubts = (*turned, *doubts)
    if doubts and not choices.anyway:
        refusal = LabeledFolderRefused if given is not None or turned else ForeignModelUnclear
        raise refusal(f"{doubts[0]}, or --anyway to publish it all the same")
    notes = (*(f"{each}." for each in doubts), *notes)
    return Decision(chosen, why, tuple(trials), notes)


@dataclass(frozen=True)
class _Sizes:
    """How images get their size and their gray values, which no trial decides."""

    source: ForeignSource
    choices: ImportChoices

    def of(self, option: Preprocessing) -> Preprocessing:
        """Return the option with what the caller or the maker says of size and bits."""
        said, source = self.choices, self.source
        deep = option if said.bits is None else of_bits(option, said.bits)
        return replace(
            deep,
            resize=said.resize or source.resize or "stretch",
            resample=source.resample,
            decoded=said.decoded or source.decoded,
            window=said.window,
        )


def _said(
    given: tuple[str, Normalization], order: Order | None, image: ImageInput
) -> Preprocessing:
    name, numbers = given
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
            "nothing in the file tells how its pixels were prepared: give --pixels with one of "
            f"{', '.join(names)} or DIVISOR/MEAN/STD (and --channels bgr if blue comes first), or "
            "--data with labeled images, on which the usual ways are tried"
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
        f"{_typed(best.preprocessing, image)} or another --pixels",
    )


def _passed_over(best: PreprocessingTrial, trials: Sequence[PreprocessingTrial]) -> tuple[str, ...]:
    """Say which trial is right more often than the likeliest."""
    most = max(trials, key=lambda each: each.accuracy)
    if most.accuracy <= best.accuracy:
        return ()
    return (
        f"{most.name} was right more often than {best.name} ({100 * most.accuracy:.1f} against "
        f"{100 * best.accuracy:.1f} % of {best.images} images), by no more than chance; its "
        f"probabilities fit the labels less (NLL {most.nll:.3g} against {best.nll:.3g}).",
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
        f"{100 * turned.accuracy:.0f} % with rows and columns exchanged. Give --layout "
        f"{image.turned_layout} if its input has columns first",
    )


def _constant(truth: Truth) -> float:
    """The share of the commonest kind of labels in the half to fit on."""
    return float(
        np.bincount(truth.strata[~truth.data.held_out]).max() / (~truth.data.held_out).sum()
    )


def _typed(option: Preprocessing, image: ImageInput) -> str:
    """What to type for an option."""
    order = f"--channels {option.order}" if image.channels == 3 else ""
    pixels = "" if option.name == "given" else f"--pixels {option.name}"
    return " ".join(each for each in (pixels, order) if each)
