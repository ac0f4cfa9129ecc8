"""A table of labeled images with a column for each finding, divided into halves as folders are.

1 is present, 0 absent, blank unknown. -1, uncertain, counts as unknown. What is unknown is never a
negative.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from calibration.findings.labels import finding_columns, from_columns
from calibration.sampling import joined
from model_store.bundle.scope import named_findings
from model_store.csv_tables import NotCsv, open_csv
from model_store.errors import LabeledFolderRefused
from model_store.foreign.class_scores import Reading
from model_store.foreign.labeled_folder import (
    MIN_IMAGES,
    content_digests,
    held_out_half,
    image_groups,
)

IMAGE_COLUMNS: Final = (
    *("path", "file", "filename", "file_name", "image", "image_path", "image index", "img"),
    *("image_name", "filepath", "file_path", "image_file", "dicom", "id", "image_id"),
)


@dataclass(frozen=True)
class FindingImages:
    """Image files, and for each what is known of each finding.

    Attributes:
        root: the folder of the table; `fingerprint` sha256 over names, labels and contents.
        columns: the names of the columns that hold findings.
        cells: (N, C) 1, 0, or NaN for unknown.
        held_out, grouped_by: as in `LabeledImages`.
        groups: (N,) numbers of the sets that stay together.
    """

    root: Path
    paths: tuple[Path, ...]
    columns: tuple[str, ...]
    cells: npt.NDArray[np.float64]
    held_out: npt.NDArray[np.bool_]
    groups: npt.NDArray[np.int64]
    fingerprint: str
    grouped_by: str
    folders: ClassVar[tuple[str, ...]] = ()
    reading: ClassVar[Reading] = "findings"
    shows: ClassVar = "the table of labels has a column for each finding"
    unfit: ClassVar = (
        "the model's classes exclude each other, and the labels are a table of findings: give "
        "--data a folder, FOLDER/CLASS/IMAGE"
    )

    def named(self, at: int) -> str:
        """Return the findings of an image in words."""
        return named_findings(self.columns, self.cells[at])

    def labels(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return labels (N, K) of the findings `names`; one without a column is unknown.

        Raises LabeledFolderRefused if none has a column.
        """
        loose = {_plain(name): at for at, name in enumerate(self.columns)}
        exact = {normalize("NFC", name): at for at, name in enumerate(self.columns)}
        places = [exact.get(normalize("NFC", name), loose.get(_plain(name))) for name in names]
        if places == [None] * len(names):
            raise LabeledFolderRefused(
                f"the table of labels has no column with the name of a finding: it has "
                f"{', '.join(self.columns)[:300]}, and the findings are {', '.join(names)[:300]}"
            )
        unknown = np.full(len(self.paths), np.nan)
        columns = [unknown if place is None else self.cells[:, place] for place in places]
        return np.stack(columns, axis=1)


def read_labeled_table(
    table: Path, *, group: str | None = None, group_pattern: str | None = None
) -> FindingImages:
    """Read and divide a CSV file of labels. Raises LabeledFolderRefused."""
    rows = _rows(table)
    header = list(rows[0])
    image = next((name for name in header if _plain(name) in map(_plain, IMAGE_COLUMNS)), None)
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
    return FindingImages(
        table.resolve().parent,
        tuple(paths),
        tuple(columns),
        cells,
        held_out,
        together,
        total.hexdigest(),
        grouped_by,
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


def _plain(name: str) -> str:
    name = normalize("NFC", name)
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _strata(cells: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The rarest finding that each image has, so that both halves get some; C if it has none."""
    present = cells == 1
    order = np.argsort(np.argsort(present.sum(axis=0), kind="stable"))
    ranks = np.where(present, order, present.shape[1])
    return np.asarray(ranks.min(axis=1), np.int64)
