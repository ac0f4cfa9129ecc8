"""Truncate torchvision's networks after the last feature map, which removes pooling and classifier.

The network is traced and run once. It then ends at the last four-dimensional value before the
classifier that is more than one pixel wide. This needs no knowledge of how a particular network is
built, and DenseNet keeps the ReLU that it applies outside its layers.
"""

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from training.errors import BadBackbone

SIDE = 224  # of the image for tracing
CLASSIFIERS = ("classifier", "fc", "head", "heads", "AuxLogits", "aux1", "aux2", "avgpool")


def truncate(model: nn.Module, name: str) -> nn.Module:
    """`model` from a normalized image (N, 3, H, W) to its last feature map (N, C, h, w); weights
    are shared.

    Raises BadBackbone if there is no such map or the network cannot be traced.
    """
    model.eval()
    try:
        traced = fx.symbolic_trace(model)
        with torch.inference_mode():
            ShapeProp(traced).propagate(torch.zeros(1, 3, SIDE, SIDE))
    except (fx.proxy.TraceError, RuntimeError, TypeError, AssertionError) as error:
        raise BadBackbone(
            f"torchvision's {name} cannot be truncated ({error}); use the timm network of this kind"
        ) from error
    maps = [node for node in traced.graph.nodes if _is_feature_map(node)]
    if not maps or maps[-1].target == "conv_proj":  # a transformer's patches, before any block
        raise BadBackbone(
            f"torchvision's {name} has no feature map before its classifier; use the timm network"
        )
    return _ended(traced, maps[-1])


def _is_feature_map(node: fx.Node) -> bool:
    known = node.meta.get("tensor_meta")
    shape = getattr(known, "shape", ())
    owner = node.target.split(".")[0] if isinstance(node.target, str) else ""
    inside = node.op in ("call_module", "call_function", "call_method") and owner not in CLASSIFIERS
    return inside and len(shape) == 4 and min(shape[2:]) > 1


def _ended(traced: fx.GraphModule, node: fx.Node) -> fx.GraphModule:
    (output,) = (each for each in traced.graph.nodes if each.op == "output")
    traced.graph.erase_node(output)
    with traced.graph.inserting_after(node):
        traced.graph.output(node)
    traced.graph.eliminate_dead_code()
    return fx.GraphModule(traced, traced.graph)
