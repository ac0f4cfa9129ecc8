"""Labeled images, divided into halves to fit and to measure.

Images of one patient, and identical files, stay in one half. Patients are those of DICOM files, of
a column, or what a pattern finds in the file names.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from calibration.grouping import groups_of_images
from calibration.sampling import findings_parts, grouped_parts, joined
from calibration.wording import parameter
from model_store.errors import ImageError, LabeledFolderRefused
from model_store.foreign.class_names import plain
from model_store.foreign.class_scores import Reading
from model_store.image import InputSpec, decode, is_dicom, patient_of

BATCH: Final = 16
MIN_IMAGES: Final = 10  # in all; with fewer neither half says anything


@dataclass(frozen=True)
class LabeledImages:
    """Image files, what is known of each, and the half to which each belongs.

    Attributes:
        root: the folder; `fingerprint` sha256 over names, labels and contents.
        names: of classes or findings; `reading` says which.
        cells: (N, C) 1, 0, or NaN for unknown; of classes one is 1.
        held_out: (N,) whether it belongs to the half that measures.
        groups: (N,) numbers of the sets that stay together; `grouped_by` tells people why.
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
        """The classes in alphabetical order; none of findings."""
        return self.names if self.reading == "exclusive" else ()

    def labels(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return labels (N, K) of the model's `names`; one without images or column is unknown.

        Raises LabeledFolderRefused: a class of the images is none of the model's, or no finding has
        a column.
        """
        theirs = [normalize("NFC", name) for name in names]
        loose = {plain(name): at for at, name in enumerate(self.names) if name not in theirs}
        exact = {name: at for at, name in enumerate(self.names)}
        places = [exact.get(name, loose.get(plain(name))) for name in theirs]
        unknown = [name for at, name in enumerate(self.names) if at not in places]
        if unknown and (self.folders or len(unknown) == len(self.names)):
            raise LabeledFolderRefused(
                f"{self.root} has labels of {', '.join(unknown)[:300]}, which the model does not "
                f"know: it has {', '.join(names)[:300]}. Rename them, or give "
                f"{parameter('classes')} in the order of the model's scores"
            )
        nothing = np.full(len(self.paths), np.nan)
        return np.stack([nothing if at is None else self.cells[:, at] for at in places], axis=1)


def divided(
    root: Path,
    paths: Sequence[Path],
    names: tuple[str, ...],
    labels: npt.NDArray[Any],
    columns: Mapping[str, Sequence[str]],
    *,
    group: str | None = None,
    group_pattern: str | None = None,
) -> LabeledImages:
    """Divide images below `root` into halves.

    Args:
        labels: places in `names` (N,), or of findings 1, 0 and NaN (N, K).
        columns: cells (N,) of what else is said, such as the patient.
        group, group_pattern: as `calibration.grouping.groups_of_images` takes them.

    Raises LabeledFolderRefused, also where columns or paths look as if they told patients apart.
    """
    if len(paths) < MIN_IMAGES:
        raise LabeledFolderRefused(
            f"{root} has {len(paths)} images; at least {MIN_IMAGES} are needed to fit and to "
            "measure"
        )
    digests, patients = zip(*map(_digest_and_patient, paths), strict=True)
    below = [
        (path.relative_to(root) if path.is_relative_to(root) else path).as_posix() for path in paths
    ]
    exclusive = labels.ndim == 1
    try:
        groups, used = groups_of_images(
            below,
            columns,
            patients,
            labels.tolist() if exclusive else (),
            group=group,
            pattern=group_pattern,
        )
    except ValueError as error:
        raise LabeledFolderRefused(f"{root}: {error}") from error
    units = joined(groups, digests)
    parts = grouped_parts if exclusive else findings_parts
    held_out = np.zeros(len(paths), np.bool_)
    held_out[parts(labels, units, (0.5, 0.5), seed=0)[1]] = True
    if held_out.all() or not held_out.any():
        raise LabeledFolderRefused(
            f"all images of {root} belong to one group, so no half can be held out: see "
            f"{parameter('group_pattern')}"
        )
    told = "the DICOM PatientID" if any(groups) else "identical files only"
    if group_pattern is not None:
        told = f"what {group_pattern!r} finds"
    total = hashlib.sha256(repr(names).encode())
    for name, digest, row in zip(below, digests, labels.tolist(), strict=True):
        total.update(f"{name}\0{digest}\0{row}\n".encode())
    return LabeledImages(
        root,
        tuple(paths),
        names,
        np.eye(len(names))[labels] if exclusive else labels,
        held_out,
        units,
        total.hexdigest(),
        told if used is None else f"the column {used}",
        "exclusive" if exclusive else "findings",
    )


def decoded(
    paths: Sequence[Path], chosen: Sequence[int], spec: InputSpec
) -> Iterator[tuple[Sequence[int], npt.NDArray[np.uint8]]]:
    """Give batches of the chosen images: their places, and (n, C, H, W) uint8.

    Raises LabeledFolderRefused: one of them cannot be decoded; the message names it.
    """
    for start in range(0, len(chosen), BATCH):
        places = chosen[start : start + BATCH]
        yield places, np.stack([_decoded(paths[at], spec) for at in places])


def _decoded(path: Path, spec: InputSpec) -> npt.NDArray[np.uint8]:
    try:
        return decode(path.read_bytes(), spec)
    except ImageError as error:
        raise LabeledFolderRefused(f"{path}: {error}. Remove or replace this file") from error


def _digest_and_patient(path: Path) -> tuple[str, str | None]:
    """Return the SHA-256 of a file, and the PatientID of one that is DICOM."""
    try:
        data = path.read_bytes()
        patient = patient_of(data) if is_dicom(data) else None
    except OSError as error:
        raise LabeledFolderRefused(f"{path} cannot be read ({error.strerror})") from error
    except ImageError:  # `decoded` says why
        patient = None
    return hashlib.sha256(data).hexdigest(), patient
