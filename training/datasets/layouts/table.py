"""A CSV file with the columns path and label, optionally group and split.

Paths are relative to the file's folder, or absolute. Semicolons or tabs may separate the columns; a
note says so. `split` is train, val or test, for every row or for none. Classes are the sorted
labels, by number if all are numbers.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from calibration.wording import counted
from training.datasets.errors import BadDataset
from training.datasets.layouts.folder import SPLIT_FOLDERS
from training.datasets.layouts.layout import Layout, read_table, separator
from training.datasets.records import Listing, Record, SplitName

NAME = "labels.csv"
COLUMNS = ("path", "label")
PATIENT_WORDS = {
    "patient",
    "patients",
    "patientid",
    "subject",
    "subjectid",
    "person",
    "participant",
}
PATIENT_WORDS |= {
    "case",
    "caseid",
    "slide",
    "slideid",
    "study",
    "studyid",
    "series",
    "lesion",
    "donor",
    "animal",
    "mrn",
}


def find(path: Path) -> Path | None:
    """`path` itself if it is a CSV file, else its labels.csv."""
    if path.is_file():
        return path if path.suffix.lower() == ".csv" else None
    return path / NAME if (path / NAME).is_file() else None


def read(table: Path) -> Listing:
    """The listing of the table. Raises BadDataset for a missing value, an unknown split or rows
    that disagree.
    """
    rows = read_table(table, COLUMNS)
    for row in rows:
        if not row["path"] or not row["label"]:
            raise BadDataset(
                table,
                f"a row has the path {row['path']!r} and the label {row['label']!r}; it needs both",
            )
    classes = _classes(table, {row["label"] for row in rows})
    records: dict[Path, Record] = {}
    for row in rows:
        record = _record(table, row, classes)
        if records.setdefault(record.path, record) != record:
            raise BadDataset(table, f"two rows of {row['path']} disagree")
    notes = tuple(_notes(table, rows, repeated=len(rows) - len(records)))
    return Listing(
        table.resolve().stem, "csv", table.parent, classes, tuple(records.values()), notes=notes
    )


def _notes(table: Path, rows: Sequence[Mapping[str, str]], *, repeated: int) -> Iterator[str]:
    """What a user might have meant otherwise."""
    if repeated:
        yield f"{counted(repeated, 'repeated row')} dropped"
    between = separator(table, COLUMNS)
    if between != ",":
        name = "semicolons (;)" if between == ";" else "tabs"
        yield f"the columns of {table.name} are separated by {name}, not by commas, and are read so"
    patients = [name for name in rows[0] if _names_patients(name)] if "group" not in rows[0] else []
    if patients:
        yield (
            f"the column {patients[0]!r} is not used, so images of one patient may be in several "
            "splits, which "
            "flatters figures; if it tells patients or slides apart, rename it to group"
        )


def _names_patients(column: str) -> bool:
    """Whether a column seems to name what must stay in one split.

    >>> [_names_patients(name) for name in ("patient", "Patient ID", "slide_id", "case-number", "age", "label")]
    [True, True, True, True, False, False]
    """
    return any(word in PATIENT_WORDS for word in re.split(r"[^a-z]+", column.lower()))


def _classes(table: Path, labels: set[str]) -> tuple[str, ...]:
    if len(labels) < 2:
        raise BadDataset(table, f"has {counted(len(labels), 'label')}; expected two or more")
    return tuple(
        sorted(
            labels, key=lambda label: (int(label), label) if all(map(_is_number, labels)) else label
        )
    )


def _is_number(label: str) -> bool:
    return label.lstrip("-").isdecimal()


def _record(table: Path, row: dict[str, str], classes: tuple[str, ...]) -> Record:
    name = row.get("split", "").lower()
    if name and name not in SPLIT_FOLDERS:
        raise BadDataset(table, f"got the split {name!r}; expected train, val or test")
    split: SplitName | None = SPLIT_FOLDERS[name] if name else None
    return Record(
        table.parent / row["path"], classes.index(row["label"]), row.get("group") or None, split
    )


CSV = Layout("csv", "a CSV file, or a folder's labels.csv: path,label[,group][,split]", find, read)
