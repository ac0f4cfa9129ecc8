"""The trained part of a backbone: its last blocks, or all of it."""

from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn

from training.networks.blocks import Block


class Tail(nn.Module):
    """What of a backbone is trained: `trunk` maps the fixed part's features to the last feature
    map.

    `learned` are the blocks that are trained, first to last; None: all of the trunk. All other
    weights are frozen and their norms keep their running statistics.
    """

    def __init__(
        self, trunk: nn.Module, blocks: Sequence[Block], learned: Sequence[Block] | None
    ) -> None:
        super().__init__()
        self.trunk = trunk
        # By name, since a copy of this module has other parameters.
        self._depths = _depths(trunk, blocks if learned is None else learned)
        self._learned = None if learned is None else _names_of(trunk, learned)
        if learned is not None:
            trunk.requires_grad_(False)
            for module in (module for block in learned for module in block):
                module.requires_grad_(True)

    def train(self, mode: bool = True) -> Self:
        if self._learned is None:
            return super().train(mode)
        super().train(False)
        for name in self._learned:
            self.trunk.get_submodule(name).train(mode)
        return self

    def forward(self, features: Tensor) -> Tensor:
        return self.trunk(features)

    def layers(self) -> list[list[nn.Parameter]]:
        """The trained weights by block, first to last; weights outside the blocks count to the
        first.
        """
        layers: list[list[nn.Parameter]] = [
            [] for _ in range(max(self._depths.values(), default=0) + 1)
        ]
        for name, parameter in self.trunk.named_parameters():
            if parameter.requires_grad:
                layers[self._depths.get(name, 0)].append(parameter)
        return [layer for layer in layers if layer]


def _depths(trunk: nn.Module, blocks: Sequence[Block]) -> dict[str, int]:
    """The number of the block of each parameter, by name."""
    depth = {
        id(each): number
        for number, block in enumerate(blocks)
        for part in block
        for each in part.parameters()
    }
    return {name: depth[id(each)] for name, each in trunk.named_parameters() if id(each) in depth}


def _names_of(trunk: nn.Module, blocks: Sequence[Block]) -> tuple[str, ...]:
    """Names in `trunk` of the modules inside `blocks`."""
    inside = {id(module) for block in blocks for part in block for module in part.modules()}
    return tuple(name for name, module in trunk.named_modules() if id(module) in inside)
