"""Pretrained image networks without pooling and classifier: timm's, torchvision's, and a small one
of our own.

A name is `small_conv`, `torchvision/NAME`, or a name in timm. Weights come from a file or from the
hub. They are random only if the caller asks for `none`.

A torchvision network is traced and run once. It then ends at the last four-dimensional value before
the classifier that is more than one pixel wide. This needs no knowledge of how a particular network
is built, and DenseNet keeps the ReLU that it applies outside its layers.
"""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from training.choices import Weights
from training.errors import BadBackbone, UnknownName, WeightsNotFound
from training.networks.weight_files import find_file, load_weights

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


SMALL = "small_conv"
TORCHVISION = "torchvision/"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# The hub's client logs every retry; WeightsNotFound reports the failure once.
logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


class TimmTrunk(nn.Module):
    """A timm model up to its last feature map, always as (N, C, h, w)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model
        self._may_give_tokens = hasattr(model, "num_prefix_tokens")

    def forward(self, image: Tensor) -> Tensor:
        features = self.model.forward_features(image)
        if self._may_give_tokens and features.dim() == 3:  # tokens, (N, prefix + h w, C)
            across, down = self.model.patch_embed.patch_size
            height, width = image.shape[2] // across, image.shape[3] // down
            features = features[:, self.model.num_prefix_tokens :].transpose(1, 2)
            return features.reshape(image.shape[0], -1, height, width)
        channels_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
        return features.permute(0, 3, 1, 2) if channels_last else features


@dataclass(frozen=True)
class Trunk:
    """A network from a normalized image (N, `channels`, H, W) to a feature map (N, C, h, w)."""

    module: nn.Module
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def require_backbone(name: str, weights: Weights) -> None:
    """Raise UnknownName for a name no backbone has, WeightsNotFound for a missing weights file."""
    if name.startswith(TORCHVISION):
        if name.removeprefix(TORCHVISION) not in torchvision.models.list_models(
            module=torchvision.models
        ):
            known = ("resnet18", "resnet50", "densenet121", "alexnet", "squeezenet1_1", "...")
            raise UnknownName(
                "torchvision backbone", name, tuple(TORCHVISION + each for each in known)
            )
    elif name != SMALL and not timm.is_model(name):
        raise UnknownName(
            "backbone", name, (SMALL, f"{TORCHVISION}resnet18", "or any name of timm.list_models()")
        )
    if name == SMALL and weights != "none":
        raise WeightsNotFound(
            f"{SMALL} has no pretrained weights; pass weights `none` to train it from scratch"
        )
    if isinstance(weights, Path) and not weights.is_file():
        raise WeightsNotFound(f"there is no weights file {weights}; give a file, `hub` or `none`")


def load_trunk(name: str, weights: Weights) -> Trunk:
    """Load the trunk of backbone `name` with `weights`.

    Raises UnknownName, WeightsNotFound (no file, no hub) or BadWeights (a file that does not fit).
    """
    require_backbone(name, weights)
    if name == SMALL:
        return Trunk(small_conv(), 1, (0.5,), (0.5,))
    if name.startswith(TORCHVISION):
        return _torchvision_trunk(name.removeprefix(TORCHVISION), weights)
    return _timm_trunk(name, weights)


def small_conv() -> nn.Sequential:
    """Three strided convolutions, from a gray image to 128 maps at an eighth of its size."""
    layers: list[nn.Module] = []
    for before, after in ((1, 32), (32, 64), (64, 128)):
        layers += [
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


def weights_digest(module: nn.Module) -> str:
    """SHA-256 (hex) over names and values of all tensors of `module`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def find_weights(backbone: str, folder: Path | None) -> Weights:
    """The backbone's file in `folder`/weights; else `none` for the small network, or `hub`."""
    if backbone == SMALL:
        return "none"
    found = find_file(backbone.removeprefix(TORCHVISION), folder / "weights") if folder else None
    return found or "hub"


def _timm_trunk(name: str, weights: Weights) -> Trunk:
    try:
        model: Any = timm.create_model(name, pretrained=weights == "hub")
    except (OSError, RuntimeError, ValueError) as error:
        raise _unreachable(name, error, source=_timm_source(name)) from error
    if isinstance(weights, Path):
        load_weights(model, weights)
    settings: dict[str, Any] = model.pretrained_cfg
    return Trunk(TimmTrunk(model), 3, tuple(settings["mean"]), tuple(settings["std"]))


def _torchvision_trunk(name: str, weights: Weights) -> Trunk:
    try:
        model = torchvision.models.get_model(
            name, weights=_published(name) if weights == "hub" else None
        )
    except (OSError, RuntimeError) as error:
        source = str(torchvision.models.get_model_weights(name)[_published(name)].url)
        raise _unreachable(name, error, source=source) from error
    if isinstance(weights, Path):
        load_weights(model, weights)
    return Trunk(truncate(model, name), 3, IMAGENET_MEAN, IMAGENET_STD)


def _published(name: str) -> str:
    """Name of the published weights: the first version, which the paper used, if there are several.

    Later versions are trained with label smoothing and mixup, which makes better classifiers but
    worse frozen features (Kornblith et al. 2021).
    """
    first = "IMAGENET1K_V1"
    return first if first in torchvision.models.get_model_weights(name).__members__ else "DEFAULT"


def _unreachable(name: str, error: Exception, *, source: str) -> WeightsNotFound:
    return WeightsNotFound(
        f"could not get weights for {name} from the hub ({error}); download them from {source}, "
        f"save the file as {name}.safetensors or .pth, and give its path or put it into weights/ "
        "of the data folder"
    )


def _timm_source(name: str) -> str:
    published: Any = timm.get_pretrained_cfg(name)
    if published and published.hf_hub_id:
        return f"https://huggingface.co/{published.hf_hub_id}"
    return str(published and published.url)
