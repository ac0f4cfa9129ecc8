"""The blocks of a network in order: the last ones can be trained, the others stay frozen."""

from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn

from training.errors import BadBackbone

Block = tuple[nn.Module, ...]
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def find_blocks(model: nn.Module, *, without: Sequence[nn.Module] = ()) -> tuple[Block, ...]:
    """Blocks with weights, first to last.

    Each member of a sequence is a block; a norm belongs to the block before it. Modules in
    `without`, such as the classifier, are left out.

    >>> body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 3))
    >>> [len(block) for block in find_blocks(nn.Sequential(body, nn.Linear(2, 2)))]
    [2, 1, 1]
    """
    found: list[list[nn.Module]] = []
    for module in _opened(model, without):
        if found and isinstance(module, NORMS):
            found[-1].append(module)
        elif any(True for _ in module.parameters()):
            found.append([module])
    return tuple(map(tuple, found))


def last_blocks(blocks: Sequence[Block], trainable: int | float) -> tuple[Block, ...]:
    """The last `trainable` blocks (int), or the fewest last ones that hold this share of all
    weights (float).

    Raises BadBackbone for more blocks than there are or a share outside 0..1.

    >>> blocks = [(nn.Linear(1, size, bias=False),) for size in (1, 2, 1)]
    >>> [len(last_blocks(blocks, asked)) for asked in (0, 1, 0.25, 0.3, 1.0)]
    [0, 1, 1, 2, 3]
    """
    count = trainable if isinstance(trainable, int) else _count_of_share(blocks, trainable)
    if not 0 <= count <= len(blocks):
        raise BadBackbone(
            f"got {count} blocks to train, but this backbone has {len(blocks)}; give 0 to "
            f"{len(blocks)}"
        )
    return tuple(blocks[len(blocks) - count :])


def _count_of_share(blocks: Sequence[Block], share: float) -> int:
    if not 0 <= share <= 1:
        raise BadBackbone(
            f"got {share} as the share of weights to train; expected 0 to 1, or a whole number of "
            "blocks"
        )
    sizes = [
        sum(each.numel() for module in block for each in module.parameters())
        for block in reversed(blocks)
    ]
    held = 0
    for count, size in enumerate([0, *sizes]):
        held += size
        if held >= share * sum(sizes):
            return count
    return len(blocks)


def _opened(module: nn.Module, without: Sequence[nn.Module]) -> list[nn.Module]:
    """The children of `module`, with sequences replaced by their members."""
    parts: list[nn.Module] = []
    for child in module.children():
        if any(child is each for each in without):
            continue
        parts += (
            _opened(child, without) if isinstance(child, nn.Sequential | nn.ModuleList) else [child]
        )
    return parts


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
        """Trained weights by block, first to last; those outside the blocks count to the first."""
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
