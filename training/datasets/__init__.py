"""Labeled images: find them on disk, check them, split them."""

from training.datasets.dataset import (
    ArrayImages,
    Dataset,
    FileImages,
    ImageSource,
    Split,
    fingerprint,
)
from training.datasets.report import describe, write_report
from training.datasets.sources import LAYOUTS, chosen_source, load_dataset, source_title
from training.datasets.table import SPLIT_NAMES, Excluded, SplitName

__all__ = [
    "LAYOUTS",
    "SPLIT_NAMES",
    "ArrayImages",
    "Dataset",
    "Excluded",
    "FileImages",
    "ImageSource",
    "Split",
    "SplitName",
    "chosen_source",
    "describe",
    "fingerprint",
    "load_dataset",
    "source_title",
    "write_report",
]
