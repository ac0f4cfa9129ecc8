"""Weights in files of timm, Candor and torchvision. Only tensors are unpickled."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from calibration.wording import some
from training.errors import BadWeights, WeightsNotFound

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
# The published files of DenseNet have the names of an older torchvision: `norm.1` for `norm1`.
_OLD_NAME = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))$"
)


def find_file(name: str, folder: Path) -> Path | None:
    """NAME.safetensors and the like in `folder`, or NAME-HASH.pth as torchvision publishes it."""
    for suffix in SUFFIXES:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    published = sorted(folder.glob(f"{name}-????????.pth"))
    return published[0] if published else None


def load_weights(model: nn.Module, path: Path) -> None:
    """Load every tensor of `model` from the file at `path`.

    Raises WeightsNotFound if there is no file, BadWeights if it does not fit or contains more than
    tensors.
    """
    if not path.is_file():
        raise WeightsNotFound(
            f"no weights file at {path}; give the path of a .safetensors or .pth file, or `hub`"
        )
    try:
        tensors = read_tensors(path)
        missing, unexpected = model.load_state_dict(tensors, strict=False)
    except (SafetensorError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise BadWeights(f"{path} does not hold the tensors of this backbone ({error})") from error
    if missing or unexpected:
        raise BadWeights(
            f"{path} does not fit: missing {some(missing, 3) or 'none'}; "
            f"unexpected {some(unexpected, 3) or 'none'}"
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name, also of a checkpoint that wraps them in `state_dict` or `model`."""
    with path.open("rb") as file:
        is_safetensors = file.read(9)[8:] == b"{"  # the name may say anything
    if is_safetensors:
        return load_file(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(
        isinstance(each, Tensor) for each in content.values()
    ):
        raise ValueError("expected a dictionary of tensors")
    return {_OLD_NAME.sub(r"\1\2", name): tensor for name, tensor in content.items()}
