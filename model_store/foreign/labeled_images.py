"""Labeled images, divided into halves to fit and to measure.

Images of one patient, and identical files, stay in one half. Patients are those of DICOM files, of
a column, or what a pattern finds in the file names.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from calibration.grouping import groups_of_images
from calibration.sampling import grouped_parts
from calibration.wording import parameter
from model_store.errors import ImageError, LabeledFolderRefused
from model_store.foreign.class_scores import Reading
from model_store.image import InputSpec, decode, is_dicom, patient_of

BATCH: Final = 16


@dataclass(frozen=True)
class LabeledImages:
    """Image files, what is known of each, and the half to which each belongs.

    Attributes:
        root: the folder; `fingerprint` sha256 over names, labels and contents.
        names: the folders of classes, in alphabetical order, or the columns of findings.
        cells: (N, C) 1, 0, or NaN for unknown; of classes one is 1.
        held_out: (N,) whether it belongs to the half that measures.
        groups: (N,) numbers of the sets that stay together; `grouped_by` tells people why.
        reading: whether the names exclude each other.
    """

    root: Path
    paths: tuple[Path, ...]
    names: tuple[str, ...]
    cells: npt.NDArray[np.float64]
    held_out: npt.NDArray[np.bool_]
    groups: npt.NDArray[np.int64]
    fingerprint: str
    grouped_by: str
    reading: Reading

    @property
    def folders(self) -> tuple[str, ...]:
        """The classes that have a folder, in alphabetical order; none of findings."""
        return self.names if self.reading == "exclusive" else ()

    def labels(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return labels (N, K) of the model's `names`; one without images or column is unknown.

        Raises LabeledFolderRefused: a folder is no class of the model, or no finding has a column.
        """
        loose = {plain(name): at for at, name in enumerate(self.names)}
        exact = {normalize("NFC", name): at for at, name in enumerate(self.names)}
        places = [exact.get(normalize("NFC", name)) for name in names]
        if not self.folders:
            places = [
                loose.get(plain(name)) if at is None else at
                for name, at in zip(names, places, strict=True)
            ]
            if not any(at is not None for at in places):
                raise LabeledFolderRefused(
                    f"the table of labels has no column with the name of a finding: it has "
                    f"{', '.join(self.names)[:300]}, and the findings are {', '.join(names)[:300]}"
                )
        elif unknown := [name for at, name in enumerate(self.names) if at not in places]:
            raise LabeledFolderRefused(
                f"{self.root} has the folders {', '.join(unknown)[:300]}, which are no classes of "
                f"the model; its classes are {', '.join(names)[:300]}. Rename the folders, or "
                f"give {parameter('classes')} in the order of the model's scores"
            )
        unknown_labels = np.full(len(self.paths), np.nan)
        columns = [unknown_labels if at is None else self.cells[:, at] for at in places]
        return np.stack(columns, axis=1)


def plain(name: str) -> str:
    """Return the name of a column without its way of writing."""
    name = normalize("NFC", name)
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def content_digests(paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of each file, in hexadecimal."""
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def held_out_half(
    strata: npt.NDArray[np.int64], units: npt.NDArray[np.int64], root: Path
) -> npt.NDArray[np.bool_]:
    """Whether each image (N,) is in the half that measures; `units` (N,) are kept together."""
    held_out = np.zeros(len(strata), np.bool_)
    held_out[grouped_parts(strata, units, (0.5, 0.5), seed=0)[1]] = True
    if held_out.all() or not held_out.any():
        raise LabeledFolderRefused(
            f"all images of {root} belong to one group, so no half can be held out: see "
            f"{parameter('group_pattern')}"
        )
    return held_out


def image_groups(
    base: Path,
    paths: Sequence[Path],
    *,
    group: str | None,
    pattern: str | None,
    columns: Mapping[str, Sequence[str]] | None = None,
    labels: Sequence[str] = (),
) -> tuple[list[str | None], str]:
    """Return the patient of each image, None if unknown, and what tells patients, for people.

    `pattern` is a regular expression on the paths below `base`, `group` one of a table's `columns`
    or NO_GROUP. Without them, a column that is called so or DICOM files tell. Raises
    LabeledFolderRefused, also where other columns or paths look as if they told.
    """
    below = [
        (path.relative_to(base) if path.is_relative_to(base) else path).as_posix() for path in paths
    ]
    given = group is not None or pattern is not None
    patients = [None if given else _patient(path) for path in paths]
    try:
        groups, used = groups_of_images(
            below, columns or {}, patients, labels, group=group, pattern=pattern
        )
    except ValueError as error:
        raise LabeledFolderRefused(f"{base}: {error}") from error
    if pattern is not None:
        return groups, f"what {pattern!r} finds"
    if used is not None:
        return groups, f"the column {used}"
    return groups, "the DICOM PatientID" if any(groups) else "identical files only"


def _patient(path: Path) -> str | None:
    """Return the PatientID of a DICOM file, None for other files and where there is none."""
    data = path.read_bytes()
    try:
        return patient_of(data) if is_dicom(data) else None
    except ImageError:
        return None


def decoded(
    paths: Sequence[Path], chosen: Sequence[int], spec: InputSpec
) -> Iterator[tuple[Sequence[int], npt.NDArray[np.uint8]]]:
    """Give batches of the chosen images: their places, and (n, C, H, W) uint8.

    Raises LabeledFolderRefused: one of them cannot be decoded; the message names it.
    """
    for start in range(0, len(chosen), BATCH):
        places = chosen[start : start + BATCH]
        yield places, np.stack([_decode(paths[at], spec) for at in places])


def _decode(path: Path, spec: InputSpec) -> npt.NDArray[np.uint8]:
    try:
        return decode(path.read_bytes(), spec)
    except ImageError as error:
        raise LabeledFolderRefused(f"{path}: {error}. Remove or replace this file") from error
