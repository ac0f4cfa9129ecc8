"""A plain image folder: {train,val,test}/CLASS/**/*.jpg, or CLASS/**/*.jpg without splits.

Existing split folders are kept. Without `val`, a fifth of `train` becomes val; without any, all
images are divided 64 : 16 : 20. Both draws are stratified, keep groups and identical files
together, and depend only on the sorted file names and the seed.
"""

from pathlib import Path

from model_store.image.suffixes import SUFFIX_LIST, images_below
from training.datasets.errors import BadDataset
from training.datasets.layouts.layout import Layout, visible
from training.datasets.records import Listing, Record, SplitName

SPLIT_FOLDERS: dict[str, SplitName] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


def read(root: Path) -> Listing:
    """The listing of `root`. Raises BadDataset for fewer than two classes or a class without
    images.
    """
    given = {name: root / name for name in SPLIT_FOLDERS if (root / name).is_dir()}
    if given and not {"train", "test"} <= given.keys():
        raise BadDataset(
            root,
            f"has the splits {', '.join(given)}; expected train and test, optionally val, or "
            "class folders",
        )
    classes = _classes(list(given.values()) or [root])
    records: list[Record] = []
    for name, folder in given.items():
        records += _records(folder, classes, SPLIT_FOLDERS[name])
    return Listing(
        root.resolve().name,
        "folder",
        root,
        classes,
        tuple(records or _records(root, classes, None)),
    )


def _classes(folders: list[Path]) -> tuple[str, ...]:
    """Names of the class folders, which must be the same in every split."""
    found = {
        folder: tuple(each.name for each in visible(folder) if each.is_dir()) for folder in folders
    }
    first, classes = next(iter(found.items()))
    if len(classes) < 2:
        raise BadDataset(
            first, f"has {len(classes)} class folders; expected two or more, one per class"
        )
    for folder, names in found.items():
        if names != classes:
            raise BadDataset(
                folder, f"has the classes {', '.join(names)}, but {first} has {', '.join(classes)}"
            )
    return classes


def _records(folder: Path, classes: tuple[str, ...], split: SplitName | None) -> list[Record]:
    records: list[Record] = []
    for label, name in enumerate(classes):
        images = images_below(folder / name)
        if not images:
            raise BadDataset(folder / name, f"has no images; looked for {SUFFIX_LIST}")
        records += [Record(path, label, split=split) for path in images]
    return records


FOLDER = Layout(
    "folder", "[train|val|test/]CLASS/**/IMAGE", lambda path: path if path.is_dir() else None, read
)
