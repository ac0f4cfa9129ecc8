"""Logits of many inputs in evaluation mode, divided among the processes."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.fitting.examples import Inputs
from training.processes.execution import Execution

EVALUATION_BATCH = 256


def predict(module: nn.Module, inputs: Inputs, *, execution: Execution | None = None) -> NDArray[np.float32]:
    """Logits float32 (N, K) of `inputs` (N, ...), the same in every process; leaves `module` in evaluation mode."""
    execution = execution or Execution()
    group = execution.group
    module.eval()
    if len(inputs) < group.size:
        return _logits(module, inputs, execution.device).numpy()
    bounds = np.linspace(0, len(inputs), group.size + 1).astype(int)
    own = inputs[bounds[group.rank] : bounds[group.rank + 1]]
    return torch.cat(group.gather(_logits(module, own, execution.device))).numpy()


def _logits(module: nn.Module, inputs: Inputs, device: torch.device) -> Tensor:
    with torch.inference_mode():
        parts = [
            module(torch.from_numpy(np.array(inputs[start : start + EVALUATION_BATCH])).to(device)).float().cpu()
            for start in range(0, len(inputs), EVALUATION_BATCH)
        ]
    return torch.cat(parts)
