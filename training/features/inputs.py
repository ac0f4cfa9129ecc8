"""Inputs that are read when needed: decoded images."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_store.image import InputSpec
from training.datasets import Split

DECODERS = 4  # threads; Pillow decodes and resizes without Python's lock
Images: TypeAlias = NDArray[np.uint8]
Numbers: TypeAlias = NDArray[np.int64]


def gray_values(values: NDArray[Any]) -> Images:
    """Values as gray values, rounded and clipped."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


class NetworkInputs(Protocol):
    """Inputs (N, ...) of a network, by their numbers; an array is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, numbers: Any, /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class StreamedImages:
    """The images `chosen` of a split, or all, decoded when asked for; nothing is kept."""

    split: Split
    spec: InputSpec
    chosen: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.split if self.chosen is None else self.chosen)

    def __getitem__(self, numbers: Numbers) -> Images:
        """Images `numbers` (n,), uint8 (n, C, H, W). Raises BadDataset for an unreadable file."""
        spec = self.spec
        if self.chosen is not None:
            numbers = np.asarray(self.chosen)[numbers]
        batch = np.empty((len(numbers), spec.channels, spec.height, spec.width), np.uint8)
        with ThreadPoolExecutor(DECODERS) as pool:
            images = pool.map(lambda number: self.split.images.input(int(number), spec), numbers)
            for row, image in enumerate(images):
                batch[row] = image
        return batch
