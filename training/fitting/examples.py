"""Inputs and labels of a fit, in memory, mapped or decoded when needed, and their logits."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.datasets.table import Labels
from training.features.augmentation import Augmentation
from training.features.inputs import NetworkInputs
from training.processes.execution import Execution

FEATURES_AT_ONCE, STREAMED_AT_ONCE = 256, 64
Wanted = TypeVar("Wanted")
Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Examples:
    """NetworkInputs of the trained module, (N, ...), float32 features or uint8 images, and labels,
    those of a split.

    `augmentation` changes images again in each epoch. `streamed` means that reading takes time, so
    the next batch is read while the current one is in the network.
    """

    inputs: NetworkInputs
    labels: Labels
    augmentation: Augmentation | None = None
    streamed: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def at_once(self) -> int:
        """How many inputs to predict at a time: fewer where they pass through whole networks."""
        return STREAMED_AT_ONCE if self.streamed else FEATURES_AT_ONCE

    def batch(
        self, indices: NDArray[np.int64], *, epoch: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Inputs (n, ...) and labels (n,) at `indices`, for training in an `epoch` of a seed."""
        inputs = np.array(self.inputs[indices])
        if self.augmentation and epoch:
            inputs = self.augmentation.apply(inputs, indices, epoch=epoch)
        return torch.from_numpy(inputs), torch.from_numpy(self.labels[indices])

    def chosen(self, numbers: NDArray[np.int64]) -> "Examples":
        """The examples `numbers` (n,), in memory."""
        return replace(self, inputs=self.inputs[numbers], labels=self.labels[numbers])

    def pooled(self) -> "Examples":
        """The same with the mean of each feature map in its place, (N, C, 1, 1), in memory."""
        return replace(self, inputs=_pooled(self.inputs))


def batches(
    indices: NDArray[np.int64], *, size: int, processes: int = 1
) -> Iterator[NDArray[np.int64]]:
    """`indices` in batches. A last batch of fewer than two images, or fewer than `processes`, is
    left out.

    Batch norm cannot train on a single image.

    >>> [len(batch) for batch in batches(np.arange(9), size=4)]
    [4, 4]
    """
    for start in range(0, len(indices), size):
        batch = indices[start : start + size]
        if len(batch) >= max(2, processes):
            yield batch


def ahead(load: Callable[[Wanted], Loaded], wanted: Iterable[Wanted]) -> Iterator[Loaded]:
    """What `load` returns for each of `wanted`, in order; the next is loaded while the caller
    works.

    >>> list(ahead(lambda number: number + 1, [1, 2, 3]))
    [2, 3, 4]
    """
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for each in wanted:
            coming = pool.submit(load, each)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()


def _pooled(maps: NetworkInputs) -> NDArray[np.float32]:
    """Means over the positions of maps (N, C, h, w), as maps (N, C, 1, 1).

    >>> _pooled(np.array([[[[1.0, 3.0]]]], np.float32)).tolist()
    [[[[2.0]]]]
    """
    portions = np.array_split(np.arange(len(maps)), max(1, len(maps) // FEATURES_AT_ONCE))
    return np.concatenate(
        [np.array(maps[numbers]).mean(axis=(2, 3), keepdims=True) for numbers in portions]
    )


def predict(
    module: nn.Module,
    inputs: NetworkInputs,
    *,
    execution: Execution | None = None,
    at_once: int = FEATURES_AT_ONCE,
) -> NDArray[np.float32]:
    """Logits float32 (N, K) of `inputs` (N, ...), the same in every process; leaves `module` in
    evaluation mode.

    `at_once` inputs are in memory and in the network at a time, and as many are read meanwhile.
    """
    execution = execution or Execution()
    group = execution.group
    module.eval()
    numbers = np.arange(len(inputs))
    if len(inputs) < group.size:
        return _logits(module, inputs, numbers, execution.device, at_once).numpy()
    bounds = np.linspace(0, len(inputs), group.size + 1).astype(int)
    own = numbers[bounds[group.rank] : bounds[group.rank + 1]]
    return torch.cat(group.gather(_logits(module, inputs, own, execution.device, at_once))).numpy()


def _logits(
    module: nn.Module,
    inputs: NetworkInputs,
    numbers: NDArray[np.int64],
    device: torch.device,
    at_once: int,
) -> Tensor:
    portions = [numbers[start : start + at_once] for start in range(0, len(numbers), at_once)]
    loaded = ahead(lambda portion: torch.from_numpy(np.array(inputs[portion])), portions)
    with torch.inference_mode():
        return torch.cat([module(portion.to(device)).float().cpu() for portion in loaded])
