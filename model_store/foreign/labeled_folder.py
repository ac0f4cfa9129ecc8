"""Labeled images from a folder, FOLDER/CLASS/**/IMAGE, or a table with a column for each finding.

In a table 1 is present, 0 absent, blank unknown. -1, uncertain, counts as unknown. What is unknown
is never a negative.
"""

import hashlib
from pathlib import Path
from typing import Final
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from calibration.findings.labels import finding_columns, from_columns
from calibration.sampling import joined
from calibration.splits import SPLITS
from model_store.csv_tables import NotCsv, open_csv
from model_store.errors import LabeledFolderRefused
from model_store.foreign.labeled_images import (
    LabeledImages,
    content_digests,
    held_out_half,
    image_groups,
    plain,
)
from model_store.image.suffixes import SUFFIX_LIST, images_below

MIN_IMAGES: Final = 10  # in all; with fewer neither half says anything
IMAGE_COLUMNS: Final = (
    *("path", "file", "filename", "file_name", "image", "image_path", "image index", "img"),
    *("image_name", "filepath", "file_path", "image_file", "dicom", "id", "image_id"),
)


def read_labeled(
    path: Path, *, group: str | None = None, group_pattern: str | None = None
) -> LabeledImages:
    """Read and divide a folder of classes, or a table of findings. Raises LabeledFolderRefused."""
    read = read_labeled_table if path.is_file() else read_labeled_folder
    return read(path, group=group, group_pattern=group_pattern)


def read_labeled_folder(
    root: Path, *, group: str | None = None, group_pattern: str | None = None
) -> LabeledImages:
    """List and divide a labeled folder; names have accents as one letter (a Mac takes two).

    Raises LabeledFolderRefused.
    """
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
    together = joined(groups, digests)
    folders, labels = np.unique(names, return_inverse=True)
    total = hashlib.sha256()
    for (path, name), digest in zip(files, digests, strict=True):
        total.update(f"{name}\0{path.relative_to(base).as_posix()}\0{digest}\n".encode())
    return LabeledImages(
        base,
        paths,
        tuple(folders.tolist()),
        np.eye(len(folders))[labels],
        held_out_half(labels, together, base),
        together,
        total.hexdigest(),
        grouped_by,
        "exclusive",
    )


def _base(root: Path) -> Path:
    """Return the folder with the class folders: of splits, that which training saw least."""
    splits = {SPLITS.get(path.name.casefold()): path for path in sorted(_folders(root))}
    if splits and None not in splits:
        return next(splits[name] for name in ("test", "val", "train") if name in splits)
    return root


def _folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]


def read_labeled_table(
    table: Path, *, group: str | None = None, group_pattern: str | None = None
) -> LabeledImages:
    """Read and divide a CSV file of labels. Raises LabeledFolderRefused."""
    rows = _rows(table)
    header = list(rows[0])
    image = next((name for name in header if plain(name) in map(plain, IMAGE_COLUMNS)), None)
    if image is None:
        raise LabeledFolderRefused(
            f"{table} has no column with the image files: name one `path`; it has "
            f"{', '.join(header)[:300]}"
        )
    paths = [_file(table, row[image]) for row in rows]
    others = [name for name in header if name != image]
    texts = {name: [row[name] for row in rows] for name in others}
    columns = finding_columns(texts)
    if not columns:
        raise LabeledFolderRefused(
            f"{table} has no column of a finding; expected one for each, with 1, 0 (in one row at "
            f"least), or blank for unknown, and it has {', '.join(others)[:300]}"
        )
    cells = from_columns({name: texts[name] for name in columns}).known_as("missing")
    rest = {name: cells for name, cells in texts.items() if name not in columns}
    groups, grouped_by = image_groups(
        table.parent, paths, group=group, pattern=group_pattern, columns=rest
    )
    digests = content_digests(paths)
    together = joined(groups, digests)
    held_out = held_out_half(_strata(cells), together, table)
    total = hashlib.sha256(repr(columns).encode())
    for path, digest, row in zip(paths, digests, cells.tolist(), strict=True):
        total.update(f"{path.name}\0{digest}\0{row}\n".encode())
    return LabeledImages(
        table.resolve().parent,
        tuple(paths),
        tuple(columns),
        cells,
        held_out,
        together,
        total.hexdigest(),
        grouped_by,
        "findings",
    )


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with open_csv(table) as opened:
            blank = dict.fromkeys(opened.names, "")
            rows = [blank | {name: cell.strip() for name, cell in row.items()} for row in opened]
    except (OSError, NotCsv) as error:
        raise LabeledFolderRefused(
            f"{table} is no folder, as in FOLDER/CLASS/IMAGE, and no CSV table: it "
            f"{str(error)[:200]}"
        ) from error
    rows = [row for row in rows if any(row.values())]
    if len(rows) < MIN_IMAGES:
        raise LabeledFolderRefused(
            f"{table} has {len(rows)} images; at least {MIN_IMAGES} are needed to fit and to "
            "measure"
        )
    return rows


def _file(table: Path, name: str) -> Path:
    path = table.parent / name
    if not path.is_file():
        raise LabeledFolderRefused(
            f"{table} names the image {name[:200]!r}, which is not there: paths are relative to "
            "the table's folder"
        )
    return path


def _strata(cells: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The rarest finding that each image has, so that both halves get some; C if it has none."""
    present = cells == 1
    order = np.argsort(np.argsort(present.sum(axis=0), kind="stable"))
    ranks = np.where(present, order, present.shape[1])
    return np.asarray(ranks.min(axis=1), np.int64)
