"""Fashion-MNIST as an archive in MedMNIST's form: a data set of another kind for docs/results.md.

    apt-get install dataset-fashion-mnist
    python -m benchmarks.training.fashion fashion.npz

Ten kinds of clothes in gray photographs of 28 pixels (Xiao, Rasul and Vollgraf 2017), as Debian
packages them. The archive has the first 2000 of the 60,000 training images for training, the next
500 for validation, and the first 3000 of the 10,000 test images: so few training images that a
network can overfit, and so many test images that the noise floor is low. All come from one source,
so there is no shift.
"""

import argparse
import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKAGED = Path("/usr/share/datasets/fashion-mnist")
CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
SHARES = {"train": ("train", 0, 2000), "val": ("train", 2000, 2500), "test": ("t10k", 0, 3000)}


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in a gzipped IDX file of unsigned bytes: 0, 0, 8, number of sides, each side."""
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    sides = np.frombuffer(content, ">u4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(sides)).reshape(sides.astype(int))


def archive(folder: Path) -> dict[str, NDArray[Any]]:
    """The archive: images (N, 28, 28) and labels (N, 1) of each split, names of the classes."""
    arrays: dict[str, NDArray[Any]] = {"classes": np.array(CLASSES)}
    for split, (source, start, stop) in SHARES.items():
        arrays[f"{split}_images"] = read_idx(folder / f"{source}-images-idx3-ubyte.gz")[start:stop]
        arrays[f"{split}_labels"] = read_idx(folder / f"{source}-labels-idx1-ubyte.gz")[
            start:stop, None
        ].astype(np.int64)
    return arrays


def main() -> None:
    """Write the archive."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="the .npz to write")
    parser.add_argument(
        "--folder", type=Path, default=PACKAGED, help="the folder with the IDX files"
    )
    chosen = parser.parse_args()
    np.savez_compressed(chosen.out, **archive(chosen.folder))


if __name__ == "__main__":
    main()
