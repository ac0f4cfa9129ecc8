"""The optimizer of a fit: Adam, AdamW or SGD, with a smaller learning rate for layers farther from
the answer.

Source of layer-wise rates: Howard and Ruder 2018, "discriminative fine-tuning". With a
`layer_decay` of d, the head learns at the full rate, the last trained block at d times that, the
block before it at d squared, and so on.
"""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from training.fitting.schedule import Schedule
from training.networks.classifier import Branch

SCALE = "scale"  # of the learning rate, in a group of parameters


def build_optimizer(module: nn.Module, schedule: Schedule) -> Optimizer:
    """The optimizer over the trained weights of `module`; `set_rate` gives it a learning rate."""
    groups = _groups(module, schedule)
    rate, decay = schedule.learning_rate, schedule.weight_decay
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, weight_decay=decay, momentum=schedule.momentum)
    kind = torch.optim.AdamW if schedule.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, weight_decay=decay)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Let the head learn at `rate`, and layers below it at their share of that."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[SCALE]


def _groups(module: nn.Module, schedule: Schedule) -> list[dict[str, Any]]:
    """Groups of parameters with the same rate and weight decay.

    AdamW decays matrices and filters alone, as is usual: a decayed norm or bias only shifts what
    the next layer sees.
    """
    groups = []
    layers = _layers(module) if schedule.layer_decay < 1 else [_learned(module)]
    for distance, layer in enumerate(reversed(layers)):
        scale = schedule.layer_decay**distance
        if schedule.optimizer != "adamw" or not schedule.weight_decay:
            groups.append({"params": layer, SCALE: scale})
            continue
        matrices = [each for each in layer if each.dim() > 1]
        vectors = [each for each in layer if each.dim() <= 1]
        groups += [
            {"params": matrices, SCALE: scale},
            {"params": vectors, SCALE: scale, "weight_decay": 0.0},
        ]
    return groups


def _layers(module: nn.Module) -> list[list[nn.Parameter]]:
    """The trained weights by layer, the head's last."""
    branches = [each for each in module.modules() if isinstance(each, Branch)]
    if not branches:
        return [_learned(module)]
    (branch,) = branches
    return [*branch.tail.layers(), _learned(branch.head)]


def _learned(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
