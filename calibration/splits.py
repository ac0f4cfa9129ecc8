"""The column `split` of a table: which rows trained the model, validated it, and test it."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

Split = Literal["train", "val", "test"]
COLUMN: Final = "split"
SPLITS: Final[Mapping[str, Split]] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def read_splits(cells: Sequence[str]) -> list[Split | None] | None:
    """The split of each cell, None for a blank; None for a column of something else.

    Raises ValueError: some cells name a split, and others something else.

    >>> read_splits(["Train", "val", ""]), read_splits(["fold 1", "fold 2"])
    (['train', 'val', None], None)
    """
    plain = [cell.strip().casefold() for cell in cells]
    unknown = {cell for cell in plain if cell} - SPLITS.keys()
    if not unknown:
        return [SPLITS.get(cell) for cell in plain]
    if unknown & set(plain) == {cell for cell in plain if cell}:
        return None
    raise ValueError(
        f"the column {COLUMN!r} has {min(unknown)!r}; expected train, val or test in each row"
    )
