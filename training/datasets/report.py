"""Report on a data set: what was found, what was left out, what is repeated."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from model_store.csv_cells import CsvTable
from training.datasets.dataset import Dataset, Split
from training.datasets.leakage import duplicates, overlaps

REPORT_FILE, EXCLUDED_FILE = "data.json", "excluded.csv"


def describe(dataset: Dataset) -> dict[str, Any]:
    """The report as plain data for JSON."""
    return {
        "name": dataset.name,
        "layout": dataset.layout,
        "fingerprint": dataset.fingerprint,
        "classes": list(dataset.classes),
        "counts": dataset.counts,
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
    """Write data.json into a run's folder and, if images were left out, excluded.csv (path,
    reason).
    """
    (folder / REPORT_FILE).write_text(
        json.dumps(describe(dataset), indent=2) + "\n", encoding="utf-8"
    )
    if dataset.excluded:
        with (folder / EXCLUDED_FILE).open("w", newline="", encoding="utf-8") as lines:
            rows = CsvTable(lines)
            rows.writerow(("path", "reason"))
            rows.writerows((str(each.path), each.reason) for each in dataset.excluded)


def _groups(split: Split) -> int | None:
    """Number of patients or slides in a split; None if unknown."""
    return None if split.groups is None else len(np.unique(split.groups))
