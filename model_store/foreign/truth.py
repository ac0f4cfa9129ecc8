"""What labeled images say: exclusive classes, or findings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from model_store.errors import LabeledFolderRefused
from model_store.foreign.class_scores import Reading
from model_store.foreign.class_truth import ClassTruth
from model_store.foreign.finding_truth import FindingTruth
from model_store.foreign.labeled_folder import LabeledImages, read_labeled_folder
from model_store.foreign.labeled_table import FindingImages, read_labeled_table

Truth: TypeAlias = ClassTruth | FindingTruth
LabeledData: TypeAlias = LabeledImages | FindingImages
_TRUTHS: Final[dict[Reading, Callable[[Any, tuple[str, ...]], Truth]]] = {
    "exclusive": lambda data, names: ClassTruth(data, names, data.indices(names)),
    "findings": lambda data, names: FindingTruth(data, names, data.labels(names)),
}


def read_labeled(
    path: Path, *, group: str | None = None, group_pattern: str | None = None
) -> LabeledData:
    """Read a folder of classes, or a table of findings. Raises LabeledFolderRefused."""
    if path.is_file():
        return read_labeled_table(path, group=group, group_pattern=group_pattern)
    return read_labeled_folder(path, group=group, group_pattern=group_pattern)


def truth_of(data: LabeledData, names: tuple[str, ...], reading: Reading) -> Truth:
    """Return the labels in the order of the model's scores. Raises LabeledFolderRefused."""
    if data.reading != reading:
        raise LabeledFolderRefused(data.unfit)
    return _TRUTHS[reading](data, names)
