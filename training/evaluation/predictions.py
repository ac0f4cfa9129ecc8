"""What a network says of validation and test, and the files of a run that hold it."""

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from calibration.cross_fitting import fold_numbers
from training.datasets.table import Labels
from training.errors import BadRun

EvaluatedSplit = Literal["val", "test"]
EVALUATED: tuple[EvaluatedSplit, ...] = ("val", "test")


@dataclass(frozen=True)
class Predictions:
    """Logits float32 (N, K), labels of classes int64 (N,) or of findings (N, K), patients int64
    (N,) if known.
    """

    logits: NDArray[np.float32]
    labels: Labels
    groups: NDArray[np.int64] | None = None

    @property
    def has_findings(self) -> bool:
        """Whether a label says of each finding if it is there."""
        return self.labels.ndim == 2


def tenths(labels: Labels, groups: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The tenth (N,) of each image of validation, by labels (N,) and patients (N,); they are fewer
    parts with fewer images or patients. ValueError below two.
    """
    count = len(labels) if groups is None else len(np.unique(groups))
    return fold_numbers(labels, groups, seed=0, count=min(10, count))


def write_results(
    folder: Path,
    *,
    metrics: Mapping[str, Any],
    calibrators: Mapping[str, Any],
    predictions: Mapping[EvaluatedSplit, Predictions],
) -> None:
    """Write metrics.json, calibrators.json, in which NaN is an error, and predictions.npz."""
    for name, data in (("metrics", metrics), ("calibrators", calibrators)):
        text = json.dumps(data, indent=2, allow_nan=False)
        (folder / f"{name}.json").write_text(text + "\n")
    write_predictions(folder, predictions)


def write_predictions(folder: Path, predictions: Mapping[EvaluatedSplit, Predictions]) -> None:
    """Write predictions.npz, which `read_predictions` reads."""
    arrays = {
        f"{split}_{field.name}": getattr(known, field.name)
        for split, known in predictions.items()
        for field in dataclasses.fields(known)
    }
    known_arrays = {name: array for name, array in arrays.items() if array is not None}
    np.savez(folder / "predictions.npz", **known_arrays)


def read_predictions(folder: Path) -> dict[EvaluatedSplit, Predictions]:
    """The predictions of a run by split. Raises BadRun."""
    try:
        with np.load(folder / "predictions.npz", allow_pickle=False) as arrays:
            return {
                split: Predictions(
                    arrays[f"{split}_logits"],
                    arrays[f"{split}_labels"],
                    arrays.get(f"{split}_groups"),
                )
                for split in EVALUATED
            }
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BadRun(
            f"{folder} is not a finished run: predictions.npz cannot be read ({error})"
        ) from error
