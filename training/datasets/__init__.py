"""Labelled images: finding them, reading them, and the nouns they come as."""

from training.datasets.dataset import (
    SPLIT_NAMES,
    ArrayImages,
    Dataset,
    FileImages,
    ImageSource,
    Split,
    SplitName,
    fingerprint,
)
from training.datasets.sources import FoundDataset, find_dataset, load_dataset

__all__ = [
    "SPLIT_NAMES",
    "ArrayImages",
    "Dataset",
    "FileImages",
    "FoundDataset",
    "ImageSource",
    "Split",
    "SplitName",
    "find_dataset",
    "fingerprint",
    "load_dataset",
]
