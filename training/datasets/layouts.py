"""Layouts of labeled images on disk: a table and a folder. Detection tries the table first.

A table is a CSV file with the columns path and label, or path and a column for each finding
(`training.datasets.finding_labels`), optionally split and one that tells patients
or slides apart (`calibration.grouping`), such as group or mrn. Paths are relative to the file's
folder, or absolute. Semicolons or tabs may separate the columns; a note says so. `split` is train,
val or test, for every row or for none. Classes are the sorted labels, by number if all are numbers.

A folder is {train,val,test}/CLASS/**/*.jpg, or CLASS/**/*.jpg without splits. Existing split
folders are kept. Without `val`, a fifth of `train` becomes val; without any, all images are divided
64 : 16 : 20. Both draws are stratified, keep groups and identical files together, and depend only
on the sorted file names and the seed.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from calibration.findings.labels import LOOKED_FOR, is_missing
from calibration.grouping import find_groups
from calibration.shared_parts import are_persons
from calibration.splits import SPLITS
from calibration.wording import counted
from model_store.csv_tables import NotCsv, open_csv, require_distinct
from model_store.image.suffixes import SUFFIX_LIST, images_below
from training.datasets.errors import BadDataset
from training.datasets.finding_labels import LABEL, require_classes, table_labels
from training.datasets.label_kind import CLASSES
from training.datasets.records import Listing, LoadedFrom, Record, SplitName

TABLE = "labels.csv"
COLUMNS = ("path",)
OWN = ("path", LABEL, LOOKED_FOR, "split", "group")  # names that are read in any case


@dataclass(frozen=True)
class Layout:
    """One way to store a data set on disk.

    `find` returns the root of such a tree at or below a path, or None; `read` lists the contents of
    a root. `tree` describes the tree in one line.
    """

    name: str
    tree: str
    find: Callable[[Path], Path | None]
    read: Callable[[Path, LoadedFrom], Listing]


def _find_table(path: Path) -> Path | None:
    """`path` itself if it is a CSV file, else its labels.csv."""
    if path.is_file():
        return path if path.suffix.lower() == ".csv" else None
    return path / TABLE if (path / TABLE).is_file() else None


def _read_csv(table: Path, options: LoadedFrom) -> Listing:
    """The listing of a table. Raises BadDataset: no value, unknown split, rows that disagree."""
    rows, delimiter = _read_table(table, COLUMNS)
    group = options.group or find_groups(_columns(rows))[0]
    for row in rows:
        if not row["path"]:
            raise BadDataset(table, f"a row has no path; its values are {list(row.values())}")
    found = table_labels(table, rows, options, others=("split", "group", *filter(None, [group])))
    labels: Sequence[int | tuple[float, ...]]
    if found:
        labels, classes = found.values, found.names
    else:
        labels, classes = _classes(table, rows)
    records: dict[Path, Record] = {}
    for number, row in enumerate(rows):
        record = _record(
            table, row, labels[number], besides=(*OWN[:-1], *(found.names if found else ()))
        )
        first = records.setdefault(record.path, record)
        if _said(first, group) != _said(record, group):
            raise BadDataset(table, f"two rows of {row['path']} disagree")
    repeated = len(rows) - len(records)
    notes = (*_notes(table, rows, delimiter, repeated=repeated), *(found.notes if found else ()))
    used = tuple(each for each in records.values() if _is_labeled(each))
    return Listing(
        table.resolve().stem,
        "csv",
        table.parent,
        classes,
        used,
        columns=tuple(used[0].cells) if used else (),
        notes=(*notes, *_unlabeled(len(records) - len(used))),
        kind=found.kind if found else CLASSES,
    )


def _classes(
    table: Path, rows: Sequence[Mapping[str, str]]
) -> tuple[Sequence[int], tuple[str, ...]]:
    """The class of each row, and the names."""
    for row in rows:
        if is_missing(row[LABEL]):
            raise BadDataset(
                table,
                f"the row of {row['path']!r} has a path and no label, but {row[LABEL]!r}; it needs "
                "both",
            )
    names = [normalize("NFC", row[LABEL]) for row in rows]  # a Mac decomposes accents
    classes = _table_classes(table, set(names))
    return [classes.index(name) for name in names], classes


def _is_labeled(record: Record) -> bool:
    return isinstance(record.label, int) or not all(map(math.isnan, record.label))


def _unlabeled(count: int) -> tuple[str, ...]:
    return (f"{counted(count, 'image')} without any known label left out",) if count else ()


def _notes(
    table: Path, rows: Sequence[Mapping[str, str]], delimiter: str, *, repeated: int
) -> Iterator[str]:
    """What a user might have meant otherwise."""
    if repeated:
        yield f"{counted(repeated, 'repeated row')} dropped"
    if delimiter != ",":
        name = {";": "semicolons (;)", "\t": "tabs", "|": "bars"}[delimiter]
        yield f"the columns of {table.name} are separated by {name}, not by commas, and are read so"
    spelled: dict[str, set[str]] = {}
    for row in rows:
        spelled.setdefault(row.get(LABEL, "").casefold(), set()).add(row.get(LABEL, ""))
    for names in spelled.values():
        if len(names) > 1:
            yield f"{', '.join(map(repr, sorted(names)))} are different classes: if not, use one"


def _columns(rows: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """The cells of each column that may tell patients apart."""
    names = [name for name in rows[0] if name not in OWN[:-1]]
    return {name: [row.get(name, "") for row in rows] for name in names}


def _said(record: Record, group: str | None) -> tuple[object, ...]:
    return record.label, record.split, record.cells.get(group or "")


def _table_classes(table: Path, labels: set[str]) -> tuple[str, ...]:
    if len(labels) < 2:
        raise BadDataset(table, f"has {counted(len(labels), 'label')}; expected two or more")
    if all(label.lstrip("-").isdecimal() for label in labels):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))


def _record(
    table: Path,
    row: Mapping[str, str],
    label: int | tuple[float, ...],
    *,
    besides: Collection[str],
) -> Record:
    name = row.get("split", "").casefold()
    if name and name not in SPLITS:
        raise BadDataset(table, f"got the split {name!r}; expected train, val or test")
    split = SPLITS[name] if name else None
    cells = {name: cell for name, cell in row.items() if name not in besides}
    return Record(table.parent / row["path"], label, cells, split=split)


def _read_table(path: Path, columns: Sequence[str]) -> tuple[list[dict[str, str]], str]:
    """Rows of a CSV file and its delimiter; OWN column names in lower case, values stripped.

    Raises BadDataset if a column is missing, a row is too short, or the file is no table.
    """
    try:
        with open_csv(path) as table:
            table.names = [_name(name) for name in table.names]
            missing = [name for name in columns if name not in table.names]
            if missing:
                raise BadDataset(
                    path,
                    f"has no column {' or '.join(missing)}; it has "
                    f"{', '.join(table.names) or 'none'}. Rename the one with the image files to "
                    f"path, and the one with the classes to {LABEL}",
                )
            require_distinct(table.names)
            rows = [_row(path, table.line, row, columns) for row in table if any(row.values())]
            return rows, table.delimiter
    except NotCsv as error:
        raise BadDataset(path, str(error)) from None


def _name(column: str) -> str:
    plain = normalize("NFC", column.strip())
    return plain.lower() if plain.lower() in OWN else plain


def _row(path: Path, line: int, row: dict[str, str], columns: Sequence[str]) -> dict[str, str]:
    if not all(name in row for name in columns):
        raise BadDataset(path, f"line {line} has fewer values than the header has columns")
    return {name: value.strip() for name, value in row.items()}


def _read_folder(root: Path, options: LoadedFrom) -> Listing:
    """The listing of a tree. Raises BadDataset: fewer than two classes, a class without images."""
    require_classes(
        root,
        options,
        "a folder has one class for each image; give a table with a column for each finding",
    )
    given = {
        each: split
        for name, split in SPLITS.items()
        for each in _visible(root)
        if each.is_dir() and each.name.casefold() == name
    }
    if given and not {"train", "test"} <= set(given.values()):
        names = ", ".join(each.name for each in given)
        raise BadDataset(
            root,
            f"has the splits {names}; expected train and test, optionally val, or class folders",
        )
    classes = _folder_classes(list(given) or [root])
    records: list[Record] = []
    for folder, split in given.items():
        records += _folder_records(folder, classes, split)
    records = records or _folder_records(root, classes, None)
    return Listing(root.resolve().name, "folder", root, classes, tuple(records))


def _folder_classes(folders: list[Path]) -> tuple[str, ...]:
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


def _folder_records(
    folder: Path, classes: tuple[str, ...], split: SplitName | None
) -> list[Record]:
    records: list[Record] = []
    own = _folders_by_class(folder)
    for label, name in enumerate(classes):
        images = [image for each in own[name] for image in images_below(each)]
        if not images:
            raise BadDataset(folder / name, f"has no images; looked for {SUFFIX_LIST}")
        records += [Record(path, label, split=split) for path in images]
    return records


def _folders_by_class(folder: Path) -> dict[str, list[Path]]:
    """The folders of each class, sorted; names whose accents a Mac decomposed are the same."""
    found: dict[str, list[Path]] = {}
    for each in _visible(folder):
        if each.is_dir():
            found.setdefault(normalize("NFC", each.name), []).append(each)
    return dict(sorted(found.items()))


def _visible(folder: Path) -> Iterator[Path]:
    """Sorted entries of a folder, without hidden ones and those that macOS adds to archives."""
    return (
        each for each in sorted(folder.iterdir()) if not each.name.startswith((".", "__MACOSX"))
    )


CSV = Layout(
    "csv",
    "a CSV file, or a folder's labels.csv: path,label[,group][,split], or path and findings",
    _find_table,
    _read_csv,
)
FOLDER = Layout(
    "folder",
    "[train|val|test/]CLASS/**/IMAGE",
    lambda path: path if path.is_dir() else None,
    _read_folder,
)
LAYOUTS: dict[str, Layout] = {each.name: each for each in (CSV, FOLDER)}
