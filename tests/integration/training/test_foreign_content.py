"""Files of torch and others are told apart by what is in them, whatever their names say."""

import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from model_store.errors import ForeignModelRefused
from tests.builders.foreign import run_import as run
from training.foreign import weights

NAMES = ("Edema", "Mass", "Nodule")
SAID = (
    "--pixels",
    "unit",
    "--channels",
    "rgb",
    "--classes",
    ",".join(NAMES),
    "--scores",
    "sigmoid",
)
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)


class Fatal:
    """Whoever unpickles this ends the process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('unpickled')",)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    ).eval()


def test_weights_are_found_in_what_trainers_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the network that is exported; tests/integration/training/test_foreign.py goes on."""
    found = []

    def keep(module: nn.Module, path: Path, *_: object, **__: object) -> None:
        found.append(module.state_dict())
        raise ForeignModelRefused(str(path))

    monkeypatch.setattr(weights, "exported", keep)
    torch.manual_seed(0)
    own = timm.create_model("test_resnet", num_classes=3).state_dict()
    inner = {f"net.{key}": value for key, value in own.items()}
    lightning = {
        "pytorch-lightning_version": "2.5.0",
        "state_dict": inner | {"loss.pos_weight": torch.ones(3)},
        "hyper_parameters": {"lr": 0.1},
        "epoch": 3,
    }
    torch.save(lightning, tmp_path / "model.onnx")
    torch.save(own, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    save_file({key: value.contiguous() for key, value in inner.items()}, tmp_path / "tensors.pt")
    for name in ("model.onnx", "old.bin", "tensors.pt"):
        run(tmp_path / name, "--architecture", "timm/test_resnet", *SAID)
        torch.testing.assert_close(found.pop(), own, rtol=0, atol=0)


def test_layers_beside_the_network_are_not_dropped(tmp_path: Path) -> None:
    module = timm.create_model("test_resnet", num_classes=3)
    state = {f"backbone.{key}": value for key, value in module.state_dict().items()}
    torch.save(state | {"head.weight": torch.ones(2, 3)}, tmp_path / "model.pth")
    said = run(tmp_path / "model.pth", "--architecture", "timm/test_resnet", *SAID).exception
    assert isinstance(said, ForeignModelRefused)
    assert "head.weight" in str(said)


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"{}")
    return buffer.getvalue()


LISTED = "docs/how-to/import-a-model.md"
# What is written, and what the refusal must name.
REFUSED: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "a pickle": (lambda: pickle.dumps(Fatal()), ("pickle", "never loads", LISTED)),
    "TorchScript": (lambda: zipped("m/code/a.py", "m/constants.pkl"), ("torch.onnx.export",)),
    "Keras 3": (lambda: zipped("metadata.json", "model.weights.h5"), ("unpack it", LISTED)),
    "a zip of a model": (
        lambda: zipped("a/model.onnx", "a/labels.txt"),
        ("model.onnx", "unpack"),
    ),
    "a damaged zip": (lambda: saved(network())[:5000], ("damaged",)),
    "OpenVINO": (lambda: b'<?xml version="1.0"?>\n<net name="m" version="11">', (LISTED,)),
    "a web page": (lambda: b"\n<!doctype html>", ("download it again",)),
    "a frozen TensorFlow graph": (lambda: b"\n\x0b\n\x01x\x12\x0bPlaceholder", (LISTED,)),
    "ExecuTorch": (lambda: b"\x1c\0\0\0ET12" + bytes(99), (LISTED,)),
}


def _old(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_taken_says_how(tmp_path: Path, case: str) -> None:
    write, named = REFUSED[case]
    content = write()
    for name in ("model.onnx", "model.pt", "model"):
        (tmp_path / name).write_bytes(content)
        said = run(tmp_path / name, *SAID).exception
        assert isinstance(said, ForeignModelRefused)
        assert all(each in str(said) for each in named), said
        assert "\n" not in str(said)


def test_tensors_with_more_than_tensors_are_never_loaded(tmp_path: Path) -> None:
    lightning = {"pytorch-lightning_version": "2", "state_dict": {}, "hyper_parameters": Fatal()}
    for content in (saved(network()), _old(network()), saved(lightning), saved({"x": Fatal()})):
        (tmp_path / "model.pt").write_bytes(content)
        said = run(tmp_path / "model.pt", "--architecture", "timm/test_resnet", *SAID).exception
        assert isinstance(said, ForeignModelRefused)
        assert "never loads" in str(said)


def test_a_folder_without_a_graph_names_the_models_in_it(tmp_path: Path) -> None:
    (tmp_path / "monai" / "models").mkdir(parents=True)
    (tmp_path / "monai" / "models" / "model.pt").write_bytes(b"")
    said = run(tmp_path / "monai", *SAID).exception
    assert re.search(r"import .*models/model\.pt itself", str(said))
