"""What a reader finds before any image is opened: one table of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from training.datasets.label_kind import CLASSES, LabelKind

Labels: TypeAlias = NDArray[Any]
SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Excluded:
    """An image that is left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True)
class ImageTable:
    """N images and what is said of each.

    Attributes:
        root: the folder below which images are named, or their archive.
        labels: int64 (N,), places in `classes`, or of findings float64 (N, K), 1, 0 or NaN.
        splits: (N,) the publisher's or the user's; None where one is to be drawn.
        paths: (N,) files, or none if `pixels` has the images, by split and in the order of rows.
        columns: what else is said, (N,) cells by column, such as the patient.
        published: everybody reports figures on these splits.
        notes: sentences for the user who trains on the data.
    """

    name: str
    layout: str
    root: Path
    classes: tuple[str, ...]
    labels: Labels
    splits: Sequence[SplitName | None]
    kind: LabelKind = CLASSES
    paths: Sequence[Path] = ()
    pixels: Mapping[SplitName, NDArray[np.uint8]] = field(default_factory=dict)
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    published: bool = False
    notes: tuple[str, ...] = ()

    def take(self, rows: Sequence[int]) -> "ImageTable":
        """The table with these rows of files."""
        return replace(
            self,
            labels=self.labels[list(rows)],
            splits=[self.splits[row] for row in rows],
            paths=[self.paths[row] for row in rows],
            columns={name: [cells[row] for row in rows] for name, cells in self.columns.items()},
        )
