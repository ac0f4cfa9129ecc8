"""The archive of Fashion-MNIST: read from IDX files, divided as the results say, and readable as a
data set.
"""

import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.training.fashion import CLASSES, archive, read_idx
from training.datasets import load_dataset


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    header = (
        b"\0\0\x08"
        + bytes([array.ndim])
        + b"".join(side.to_bytes(4, "big") for side in array.shape)
    )
    path.write_bytes(gzip.compress(header + array.tobytes(), compresslevel=1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images whose first pixels are their number, so no two are equal."""
    for name, count in (("train", 2600), ("t10k", 3100)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, 0], images[:, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
        images[:, 1, 0] = len(name)
        write_idx(tmp_path / f"{name}-images-idx3-ubyte.gz", images)
        write_idx(
            tmp_path / f"{name}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8)
        )
    return tmp_path


def test_the_archive_is_a_data_set_with_the_splits_of_the_results(folder: Path) -> None:
    np.savez(folder / "fashion.npz", **archive(folder))
    dataset = load_dataset(folder / "fashion.npz")
    assert dataset.classes == CLASSES
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 2000,
        "val": 500,
        "test": 3000,
    }
    first = archive(folder)["val_images"][0]
    assert int(first[0, 0]) + 256 * int(first[0, 1]) == 2000


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.gz").write_bytes(gzip.compress(b"P5 28 28"))
    with pytest.raises(ValueError, match="not an IDX file"):
        read_idx(tmp_path / "other.gz")
