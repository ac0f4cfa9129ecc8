"""RSNA intracranial hemorrhage, stage 1 (Flanders et al. 2020): stage_1_train.csv and
stage_1_train_images/ID_*.dcm.

The table has six rows per image (ID_0a1b_any, ID_0a1b_epidural, ...), some of them twice; the row
`any` is the label. Splits are drawn by the DICOM PatientID, and images use the brain window.
"""

import re
from pathlib import Path

from calibration.wording import counted
from model_store.image.gray import Window
from training.datasets.errors import BadDataset
from training.datasets.layouts.layout import Layout, find_root, read_table
from training.datasets.records import Excluded, Listing, Record

TABLE, IMAGES = "stage_1_train.csv", "stage_1_train_images"
CLASSES = ("no hemorrhage", "hemorrhage")
ROW = re.compile(
    r"^(ID_[0-9a-f]+)_(any|epidural|intraparenchymal|intraventricular|subarachnoid|subdural)$"
)
BRAIN: Window = (40.0, 80.0)  # Hounsfield units
KNOWN_DEFECTS = {
    "ID_6431af929": "its pixel data is shorter than its header says, a known defect of stage 1"
}


def find(path: Path) -> Path | None:
    """The folder at or below `path` with the table and the images."""
    return find_root(path, lambda folder: (folder / TABLE).is_file() and (folder / IMAGES).is_dir())


def read(root: Path) -> Listing:
    """The listing of `root`. Raises BadDataset for an unknown row or two rows that disagree."""
    labels, repeated = _labels(root / TABLE)
    folder = root / IMAGES
    records = tuple(
        Record(folder / f"{name}.dcm", label)
        for name, label in labels.items()
        if name not in KNOWN_DEFECTS
    )
    excluded = tuple(
        Excluded(folder / f"{name}.dcm", why)
        for name, why in KNOWN_DEFECTS.items()
        if name in labels
    )
    notes = (f"{counted(repeated, 'repeated row')} of {TABLE} dropped",) if repeated else ()
    return Listing(
        "rsna-stage-1", "rsna", root, CLASSES, records, window=BRAIN, excluded=excluded, notes=notes
    )


def _labels(table: Path) -> tuple[dict[str, int], int]:
    """Label of each image in the order of the table, and the number of repeated rows."""
    seen: dict[tuple[str, str], str] = {}
    repeated = 0
    for row in read_table(table, ("id", "label")):
        found = ROW.match(row["id"])
        if found is None or row["label"] not in ("0", "1"):
            raise BadDataset(
                table, f"the row {row['id']},{row['label']} does not have the form ID_<hex>_any,0"
            )
        key = found[1], found[2]
        repeated += key in seen
        if seen.setdefault(key, row["label"]) != row["label"]:
            raise BadDataset(table, f"two rows of {row['id']} disagree")
    return {name: int(label) for (name, kind), label in seen.items() if kind == "any"}, repeated


RSNA = Layout("rsna", f"{TABLE}, {IMAGES}/ID_*.dcm", find, read)
