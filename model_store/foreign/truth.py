"""What labeled images say: exclusive classes, or findings. Here import asks which of the two."""

from pathlib import Path
from typing import TypeAlias

from model_store.errors import LabeledFolderRefused
from model_store.foreign.card_figures import CardFigures, uncalibrated
from model_store.foreign.class_scores import Reading
from model_store.foreign.class_truth import ClassTruth
from model_store.foreign.finding_truth import FindingTruth
from model_store.foreign.labeled_folder import LabeledImages, read_labeled_folder
from model_store.foreign.labeled_table import FindingImages, read_labeled_table

Truth: TypeAlias = ClassTruth | FindingTruth
LabeledData: TypeAlias = LabeledImages | FindingImages


def read_labeled(path: Path, *, group_pattern: str | None = None) -> LabeledData:
    """Read a folder of classes, or a table of findings. Raises LabeledFolderRefused."""
    if path.is_file():
        return read_labeled_table(path, group_pattern=group_pattern)
    return read_labeled_folder(path, group_pattern=group_pattern)


def reading_of(data: LabeledData | None) -> Reading | None:
    """Return whether the labels are of classes that exclude each other, None without labels."""
    if data is None:
        return None
    return "findings" if isinstance(data, FindingImages) else "exclusive"


def truth_of(data: LabeledData, names: tuple[str, ...], reading: Reading) -> Truth:
    """Return the labels in the order of the model's scores. Raises LabeledFolderRefused."""
    if reading_of(data) != reading:
        raise LabeledFolderRefused(
            "the model gives findings, and the labels one class for each image: give --data a CSV "
            "file with the column path and one for each finding, 1, 0 or blank"
            if reading == "findings"
            else "the model's classes exclude each other, and the labels are a table of findings: "
            "give --data a folder, FOLDER/CLASS/IMAGE"
        )
    if isinstance(data, FindingImages):
        return FindingTruth(data, names, data.labels(names))
    return ClassTruth(data, names, data.indices(names))


def unlabeled(reading: Reading, names: tuple[str, ...]) -> CardFigures:
    """Return what a card says without labels."""
    return uncalibrated(names if reading == "findings" else None)
