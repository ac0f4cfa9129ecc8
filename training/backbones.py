"""Pretrained image networks without pooling and classifier: timm's, torchvision's, and one small one of our own.

A name is `small_conv`, `torchvision/NAME`, or a name of timm. Weights come from a safetensors file, from the hub, or,
only where the caller asks for it by the word `none`, from the seed: never silently.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import timm
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from training.errors import BadWeights, UnknownName, WeightsNotFound

Weights = Path | Literal["hub", "none"]
SMALL = "small_conv"
TORCHVISION = "torchvision/"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# The hub's client logs every retry; that it failed is said once, by WeightsNotFound.
logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


class TimmTrunk(nn.Module):
    """A timm model up to its last feature map."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model.forward_features(image)


@dataclass(frozen=True)
class Trunk:
    """A network from a normalized image (N, `channels`, H, W) to a feature map (N, C, h, w)."""

    module: nn.Module
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load_trunk(name: str, weights: Weights) -> Trunk:
    """The trunk of backbone `name` with `weights`.

    Raises UnknownName, WeightsNotFound (no file, no hub) or BadWeights (a file that does not fit).
    """
    if name == SMALL:
        if weights != "none":
            raise WeightsNotFound(f"{SMALL} has no pretrained weights; pass weights `none` to train it from scratch")
        return Trunk(small_conv(), 1, (0.5,), (0.5,))
    if name.startswith(TORCHVISION):
        return _torchvision_trunk(name.removeprefix(TORCHVISION), weights)
    return _timm_trunk(name, weights)


def small_conv() -> nn.Sequential:
    """Three strided convolutions from a gray image to 128 feature maps at an eighth of its size."""
    layers: list[nn.Module] = []
    for before, after in ((1, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def weights_digest(module: nn.Module) -> str:
    """SHA-256 (hex) over names and values of all tensors of `module`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def find_weights(backbone: str, folder: Path | None) -> Weights:
    """`folder`/weights/BACKBONE.safetensors if it is there, `none` for the small network, else the hub."""
    if backbone == SMALL:
        return "none"
    file = folder / "weights" / f"{backbone.removeprefix(TORCHVISION)}.safetensors" if folder else None
    return file if file is not None and file.is_file() else "hub"


def _timm_trunk(name: str, weights: Weights) -> Trunk:
    if not timm.is_model(name):
        raise UnknownName("backbone", name, (SMALL, f"{TORCHVISION}resnet18", "or any name of timm.list_models()"))
    try:
        model: Any = timm.create_model(name, pretrained=weights == "hub")
    except (OSError, RuntimeError, ValueError) as error:
        raise _unreachable(name, error) from error
    if isinstance(weights, Path):
        _load(model, weights)
    settings: dict[str, Any] = model.pretrained_cfg
    return Trunk(TimmTrunk(model), 3, tuple(settings["mean"]), tuple(settings["std"]))


def _torchvision_trunk(name: str, weights: Weights) -> Trunk:
    if name not in torchvision.models.list_models(module=torchvision.models):
        known = ("resnet18", "resnet50", "densenet121", "alexnet", "squeezenet1_1", "...")
        raise UnknownName("torchvision backbone", name, tuple(TORCHVISION + each for each in known))
    try:
        model = torchvision.models.get_model(name, weights="DEFAULT" if weights == "hub" else None)
    except (OSError, RuntimeError) as error:
        raise _unreachable(name, error) from error
    if isinstance(weights, Path):
        _load(model, weights)
    # Those without `features` are the ResNets and their kin: all but the average pool and the classifier.
    module = model.features if hasattr(model, "features") else nn.Sequential(*list(model.children())[:-2])
    return Trunk(module, 3, IMAGENET_MEAN, IMAGENET_STD)


def _load(model: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise WeightsNotFound(f"no weights file at {path}; give the path of a .safetensors file, or `hub`")
    try:
        missing, unexpected = model.load_state_dict(load_file(path), strict=False)
    except (SafetensorError, RuntimeError) as error:
        raise BadWeights(f"{path} does not hold the tensors of this backbone ({error})") from error
    if missing or unexpected:
        raise BadWeights(f"{path} does not fit: missing {_some(missing)}; unexpected {_some(unexpected)}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or "none"


def _unreachable(name: str, error: Exception) -> WeightsNotFound:
    return WeightsNotFound(
        f"the hub did not give weights for {name} ({error}); save them as {name}.safetensors and give that path, "
        "or put the file into the data folder's weights/"
    )
