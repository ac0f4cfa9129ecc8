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
from typing import Any

from calibration.wording import counted
from model_store.csv_cells import CsvTable
from training.datasets.dataset import Dataset, Split
from training.datasets.table import SPLIT_NAMES, SplitName

EXAMPLES = 3
NOUNS = ("image content", "image contents"), ("patient or group", "patients or groups")


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
        "groups": {name: split.group_count for name, split in dataset.splits.items()},
        "channels": dataset.channels,
        "size": dataset.size,
        "window": dataset.window,
        "excluded": [{"path": str(each.path), "reason": each.reason} for each in dataset.excluded],
        "duplicates": duplicates(dataset.splits),
        "overlaps": overlaps(dataset.splits),
        "notes": list(dataset.notes),
    }


def write_report(dataset: Dataset, folder: Path) -> None:
    """Write data.json into a run's folder and, if images were left out, excluded.csv."""
    (folder / "data.json").write_text(
        json.dumps(describe(dataset), indent=2) + "\n", encoding="utf-8"
    )
    if dataset.excluded:
        with (folder / "excluded.csv").open("w", newline="", encoding="utf-8") as lines:
            rows = CsvTable(lines)
            rows.writerow(("path", "reason"))
            rows.writerows((str(each.path), each.reason) for each in dataset.excluded)


def duplicates(splits: Mapping[SplitName, Split]) -> dict[SplitName, int]:
    """Number of images in each split that repeat an earlier one of the same split."""
    return {name: len(split) - len(set(split.digests)) for name, split in splits.items()}


def overlaps(splits: Mapping[SplitName, Split]) -> list[str]:
    """What any two splits share, by content and, if groups are known, by group, in sentences."""
    found = []
    for names in combinations(SPLIT_NAMES, 2):
        both = [splits[name] for name in names]
        found.append(_shared(NOUNS[0], names, both, [split.digests for split in both]))
        groups = [split.groups.tolist() for split in both if split.groups is not None]
        if len(groups) == len(both):
            found.append(_shared(NOUNS[1], names, both, groups))
    return [sentence for sentence in found if sentence]


def _shared(
    nouns: tuple[str, str],
    names: Sequence[SplitName],
    splits: Sequence[Split],
    keys: Sequence[Sequence[Hashable]],
) -> str:
    """What two splits share, by the key of each image; nothing if they share none."""
    first, second = (_places(each) for each in keys)
    shared = [key for key in first if key in second]
    if not shared:
        return ""
    images = [sum(len(places[key]) for key in shared) for places in (first, second)]
    examples = (
        f"{_name(names[0], splits[0], first[key][0])} = "
        f"{_name(names[1], splits[1], second[key][0])}"
        for key in shared[:EXAMPLES]
    )
    return (
        f"{len(shared)} {nouns[len(shared) > 1]} in both {names[0]} and {names[1]} "
        f"({counted(images[0], 'image')} of {names[0]}, {images[1]} of {names[1]}; e.g. "
        f"{', '.join(examples)})"
    )


def _places(keys: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    places: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        places.setdefault(key, []).append(index)
    return places


def _name(name: SplitName, split: Split, index: int) -> str:
    return split.names[index] if split.names is not None else f"{name}[{index}]"
