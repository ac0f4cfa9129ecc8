"""A classifier cut behind its last feature map: how torchvision's networks lose their pooling and classifier.

The network is traced, run once, and ended at the last value of four dimensions that is more than one pixel wide and
made before the classifier. So DenseNet keeps the ReLU that it applies outside its layers, and nothing has to be known
by name of how a network is built.
"""

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from training.errors import BadBackbone

SIDE = 224  # of the image that is run through
CLASSIFIERS = ("classifier", "fc", "head", "heads", "AuxLogits", "aux1", "aux2", "avgpool")


def cut_classifier(model: nn.Module, name: str) -> nn.Module:
    """`model` from a normalized image (N, 3, H, W) to its last feature map (N, C, h, w); weights are shared.

    Raises BadBackbone where there is no such map, or the network cannot be traced.
    """
    model.eval()
    try:
        traced = fx.symbolic_trace(model)
        with torch.inference_mode():
            ShapeProp(traced).propagate(torch.zeros(1, 3, SIDE, SIDE))
    except (fx.proxy.TraceError, RuntimeError, TypeError, AssertionError) as error:
        raise BadBackbone(f"torchvision's {name} cannot be cut ({error}); take timm's network of this kind") from error
    maps = [node for node in traced.graph.nodes if _is_feature_map(node)]
    if not maps or maps[-1].target == "conv_proj":  # a transformer's patches, before any block
        raise BadBackbone(f"torchvision's {name} has no feature map before its classifier; take timm's network")
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
