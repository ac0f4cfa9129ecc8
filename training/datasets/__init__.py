"""Labeled images: find them on disk, check them, split them."""

from training.datasets.dataset import (
    ArrayImages,
    Dataset,
    FileImages,
    ImageSource,
    Split,
    fingerprint,
)
from training.datasets.layouts import LAYOUTS
from training.datasets.records import SPLIT_NAMES, Excluded, LoadArguments, LoadedFrom, SplitName
from training.datasets.report import describe, write_report
from training.datasets.sources import FoundDataset, find_dataset, load_dataset, source_title

__all__ = [
    "LAYOUTS",
    "SPLIT_NAMES",
    "ArrayImages",
    "Dataset",
    "Excluded",
    "FileImages",
    "FoundDataset",
    "ImageSource",
    "LoadArguments",
    "LoadedFrom",
    "Split",
    "SplitName",
    "describe",
    "find_dataset",
    "fingerprint",
    "load_dataset",
    "source_title",
    "write_report",
]
