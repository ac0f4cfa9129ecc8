"""A folder of images: {train,val,test}/CLASS/**/IMAGE, or CLASS/**/IMAGE without splits."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from unicodedata import normalize

import numpy as np

from calibration.shared_parts import are_persons
from calibration.splits import SPLITS
from model_store.image.suffixes import SUFFIX_LIST, images_below
from training.datasets.errors import BadDataset
from training.datasets.finding_labels import require_classes
from training.datasets.table import ImageTable, SplitName
from training.load_options import LoadOptions


def read_folder(root: Path, options: LoadOptions) -> ImageTable:
    """The images of a tree. Raises BadDataset: fewer than two classes, a class without images."""
    require_classes(
        root,
        options,
        "a folder has one class for each image; give a table with a column for each finding",
    )
    folders = _visible_folders(root)
    given: dict[Path, SplitName | None] = {
        each: split
        for name, split in SPLITS.items()
        for each in folders
        if each.name.casefold() == name
    }
    if given and not {"train", "test"} <= set(given.values()):
        names = ", ".join(each.name for each in given)
        raise BadDataset(
            root,
            f"has the splits {names}; expected train and test, optionally val, or class folders",
        )
    given = given or {root: None}
    classes = _classes(list(given))
    found = [
        (path, label, split)
        for folder, split in given.items()
        for path, label in _images(folder, classes)
    ]
    paths, labels, splits = zip(*found, strict=True)
    name = root.resolve().name
    return ImageTable(
        name=name,
        layout="folder",
        root=root,
        classes=classes,
        labels=np.array(labels, np.int64),
        splits=splits,
        paths=paths,
    )


def _classes(folders: Sequence[Path]) -> tuple[str, ...]:
    """Names of the class folders, which must be the same in every split."""
    found = {folder: tuple(_folders_by_class(folder)) for folder in folders}
    first, classes = next(iter(found.items()))
    if len(classes) < 2:
        raise BadDataset(
            first, f"has {len(classes)} class folders; expected two or more, one per class"
        )
    if are_persons(classes):
        raise BadDataset(
            first,
            f"has a folder for each patient, such as {classes[0]}, where one for each class is "
            "expected: arrange images as CLASS/PATIENT/IMAGE, or give a table with the columns "
            "path, label and patient",
        )
    for folder, names in found.items():
        if names != classes:
            raise BadDataset(
                folder, f"has the classes {', '.join(names)}, but {first} has {', '.join(classes)}"
            )
    return classes


def _images(folder: Path, classes: Sequence[str]) -> Iterator[tuple[Path, int]]:
    folders = _folders_by_class(folder)
    for label, name in enumerate(classes):
        images = [image for each in folders[name] for image in images_below(each)]
        if not images:
            raise BadDataset(folder / name, f"has no images; looked for {SUFFIX_LIST}")
        yield from ((image, label) for image in images)


def _folders_by_class(folder: Path) -> dict[str, list[Path]]:
    """The folders of each class, sorted; names whose accents a Mac decomposed are the same."""
    found: dict[str, list[Path]] = {}
    for each in _visible_folders(folder):
        found.setdefault(normalize("NFC", each.name), []).append(each)
    return dict(sorted(found.items()))


def _visible_folders(folder: Path) -> list[Path]:
    """Sorted, without hidden ones and those that macOS adds to archives."""
    return [
        each
        for each in sorted(folder.iterdir())
        if each.is_dir() and not each.name.startswith((".", "__MACOSX"))
    ]
