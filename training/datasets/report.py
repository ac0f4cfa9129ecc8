"""The report on a data set: what was found and left out, what is repeated, and what two splits
share, by content or by patient. Near-duplicates are not detected.

A model that has seen a test image, or another image of its patient, is measured on what it
remembers, so accuracy and calibration look better than they are. Candor refuses such splits.
Published splits are the exception, since everybody reports figures on them; there a note says how
many images are shared.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from model_store.csv_cells import CsvTable
from training.datasets.dataset import Dataset, Split
from training.datasets.records import SPLIT_NAMES, Overlap, SplitName

REPORT_FILE, EXCLUDED_FILE = "data.json", "excluded.csv"
EXAMPLES = 3


def describe(dataset: Dataset) -> dict[str, Any]:
    """The report as plain data for JSON."""
    return {
        "name": dataset.name,
        "layout": dataset.layout,
        "fingerprint": dataset.fingerprint,
        "classes": list(dataset.classes),
        "kind": dataset.kind.name,
        "counts": dataset.counts,
        "images": {name: len(split) for name, split in dataset.splits.items()},
        "groups": {name: _groups(split) for name, split in dataset.splits.items()},
        "channels": dataset.channels,
        "size": dataset.size,
        "window": dataset.window,
        "excluded": [{"path": str(each.path), "reason": each.reason} for each in dataset.excluded],
        "duplicates": duplicates(dataset.splits),
        "overlaps": [str(each) for each in overlaps(dataset.splits)],
        "notes": list(dataset.notes),
    }


def write_report(dataset: Dataset, folder: Path) -> None:
    """Write data.json into a run's folder and, if images were left out, excluded.csv."""
    (folder / REPORT_FILE).write_text(
        json.dumps(describe(dataset), indent=2) + "\n", encoding="utf-8"
    )
    if dataset.excluded:
        with (folder / EXCLUDED_FILE).open("w", newline="", encoding="utf-8") as lines:
            rows = CsvTable(lines)
            rows.writerow(("path", "reason"))
            rows.writerows((str(each.path), each.reason) for each in dataset.excluded)


def overlaps(splits: Mapping[SplitName, Split]) -> tuple[Overlap, ...]:
    """What any two splits share, by content and, if groups are known, by group."""
    found: list[Overlap] = []
    for first, second in combinations(SPLIT_NAMES, 2):
        one, two = splits[first], splits[second]
        found += _overlap("content", (first, second), (one, two), (one.digests, two.digests))
        if one.groups is not None and two.groups is not None:
            keys = one.groups.tolist(), two.groups.tolist()
            found += _overlap("group", (first, second), (one, two), keys)
    return tuple(found)


def duplicates(splits: Mapping[SplitName, Split]) -> dict[SplitName, int]:
    """Number of images in each split that repeat an earlier one of the same split."""
    return {name: len(split) - len(set(split.digests)) for name, split in splits.items()}


def _overlap(
    kind: Literal["content", "group"],
    names: tuple[SplitName, SplitName],
    splits: tuple[Split, Split],
    keys: tuple[Sequence[Hashable], Sequence[Hashable]],
) -> list[Overlap]:
    first, second = _places(keys[0]), _places(keys[1])
    shared = [key for key in first if key in second]
    if not shared:
        return []
    images = sum(len(first[key]) for key in shared), sum(len(second[key]) for key in shared)
    examples = tuple(
        f"{_name(names[0], splits[0], first[key][0])} = "
        f"{_name(names[1], splits[1], second[key][0])}"
        for key in shared[:EXAMPLES]
    )
    return [Overlap(kind, names, len(shared), images, examples)]


def _places(keys: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    places: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        places.setdefault(key, []).append(index)
    return places


def _name(name: SplitName, split: Split, index: int) -> str:
    return split.names[index] if split.names is not None else f"{name}[{index}]"


def _groups(split: Split) -> int | None:
    """Number of patients or slides in a split; None if unknown."""
    return None if split.groups is None else len(np.unique(split.groups))
