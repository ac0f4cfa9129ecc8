"""Weights in a file, of an architecture of timm or torchvision. Only tensors are read."""

import difflib
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import timm
import torchvision
from safetensors import SafetensorError
from torch import Tensor, nn

from calibration.wording import parameter
from model_store.errors import ForeignModelRefused
from model_store.foreign.import_choices import ImportChoices
from model_store.foreign.preprocessing import Normalization, Pixels, Resize
from model_store.foreign.sandbox import Sandbox
from model_store.foreign.source import ForeignSource
from model_store.image import Resample
from training.foreign.graph_export import exported
from training.networks.weight_files import read_tensors


def from_weights(
    path: Path, architecture: str, sandbox: Sandbox, *, size: tuple[int, int] | None = None
) -> ForeignSource:
    """Return the network `architecture` ("torchvision/NAME" or "timm/NAME") with the weights at
    `path` as a graph.

    The number of classes and channels is that of the weights. The preprocessing is that with which
    the library publishes the network's own weights, and so is its size. The graph is exported for
    `size`, or for that.

    Raises ForeignModelRefused: no such architecture, weights that do not fit it, or a file that
    holds more than tensors.
    """
    library, _, name = architecture.partition("/")
    if library not in ("torchvision", "timm") or not name:
        raise ForeignModelRefused(
            f"{architecture!r} is no architecture; write torchvision/NAME or timm/NAME, as in "
            "torchvision/resnet18"
        )
    tensors = _tensors(path)
    module = _fitted(library, name, tensors, path)
    gray, said = _said(library, name, module)
    channels = 1 if gray else 3
    if gray:  # the library's numbers are for three
        said = replace(said, pixels=None)
    return exported(module, path, sandbox, channels=channels, size=size, said=said)


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ForeignModelRefused(f"there is no file {path}")
    try:
        tensors = read_tensors(path)
    except pickle.UnpicklingError as error:
        raise ForeignModelRefused(
            f"{path} holds more than tensors, which Candor never loads: save `model.state_dict()`, "
            "best as .safetensors"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ForeignModelRefused(
            f"{path} is no file of weights ({str(error).splitlines()[0][:150]})"
        ) from error
    return tensors


def _own(tensors: Mapping[str, Tensor], names: Sequence[str], path: Path) -> Mapping[str, Tensor]:
    """The network's tensors without the prefix under which a trainer keeps them, if there is one.

    Raises ForeignModelRefused if the file has layers beside them.
    """
    first = f".{names[0]}"
    prefixes = [each.removesuffix(names[0]) for each in tensors if f".{each}".endswith(first)]
    for prefix in prefixes:
        if not all(prefix + name in tensors for name in names):
            continue
        rest = [name for name in tensors if not name.startswith(prefix)]
        layers = [name for name in rest if tensors[name].dim() > 1]
        if layers:
            raise ForeignModelRefused(
                f"{path} has layers beside the network ({', '.join(layers[:3])}): save the "
                "`state_dict()` of the network alone, or export the whole to ONNX"
            )
        return {name: tensors[prefix + name] for name in names}
    return tensors


def _fitted(library: str, name: str, tensors: Mapping[str, Tensor], path: Path) -> nn.Module:
    """The network with as many classes and channels as the weights have."""
    plain = _built(library, name)
    own = plain.state_dict()
    tensors = _own(tensors, list(own), path)
    other = {each for each in own if each in tensors and own[each].shape != tensors[each].shape}
    counts = {
        int(tensors[each].shape[0])
        for each in other
        if own[each].shape[1:] == tensors[each].shape[1:]
    }
    gray = {
        each
        for each in other
        if own[each].dim() == 4 and own[each].shape[1] == 3 and tensors[each].shape[1] == 1
    }
    options: dict[str, Any] = {"num_classes": counts.pop()} if len(counts) == 1 else {}
    if gray and library == "timm":
        options["in_chans"] = 1
    module = _built(library, name, **options) if options else plain
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:3]]
        raise ForeignModelRefused(
            f"{path} does not hold the weights of {library}/{name}: {' '.join(lines)[:300]}"
        ) from error
    return module.eval()


def _built(library: str, name: str, **options: Any) -> nn.Module:
    known = torchvision.models.list_models() if library == "torchvision" else timm.list_models()
    if name.split(".")[0] not in known:
        near = ", ".join(difflib.get_close_matches(name, known)) or "none with a similar name"
        raise ForeignModelRefused(f"{library} has no network {name!r}; it has {near}")
    if library == "timm":
        return timm.create_model(name, pretrained=False, **options)
    return torchvision.models.get_model(name, weights=None, **options)


def _said(library: str, name: str, module: nn.Module) -> tuple[bool, ImportChoices]:
    """Whether images are gray, and size and preprocessing as the library publishes them."""
    if library == "timm":
        config: Any = module.pretrained_cfg
        gray = next(each for each in module.parameters() if each.dim() == 4).shape[1] == 1
        size, share = tuple(config["input_size"][1:]), config.get("crop_pct") or 1.0
        mean, std = config["mean"], config["std"]
        decoded = tuple(round(each / share) for each in size)
        resize: Resize = "stretch" if config.get("crop_mode") == "squash" else "crop"
        if config.get("crop_mode") == "border":
            raise ForeignModelRefused(
                f"timm publishes {name} for images with a border, which Candor does not add: "
                "export the network to ONNX, and import that with "
                f"{parameter('pixels')} and {parameter('resize')}"
            )
        resample = config.get("interpolation") or "bilinear"
    else:
        published: Any = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        gray, size = False, (published.crop_size[0],) * 2
        decoded, resize = (published.resize_size[0],) * 2, "crop"
        resample = published.interpolation.value
        mean, std = published.mean, published.std
    numbers = Normalization(255.0, tuple(mean), tuple(std))
    return gray, ImportChoices(
        size=size,
        decoded=max(decoded, size),
        resize=resize,
        resample=_known(resample, name),
        pixels=Pixels.named(numbers, f"as {library} publishes {name}"),
        order="rgb",
    )


def _known(resample: str, name: str) -> Resample:
    """The filter that a library names. Raises ForeignModelRefused for one of its own."""
    known: dict[str, Resample] = {each: each for each in get_args(Resample)}
    if resample not in known:
        raise ForeignModelRefused(
            f"{name} gets its images by {resample!r}, which Candor does not do: export the network "
            f"to ONNX, and import that with {parameter('pixels')}"
        )
    return known[resample]
