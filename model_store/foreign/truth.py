"""What labeled images say: exclusive classes, or findings."""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from calibration.wording import parameter
from model_store.errors import LabeledFolderRefused
from model_store.foreign.class_scores import Reading
from model_store.foreign.class_truth import ClassTruth
from model_store.foreign.finding_truth import FindingTruth
from model_store.foreign.labeled_images import LabeledImages

Truth: TypeAlias = ClassTruth | FindingTruth
_TRUTHS: Final[dict[Reading, Callable[..., Truth]]] = {
    "exclusive": lambda data, names, labels: ClassTruth(
        data, names, np.nan_to_num(labels).argmax(axis=1)
    ),
    "findings": FindingTruth,
}
_UNFIT: Final[dict[Reading, str]] = {
    "exclusive": "the model's classes exclude each other, and the labels are a table of findings: "
    "give {} a folder, FOLDER/CLASS/IMAGE",
    "findings": "the model gives findings, and the labels one class for each image: give {} a CSV "
    "file with the column path and one for each finding, 1, 0 or blank",
}


def truth_of(data: LabeledImages, names: tuple[str, ...], reading: Reading) -> Truth:
    """Return the labels in the order of the model's scores. Raises LabeledFolderRefused."""
    if data.reading != reading:
        raise LabeledFolderRefused(_UNFIT[reading].format(parameter("data")))
    return _TRUTHS[reading](data, names, data.labels(names))
