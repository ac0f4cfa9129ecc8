"""CBIS-DDSM, film mammograms (Lee et al. 2017): four tables and a tree of DICOM files, which has
two forms.

The tables {mass,calc}_case_description_{train,test}_set.csv have one row per finding; an image with
several findings gets the label of the worst. Their paths, PATIENT_VIEW/study UID/series
UID/000000.dcm, sometimes end in line breaks and match only the first form of the tree. The second
form names folders by date and number, so there the SeriesInstanceUID is read from the files. The
DICOM PatientID differs between views, so the group is the table's patient_id.
"""

from pathlib import Path, PurePosixPath

import pydicom
from pydicom.errors import InvalidDicomError

from model_store.image.suffixes import images_below
from training.datasets.errors import BadDataset
from training.datasets.layouts.layout import Layout, find_root, read_table
from training.datasets.records import Listing, Record, SplitName

SPLITS: dict[str, SplitName] = {"train": "train", "test": "test"}
TABLES = {
    f"{kind}_case_description_{name}_set.csv": split
    for kind in ("mass", "calc")
    for name, split in SPLITS.items()
}
COLUMNS = ("patient_id", "pathology", "image file path")
CLASSES = ("benign", "malignant")
LABELS = {"BENIGN": 0, "BENIGN_WITHOUT_CALLBACK": 0, "MALIGNANT": 1}


def find(path: Path) -> Path | None:
    """The folder at or below `path` with at least one table of train and one of test."""

    def fits(folder: Path) -> bool:
        return {split for name, split in TABLES.items() if (folder / name).is_file()} == {
            "train",
            "test",
        }

    return find_root(path, fits)


def read(root: Path) -> Listing:
    """The listing of `root`; an image that the tree lacks keeps the path from its table."""
    records: dict[tuple[str, str], Record] = {}  # by view and series
    for name, split in TABLES.items():
        if (root / name).is_file():
            for row in read_table(root / name, COLUMNS):
                _enter(records, row, split, root / name)
    files = _files(root, {view for view, _ in records})
    found = tuple(
        Record(files.get(key, root / each.path), each.label, each.group, each.split)
        for key, each in records.items()
    )
    return Listing("cbis-ddsm", "ddsm", root, CLASSES, found, published=True)


def _enter(
    records: dict[tuple[str, str], Record], row: dict[str, str], split: SplitName, table: Path
) -> None:
    path = PurePosixPath(row["image file path"].strip('"').replace("\\", "/"))
    if len(path.parts) != 4:
        raise BadDataset(
            table, f"the path {str(path)!r} does not have the form VIEW/STUDY/SERIES/FILE"
        )
    if row["pathology"].upper() not in LABELS:
        raise BadDataset(
            table, f"got the pathology {row['pathology']!r}; expected one of {', '.join(LABELS)}"
        )
    key, label = (path.parts[0], path.parts[2]), LABELS[row["pathology"].upper()]
    before = records.get(key)
    records[key] = Record(
        Path(path), max(label, before.label if before else 0), row["patient_id"], split
    )


def _files(root: Path, views: set[str]) -> dict[tuple[str, str], Path]:
    """The first file of each series of the views, by view and SeriesInstanceUID."""
    files: dict[tuple[str, str], Path] = {}
    for folder in (each for each in root.rglob("*") if each.name in views and each.is_dir()):
        for path in images_below(folder):
            series = path.parent.name
            files.setdefault((folder.name, series if _is_uid(series) else _series(path)), path)
    return files


def _is_uid(name: str) -> bool:
    return name.count(".") > 4 and name.replace(".", "").isdigit()


def _series(path: Path) -> str:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
    except (InvalidDicomError, OSError, ValueError):
        return ""
    return str(header.get("SeriesInstanceUID") or "")


DDSM = Layout(
    "ddsm", "{mass,calc}_case_description_{train,test}_set.csv, **/VIEW/**/*.dcm", find, read
)
