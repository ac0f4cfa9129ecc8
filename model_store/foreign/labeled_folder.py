"""A folder of labeled images, FOLDER/CLASS/**/IMAGE, divided into halves to fit and to measure.

Images of one patient, and identical files, stay in one half. Patients are those of DICOM files, or
what a pattern finds in the file names.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from calibration.grouping import NO_GROUP, groups_of_images
from calibration.sampling import grouped_parts, joined
from calibration.splits import SPLITS
from model_store.errors import ImageError, LabeledFolderRefused
from model_store.foreign.class_scores import Reading
from model_store.image import InputSpec, decode, is_dicom, open_image, patient_of
from model_store.image.suffixes import SUFFIX_LIST, images_below

MIN_IMAGES: Final = 10  # in all; with fewer neither half says anything
MIN_UNLABELED: Final = 38  # half of them is the fewest with a p-value as small as 0.05
BATCH: Final = 16


@dataclass(frozen=True)
class LabeledImages:
    """Image files, their labels as names, and the half to which each belongs.

    Attributes:
        root: the folder; `fingerprint` sha256 over names, labels and contents.
        labels: (N,) the class of each, by name, with accents as one letter (a Mac takes two).
        held_out: (N,) whether it belongs to the half that measures.
        grouped_by: what keeps images together, for people.
    """

    root: Path
    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    held_out: npt.NDArray[np.bool_]
    fingerprint: str
    grouped_by: str
    reading: ClassVar[Reading] = "exclusive"
    shows: ClassVar = "the labeled images have one class each"
    unfit: ClassVar = (  # for a model of the other reading
        "the model gives findings, and the labels one class for each image: give --data a CSV file "
        "with the column path and one for each finding, 1, 0 or blank"
    )

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """The classes that have a folder, in alphabetical order."""
        return tuple(sorted(set(self.labels)))

    def named(self, at: int) -> str:
        """Return the label of an image in words."""
        return self.labels[at]

    def indices(self, classes: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return labels as places in `classes`. Raises LabeledFolderRefused for another folder."""
        place = {normalize("NFC", name): at for at, name in enumerate(classes)}
        unknown = [each for each in self.folders if each not in place]
        if unknown:
            raise LabeledFolderRefused(
                f"{self.root} has the folders {', '.join(unknown)[:300]}, which are no classes of "
                f"the model; its classes are {', '.join(classes)[:300]}. Rename the folders, or "
                "give --classes in the order of the model's scores"
            )
        return np.array([place[each] for each in self.labels], np.int64)


@dataclass(frozen=True)
class UnlabeledImages:
    """Image files, and whether each (N,) belongs to the half that calibrates the scope check."""

    paths: tuple[Path, ...]
    held_out: npt.NDArray[np.bool_]

    def named(self, _at: int) -> str:
        """Return the label of an image in words, which is not known."""
        return ""


def read_labeled_folder(
    root: Path, *, group: str | None = None, group_pattern: str | None = None
) -> LabeledImages:
    """List and divide a labeled folder. Raises LabeledFolderRefused."""
    if not root.is_dir():
        raise LabeledFolderRefused(
            f"{root} is no folder; expected {root.name}/CLASS/IMAGE, one folder for each class"
        )
    base = _base(root)
    classes = sorted(folder.name for folder in _folders(base))
    files = [
        (path, normalize("NFC", name)) for name in classes for path in images_below(base / name)
    ]
    names = tuple(name for _, name in files)
    if len(set(names)) < 2:
        raise LabeledFolderRefused(
            f"{base} has images in {len(set(names))} class folders; expected two "
            f"or more, as in {base.name}/CLASS/IMAGE ({SUFFIX_LIST})"
        )
    if len(files) < MIN_IMAGES:
        raise LabeledFolderRefused(
            f"{base} has {len(files)} images; at least {MIN_IMAGES} are needed to fit and to "
            "measure"
        )
    paths = tuple(path for path, _ in files)
    digests = content_digests(paths)
    groups, grouped_by = image_groups(base, paths, group=group, pattern=group_pattern, labels=names)
    _, labels = np.unique(names, return_inverse=True)
    held_out = held_out_half(labels, joined(groups, digests), base)
    total = hashlib.sha256()
    for (path, name), digest in zip(files, digests, strict=True):
        total.update(f"{name}\0{path.relative_to(base).as_posix()}\0{digest}\n".encode())
    return LabeledImages(base, paths, names, held_out, total.hexdigest(), grouped_by)


def read_unlabeled_folder(
    root: Path, *, group: str | None = None, group_pattern: str | None = None
) -> UnlabeledImages:
    """List images anywhere below a folder, and divide them. Raises LabeledFolderRefused.

    A `group` answers for the folder that each image stands alone, as it has no columns.
    """
    paths = tuple(images_below(root)) if root.is_dir() else ()
    if len(paths) < MIN_UNLABELED:
        raise LabeledFolderRefused(
            f"{root} has {len(paths)} images; a scope check needs {MIN_UNLABELED} ({SUFFIX_LIST})"
        )
    alone = None if group is None else NO_GROUP
    groups, _ = image_groups(root, paths, group=alone, pattern=group_pattern)
    units = joined(groups, content_digests(paths))
    return UnlabeledImages(paths, held_out_half(np.zeros(len(paths), np.int64), units, root))


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
            "--group-pattern"
        )
    return held_out


def _base(root: Path) -> Path:
    """Return the folder with the class folders: of splits, that which training saw least."""
    splits = {SPLITS.get(path.name.casefold()): path for path in sorted(_folders(root))}
    if splits and None not in splits:
        return next(splits[name] for name in ("test", "val", "train") if name in splits)
    return root


def _folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]


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


def common_size(paths: Sequence[Path]) -> tuple[int, int] | None:
    """Return height and width of the images if a sample of them all have the same, else None."""
    sizes = set()
    for path in paths[:: max(1, len(paths) // 8)]:
        try:
            opened = open_image(path.read_bytes(), frames="first")
        except ImageError:
            continue
        sizes.add((opened.height, opened.width))
    return sizes.pop() if len(sizes) == 1 else None


def highest_value(paths: Sequence[Path]) -> int | None:
    """Return the highest value in a sample of the gray images of 16 bits, None without any."""
    values = []
    for path in paths[:: max(1, len(paths) // 8)]:
        try:
            opened = open_image(path.read_bytes(), frames="first")
        except ImageError:
            continue
        if opened.mode.startswith("I"):
            values.append(int(np.asarray(opened).max()))
    return max(values, default=None)


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
