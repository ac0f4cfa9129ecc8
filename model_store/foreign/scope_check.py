"""The scope check of an imported graph, fitted on statistics of the labeled images alone."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from model_store.bundle.card import ScopeCard
from model_store.bundle.scope import (
    MOST_CALIBRATED,
    MOST_FITTED,
    ScopeFeatures,
    fit_scope,
    statistics,
    with_scope,
)
from model_store.foreign.labeled_images import LabeledImages, decoded
from model_store.image import InputSpec

SPLIT: Final = "held-out half of the images"
_NONE: Final = "There is no scope check:"


@dataclass(frozen=True)
class CheckedGraph:
    """A bundle's graph, what its card says of the scope check, and why there is none."""

    onnx: bytes
    card: ScopeCard | None = None
    notes: tuple[str, ...] = ()


def with_scope_check(model: bytes, data: LabeledImages | None, spec: InputSpec) -> CheckedGraph:
    """Fit a scope check on images, one half of them describing and the other calibrating.

    The labels of `data` are not used.
    """
    if data is None:
        return CheckedGraph(model, notes=(f"{_NONE} no images were given to fit it on.",))
    halves = ((~data.held_out, MOST_FITTED), (data.held_out, MOST_CALIBRATED))
    fitted, calibrated = (_statistics(data, half, most, spec) for half, most in halves)
    check = fit_scope(ScopeFeatures(fitted, calibrated, maps=0), split=SPLIT)
    if check is None:
        return CheckedGraph(
            model, notes=(f"{_NONE} {len(calibrated)} images cannot calibrate it.",)
        )
    return CheckedGraph(with_scope(model, check.parameters), check.card)


def _statistics(
    data: LabeledImages, half: npt.NDArray[np.bool_], most: int, spec: InputSpec
) -> npt.NDArray[np.float32]:
    """The statistics (n, D) of at most so many images, evenly spread over the half."""
    numbers = np.flatnonzero(half)
    chosen = numbers[np.linspace(0, len(numbers) - 1, min(len(numbers), most)).astype(np.int64)]
    batches = decoded(data.paths, chosen.tolist(), spec)
    return np.concatenate([statistics(pixels) for _, pixels in batches])
