"""Mendeley V2, pediatric chest radiographs (Kermany et al. 2018):
chest_xray/{train,test}/{NORMAL,PNEUMONIA}/*.jpeg.

Kaggle's copy moved 16 images from train to `val`. They return to train, from which a fifth is drawn
as val. File names contain the patient (person12_bacteria_47.jpeg, NORMAL2-IM-0535-0001.jpeg,
VIRUS-1980661-0004.jpeg), and the draw keeps patients together. Test numbers its patients
separately, so they are not compared with those of train; the publisher says that they differ.
"""

import re
from pathlib import Path

from model_store.image.suffixes import images_below
from training.datasets.layouts.folder import SPLIT_FOLDERS
from training.datasets.layouts.layout import Layout, find_root
from training.datasets.records import Listing, Record, SplitName

CLASSES = ("NORMAL", "PNEUMONIA")
PATIENT = re.compile(
    r"^(person\d+|(?:NORMAL2-)?IM-\d+|(?:NORMAL|BACTERIA|VIRUS)-\d+)(?=[_.-])", re.IGNORECASE
)
PUBLISHED_TEST = (
    234,
    390,
)  # images of each class in the published test split, which identify the data set


def find(path: Path) -> Path | None:
    """The folder at or below `path` whose train and test contain the folders NORMAL and PNEUMONIA
    and no others.
    """
    return find_root(
        path, lambda folder: all(_has_classes(folder / split) for split in ("train", "test"))
    )


def read(root: Path) -> Listing:
    """The listing of `root`; a data set of another size in this tree counts as the user's own."""
    records: list[Record] = []
    folded = 0
    for folder in (root / name for name in SPLIT_FOLDERS if (root / name).is_dir()):
        split: SplitName = "test" if folder.name == "test" else "train"
        found = [
            Record(path, label, _patient(path, split), split)
            for label, name in enumerate(CLASSES)
            for path in images_below(folder / name)
        ]
        folded += len(found) if folder.name not in ("train", "test") else 0
        records += found
    test = tuple(
        sum(each.split == "test" and each.label == label for each in records) for label in (0, 1)
    )
    notes = (
        (f"the {folded} images of val are put back into train, from which a fifth is drawn",)
        if folded
        else ()
    )
    return Listing(
        "mendeley-v2",
        "mendeley",
        root,
        ("normal", "pneumonia"),
        tuple(records),
        test == PUBLISHED_TEST,
        notes=notes,
    )


def _has_classes(folder: Path) -> bool:
    return folder.is_dir() and {each.name for each in folder.iterdir() if each.is_dir()} == set(
        CLASSES
    )


def _patient(path: Path, split: str) -> str | None:
    found = PATIENT.match(path.name)
    return f"{split}/{found[1].lower()}" if found else None


MENDELEY = Layout("mendeley", "chest_xray/{train,test[,val]}/{NORMAL,PNEUMONIA}/*.jpeg", find, read)
