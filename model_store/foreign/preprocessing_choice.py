"""Which preprocessing a model was trained with, found by trying the usual ones on labeled images.

The right one is usually plain to see: with a wrong one a model is less accurate, and its likelihood
of the true classes is lower at any temperature. It is chosen by that likelihood, on images of the
half on which the temperature is fitted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from model_store.foreign.image_input import ImageInput
from model_store.foreign.inspection import Inspection
from model_store.foreign.labeled_images import decoded
from model_store.foreign.preprocessing import Preprocessing
from model_store.foreign.truth import Truth
from model_store.image import InputSpec

TRIAL_IMAGES: Final = 200  # enough to tell the usual ones apart
CHANCE: Final = 1.96  # standard errors of a difference in NLL
ROUNDING: Final = 1e-6  # of a fitted temperature, in NLL

Logits = npt.NDArray[np.float64]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PreprocessingTrial:
    """How a preprocessing did: accuracy, and each image's NLL after the best temperature."""

    preprocessing: Preprocessing
    name: str
    accuracy: float
    losses: npt.NDArray[np.float64] = field(repr=False, compare=False)

    @property
    def nll(self) -> float:
        """The mean of the losses."""
        return float(self.losses.mean())

    @property
    def images(self) -> int:
        """How many there were."""
        return len(self.losses)

    def is_likelier_than(self, other: "PreprocessingTrial", *, errors: float = CHANCE) -> bool:
        """Whether its NLL is lower, on the same images, by more standard errors than chance.

        Where both are always right, any NLL can be had by a temperature, so they do not differ.
        """
        if self.accuracy == other.accuracy == 1:
            return False
        lower = other.losses - self.losses
        error = lower.std(ddof=1) / np.sqrt(len(lower)) if len(lower) > 1 else np.inf
        return bool(lower.mean() > errors * error + ROUNDING)

    def is_more_accurate_than(self, other: "PreprocessingTrial") -> bool:
        """Whether it is right more often by more than chance."""
        spread = sum(each.accuracy * (1 - each.accuracy) for each in (self, other))
        return self.accuracy - other.accuracy > CHANCE * float(np.sqrt(spread / self.images))


def try_preprocessings(
    options: Sequence[Preprocessing],
    inspection: Inspection,
    truth: Truth,
    *,
    progress: Progress,
    turned: bool = False,
) -> list[PreprocessingTrial]:
    """Try each on the images of `truth` that are not held out; the best comes first.

    They have one size. `turned`: with rows and columns exchanged.
    """
    image, chosen, done = inspection.image, _sample(truth), 0
    rows: list[list[Logits]] = [[] for _ in options]
    for places, pixels in decoded(truth.data.paths, chosen, spec_of(options[0], image)):
        for option, found in zip(options, rows, strict=True):
            prepared = option.apply(pixels, image)
            found.append(inspection.run(prepared.swapaxes(2, 3) if turned else prepared)[0])
            done += len(places)
            progress("try preprocessing", done, len(chosen) * len(options))
    trials = (
        PreprocessingTrial(
            option,
            option.described(image.channels),
            *truth.judge(np.concatenate(logits), chosen),
        )
        for option, logits in zip(options, rows, strict=True)
    )
    return sorted(trials, key=lambda trial: trial.nll)


def spec_of(preprocessing: Preprocessing, image: ImageInput) -> InputSpec:
    """Return what the decoder has to make."""
    height, width = preprocessing.decoded_size(image)
    return InputSpec(
        1 if image.channels == 1 else 3,
        height,
        width,
        preprocessing.resize,
        preprocessing.window,
        bits=preprocessing.bits,
        resample=preprocessing.resample,
    )


def _sample(truth: Truth) -> list[int]:
    """Return some TRIAL_IMAGES of the half to fit on, the same share of each class."""
    fitting, strata = np.flatnonzero(~truth.data.held_out), truth.strata
    if len(fitting) <= TRIAL_IMAGES:
        return [int(at) for at in fitting]
    random = np.random.default_rng(0)
    chosen: list[int] = []
    for stratum in np.unique(strata[fitting]):
        members = random.permutation(fitting[strata[fitting] == stratum])
        chosen += members[: max(1, round(TRIAL_IMAGES * len(members) / len(fitting)))].tolist()
    return sorted(chosen)
