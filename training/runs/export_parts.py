"""What an export publishes, besides what the record of the run says."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_store.bundle.card import Verification
from model_store.bundle.finding_card import ThresholdRule
from training.evaluation.calibrators import Method


@dataclass(frozen=True)
class ExportChoices:
    """What the user chose, as `training.runs.export.export` takes it. `rules`: how the threshold of
    each finding is chosen, by name; EVERY stands for the others.
    """

    calibrator: Method
    anyway: bool
    rules: Mapping[str, ThresholdRule]


EVERY: Final = ""


@dataclass(frozen=True)
class ExportParts:
    """The graph, the card's fields about calibrators and promises, and where the model fails though
    it is of use."""

    onnx: bytes
    described: Mapping[str, Any]
    shortcomings: tuple[str, ...] = ()


def verification(difference: float, samples: NDArray[np.uint8]) -> Verification:
    """The record of a comparison of ONNX Runtime with torch on `samples`."""
    return Verification(
        images=len(samples),
        alone=len(samples),
        max_difference=difference,
        libraries={library: version(library) for library in ("onnxruntime", "torch")},
    )
