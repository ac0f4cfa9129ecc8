"""Files of torch and others are told apart by what is in them, whatever their names say."""

import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.file_content import content_of
from model_store.foreign.source import open_source
from model_store.runtime import ort
from model_store.store.store import Store
from tests.builders.foreign import run_import as run
from training.foreign import weights

NAMES = ("Edema", "Mass", "Nodule")
SAID = ("--normalize", "unit", "--channels", "rgb", "--findings", ",".join(NAMES))
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)


class Branching(nn.Module):
    """A network whose code has a branch, which only scripting keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, image: Tensor) -> Tensor:
        scores = self.net(image)
        if scores.shape[1] > 2:
            scores = scores * 2.0
        return scores


class TwoInputs(nn.Module):
    """A network that takes an age beside the image."""

    def forward(self, image: Tensor, age: Tensor) -> Tensor:
        return image.mean(dim=(2, 3)) + age


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


def answers(path: Path, *options: str) -> Any:
    done = run(path, *options)
    assert done.exit_code == 0, (done.output, done.exception)
    bundle = Store(path.parent / "store").read("theirs", json.loads(done.stdout)["version"])
    session = ort.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"image": PIXELS})[0]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(("kind", "name"), [("trace", "model.pt"), ("script", "model.onnx")])
def test_torchscript_is_exported_in_a_confined_process(
    tmp_path: Path, kind: str, name: str
) -> None:
    module = network() if kind == "trace" else Branching().eval()
    images = torch.from_numpy(PIXELS / np.float32(255))
    script = torch.jit.trace(module, images) if kind == "trace" else torch.jit.script(module)
    path = tmp_path / name
    torch.jit.save(script, path)
    assert isinstance(run(path, *SAID).exception, ForeignModelUnclear)
    found = answers(path, "--size", "32x32", *SAID)
    with torch.inference_mode():
        expected = torch.sigmoid(module(images)).numpy()
    assert np.abs(found - expected).max() < 1e-5


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_of_two_inputs_says_so(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(TwoInputs()), tmp_path / "model.pt")
    said = run(tmp_path / "model.pt", "--size", "32x32", *SAID).exception
    assert isinstance(said, ForeignModelRefused)
    assert "image, age" in str(said)


def test_weights_are_found_in_what_trainers_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the network that is exported; tests/integration/training/test_foreign.py goes on."""
    found = []

    def keep(module: nn.Module, path: Path, **_: object) -> None:
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


def exported_program() -> bytes:
    buffer = io.BytesIO()
    program = torch.export.export(network(), (torch.rand(2, 3, 32, 32),))
    torch.export.save(program, buffer)
    return buffer.getvalue()


def scikit() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(LogisticRegression())


LIGHTNING = {"pytorch-lightning_version": "2", "state_dict": {}, "hyper_parameters": Fatal()}
# What is written, and what the refusal must name.
REFUSED: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "a pickled network": (
        lambda: saved(network()),
        ("torch.nn.modules.container.Sequential", "torch.onnx.export", "state_dict()"),
    ),
    "a pickled network of before 2020": (
        lambda: _old(network()),
        ("torch.nn.modules.container.Sequential", "torch.onnx.export"),
    ),
    "Lightning with code": (lambda: saved(LIGHTNING), ("Lightning", "--architecture")),
    "hostile tensors": (lambda: saved({"x": Fatal()}), ("exec", "never loads")),
    "scikit-learn": (lambda: pickle.dumps(scikit()), ("sklearn.pipeline.Pipeline", "skl2onnx")),
    "scikit-learn, protocol 2": (lambda: pickle.dumps(scikit(), 2), ("sklearn", "skl2onnx")),
    "joblib, compressed": (lambda: zlib.compress(pickle.dumps(scikit())), ("joblib", "skl2onnx")),
    "torch.export": (exported_program, ("torch.export.load",)),
    "Keras 3": (lambda: zipped("metadata.json", "config.json", "model.weights.h5"), ("export(",)),
    "skops": (lambda: zipped("schema.json", "1.npy"), ("skops", "skl2onnx")),
    "NumPy": (lambda: zipped("a.npy", "b.npy"), ("NumPy",)),
    "a zip of a model": (
        lambda: zipped("a/model.onnx", "a/labels.txt"),
        ("a/model.onnx", "unpack"),
    ),
    "a damaged zip": (lambda: saved(network())[:5000], ("damaged",)),
    "OpenVINO": (lambda: b'<?xml version="1.0"?>\n<net name="m" version="11">', ("OpenVINO",)),
    "a web page": (lambda: b"\n<!doctype html>", ("web page",)),
    "a frozen TensorFlow graph": (lambda: b"\n\x0b\n\x01x\x12\x0bPlaceholder", ("tf2onnx",)),
    "Flax": (lambda: b"\x81\xa6params\x81\xa5Dense" + bytes(99), ("jax2onnx",)),
    "ExecuTorch": (lambda: b"\x1c\0\0\0ET12" + bytes(99), ("ExecuTorch",)),
    "Git LFS": (lambda: b"version https://git-lfs.github.com/spec/v1\n", ("git lfs pull",)),
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


def test_folders_of_other_tools_say_how(tmp_path: Path) -> None:
    for folder, file, named in (
        ("tensorflow", "saved_model.pb", "--saved-model"),
        ("mlflow", "MLmodel", "data"),
        ("paddle", "inference.pdiparams", "paddle2onnx"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_bytes(b"")
        with pytest.raises(ForeignModelRefused, match=named):
            content_of(tmp_path / folder)
    (tmp_path / "monai" / "models").mkdir(parents=True)  # a bundle of MONAI
    (tmp_path / "monai" / "models" / "model.ts").write_bytes(b"")
    with pytest.raises(ForeignModelRefused, match=r"import .*models/model\.ts itself"):
        open_source(tmp_path / "monai")
