"""Divide a backbone into a fixed first part, whose features can be cached, and a last part that is
trained.

The network is traced with its blocks as units. It is cut at the last value that alone carries the
image on and that no trained weight has touched. A network that cannot be traced or has no such
value is not divided; its images then pass through all of it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn

from model_store.image import InputSpec
from training.networks.backbones import Trunk


class _Tracer(fx.Tracer):
    """Traces a network without looking into the modules of its blocks."""

    def __init__(self, units: Sequence[nn.Module]) -> None:
        super().__init__()
        self._units = {id(unit) for unit in units}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return id(m) in self._units or super().is_leaf_module(m, module_qualified_name)


def divide(
    trunk: Trunk, learned: Sequence[nn.Module], spec: InputSpec
) -> tuple[nn.Module, nn.Module] | None:
    """The part before the modules `learned` and the part with them, which share the weights of
    `trunk`; or None.

    Together they give what `trunk` gives, which is checked on an image of `spec`.
    """
    module = trunk.module.eval()
    weights = {id(each) for part in learned for each in part.parameters()}
    image = torch.rand(1, trunk.channels, spec.height, spec.width)
    try:
        graph = _Tracer([unit for block in trunk.blocks for unit in block]).trace(module)
        place = _last_cut(list(graph.nodes), dict(module.named_modules()), weights)
        if place is None:
            return None
        first, last = _divided(module, list(graph.nodes), place)
        with torch.inference_mode():
            between, whole = first(image), module(image)
            same = isinstance(between, torch.Tensor) and torch.equal(last(between), whole)
    except (
        fx.proxy.TraceError,
        AssertionError,
        AttributeError,
        KeyError,
        RuntimeError,
        TypeError,
        ValueError,
    ):
        return None
    return (first, last) if same else None


def _last_cut(
    nodes: Sequence[fx.Node], modules: dict[str, nn.Module], weights: set[int]
) -> int | None:
    """Place of the last node through which everything passes, before what is trained."""
    position = {node: place for place, node in enumerate(nodes)}
    found, needed_until = None, 0
    for place, node in enumerate(nodes):
        if _is_trained(node, modules, weights) or node.op == "output":
            break
        if needed_until <= place and node.op.startswith("call_") and place > 0:
            found = place
        needed_until = max([needed_until, *(position[user] for user in node.users)])
    return found


def _is_trained(node: fx.Node, modules: dict[str, nn.Module], weights: set[int]) -> bool:
    if node.op == "call_module":
        return any(id(each) in weights for each in modules[str(node.target)].parameters())
    if node.op == "get_attr":
        owner, _, name = str(node.target).rpartition(".")
        return id(getattr(modules[owner], name)) in weights
    return False


def _divided(
    module: nn.Module, nodes: Sequence[fx.Node], place: int
) -> tuple[fx.GraphModule, fx.GraphModule]:
    first, last = fx.Graph(), fx.Graph()
    known: dict[fx.Node, Any] = {}
    for node in nodes[: place + 1]:
        known[node] = first.node_copy(node, lambda each: known[each])
    first.output(known[nodes[place]])
    later: dict[fx.Node, Any] = {nodes[place]: last.placeholder("features")}
    for node in nodes[place + 1 :]:
        later[node] = last.node_copy(node, lambda each: later[each])
    return fx.GraphModule(module, first), fx.GraphModule(module, last)
