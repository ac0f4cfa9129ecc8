"""Logits of many inputs in evaluation mode, divided among the processes."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.features.inputs import NetworkInputs
from training.fitting.examples import FEATURES_AT_ONCE, ahead
from training.processes.execution import Execution


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
