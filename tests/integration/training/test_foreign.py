"""Weights, Hugging Face folders and other files: they answer as torch does, or say what to do."""

import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from model_store.errors import ForeignModelRefused, ModelStoreError
from model_store.foreign.sandbox import Sandbox
from model_store.foreign.source import open_source
from model_store.image import decode
from model_store.runtime import ort
from model_store.store.store import Store
from tests.builders.bundles import encode, foreign_onnx, picture
from tests.builders.foreign import run_import
from tests.builders.processes import candor_here
from training.foreign import weights

CLASSES = ("benign", "malignant", "normal")


def imported(path: Path, *options: str) -> dict[str, Any]:
    store = str(path.parent / "store")
    command = ["import", str(path), "--name", "theirs", "--store", store, "--json", *options]
    done = candor_here(*command)
    assert done.exit_code == 0, (done.output, done.exception)
    return dict(json.loads(done.stdout))


def refusal(path: Path, *options: str) -> str:
    done = candor_here("import", path, "--store", path.parent / "store", *options)
    assert isinstance(done.exception, ModelStoreError), (done.output, done.exception)
    return str(done.exception)


def answers(store: Path, images: list[bytes]) -> tuple[Any, Any]:
    """The bundle's probabilities, and its input, of some images."""
    bundle = Store(store).read("theirs", 1)
    pixels = np.stack([decode(each, bundle.card.input.spec) for each in images])
    session = ort.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"image": pixels})[0], pixels


def build(library: str) -> tuple[str, torch.nn.Module]:
    torch.manual_seed(0)
    if library == "timm":
        return "timm/test_resnet", timm.create_model("test_resnet", num_classes=3).eval()
    return "torchvision/squeezenet1_1", torchvision.models.squeezenet1_1(num_classes=3).eval()


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_weights_answer_as_torch_does_with_the_librarys_own_transforms(
    tmp_path: Path, library: str
) -> None:
    name, module = build(library)
    state = {f"module.{key}": value.contiguous() for key, value in module.state_dict().items()}
    path = tmp_path / ("weights.safetensors" if library == "timm" else "weights.pth")
    save_file(state, path) if library == "timm" else torch.save({"state_dict": state}, path)
    done = imported(
        path, "--architecture", name, "--classes", ",".join(CLASSES), "--scores", "softmax"
    )
    assert f"as {library} publishes" in done["found"]["preprocessing"]
    assert done["calibration"] == "none"

    images = [picture(seed, (300, 260)) for seed in range(3)]
    found, _ = answers(tmp_path / "store", [encode(each, "PNG") for each in images])
    if library == "timm":
        config = timm.data.resolve_data_config({}, model=module)
        transform: Callable[..., Any] = timm.data.create_transform(**config)
    else:
        transform = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms(antialias=True)
    with torch.inference_mode():
        expected = torch.softmax(
            module(torch.stack([transform(each) for each in images])), dim=1
        ).numpy()
    # The library rounds the size of the uncropped image, which moves pixels by a fraction of one.
    assert np.abs(found - expected).max() < 5e-3


def test_weights_are_taken_at_the_size_that_they_were_trained_on(tmp_path: Path) -> None:
    name, module = build("torchvision")
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    options = ("--architecture", name, "--classes", ",".join(CLASSES), "--scores", "softmax")
    imported(tmp_path / "weights.pth", *options, "--size", "48x64")
    image = picture(0, (64, 48))
    found, _ = answers(tmp_path / "store", [encode(image, "PNG")])
    transform = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    own = torchvision.transforms.functional.to_tensor(image)
    pixels = torchvision.transforms.functional.normalize(own, transform.mean, transform.std)
    with torch.inference_mode():
        expected = module(pixels[None]).softmax(dim=1).numpy()
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("resnet18", "write torchvision/NAME or timm/NAME"),
        ("timm/test_resnt", "timm has no network 'test_resnt'; it has test_resnet"),
        ("torchvision/resnet18", "does not hold the weights of torchvision/resnet18"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, architecture: str, said: str) -> None:
    _, module = build("timm")
    save_file(module.state_dict(), tmp_path / "weights.safetensors")
    assert said in refusal(tmp_path / "weights.safetensors", "--architecture", architecture)


def test_an_architecture_belongs_to_weights_alone(tmp_path: Path) -> None:
    save_file({"x": torch.ones(1)}, tmp_path / "weights.pth")
    foreign_onnx(tmp_path / "model.onnx")
    for name, options in (("weights.pth", ()), ("model.onnx", ("--architecture", "timm/x"))):
        done = candor_here("import", tmp_path / name, *options)
        assert done.exit_code == 2
        assert "--architecture" in done.output


def hugging_face(folder: Path, processor: dict[str, Any]) -> Path:
    """A folder as `save_pretrained` and optimum write it."""
    (folder / "onnx").mkdir(parents=True)
    foreign_onnx(folder / "onnx" / "model.onnx")
    config = {"model_type": "vit", "id2label": {str(at): name for at, name in enumerate(CLASSES)}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.mark.parametrize(
    ("processor", "said"),
    [
        (
            {"size": {"height": 16, "width": 16}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3},
            {"size": (16, 16), "decoded": None, "resize": "stretch"},
        ),
        (
            {
                "size": {"shortest_edge": 20},
                "do_center_crop": True,
                "crop_size": {"height": 16, "width": 16},
            },
            {"size": (16, 16), "decoded": (20, 20), "resize": "crop"},
        ),
        (
            {
                "size": {"shortest_edge": 16},
                "crop_pct": 0.8,
                "image_processor_type": "ConvNextImageProcessor",
            },
            {"size": (16, 16), "decoded": (20, 20), "resize": "crop", "resample": "bilinear"},
        ),
        (
            {"size": 16, "do_normalize": False, "do_rescale": False, "resample": 3},
            {"size": (16, 16), "resize": "stretch", "resample": "bicubic"},
        ),
        (
            {
                "size": {"shortest_edge": 20},
                "do_center_crop": True,
                "crop_size": {"height": 16, "width": 16},
                "image_processor_type": "MobileViTImageProcessorFast",
            },
            {"size": (16, 16), "decoded": (20, 20), "order": "bgr"},
        ),
    ],
)
def test_a_hugging_face_folder_says_classes_size_and_pixels(
    tmp_path: Path, processor: dict[str, Any], said: dict[str, Any]
) -> None:
    folder = hugging_face(tmp_path / "theirs", processor)
    with Sandbox(0) as sandbox:
        source = open_source(folder, sandbox)
    assert source.said.classes.names == CLASSES
    assert {key: getattr(source.said, key) for key in said} == said
    divisor = 1 if processor.get("do_rescale") is False else 255
    assert source.said.pixels.numbers.divisor == divisor
    done = imported(folder)
    card = json.loads((Path(done["folder"]) / "card.json").read_text())
    assert tuple(card["classes"]) == CLASSES
    assert card["input"]["height"] == (said.get("decoded") or said["size"])[0]
    assert card["input"]["resample"] == source.said.resample


def test_a_folder_that_cannot_be_understood_is_refused(tmp_path: Path) -> None:
    folder = hugging_face(tmp_path / "theirs", {"size": {"height": "tall"}})
    assert "cannot be understood" in refusal(folder)
    (folder / "preprocessor_config.json").write_text("[" * 100_000)
    assert "is not JSON" in refusal(folder)
    (folder / "preprocessor_config.json").unlink()
    (folder / "config.json").write_text('{"id2label": ["a", "b"]}')
    assert "id2label is no mapping" in refusal(folder)
    (folder / "onnx" / "model.onnx").unlink()
    assert "has neither model.onnx nor model.safetensors" in refusal(folder)


def test_without_transformers_the_folder_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    folder = hugging_face(tmp_path / "theirs", {})
    (folder / "onnx" / "model.onnx").unlink()
    (folder / "model.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "pip install transformers" in refusal(folder)


def test_external_weights_are_found_from_the_folder_of_the_graph(tmp_path: Path) -> None:
    folder = hugging_face(tmp_path / "theirs", {})
    path = folder / "onnx" / "model.onnx"
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    with Sandbox(0) as sandbox:
        assert open_source(folder, sandbox).model.graph.initializer[0].raw_data
    (folder / "onnx" / "model.onnx_data").unlink()
    assert "which is not there" in refusal(folder)


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
        run_import(tmp_path / name, "--architecture", "timm/test_resnet", *SAID)
        torch.testing.assert_close(found.pop(), own, rtol=0, atol=0)


def test_layers_beside_the_network_are_not_dropped(tmp_path: Path) -> None:
    module = timm.create_model("test_resnet", num_classes=3)
    state = {f"backbone.{key}": value for key, value in module.state_dict().items()}
    torch.save(state | {"head.weight": torch.ones(2, 3)}, tmp_path / "model.pth")
    said = run_import(tmp_path / "model.pth", "--architecture", "timm/test_resnet", *SAID).exception
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
        said = run_import(tmp_path / name, *SAID).exception
        assert isinstance(said, ForeignModelRefused)
        assert all(each in str(said) for each in named), said
        assert "\n" not in str(said)


def test_tensors_with_more_than_tensors_are_never_loaded(tmp_path: Path) -> None:
    lightning = {"pytorch-lightning_version": "2", "state_dict": {}, "hyper_parameters": Fatal()}
    for content in (saved(network()), _old(network()), saved(lightning), saved({"x": Fatal()})):
        (tmp_path / "model.pt").write_bytes(content)
        said = run_import(
            tmp_path / "model.pt", "--architecture", "timm/test_resnet", *SAID
        ).exception
        assert isinstance(said, ForeignModelRefused)
        assert "never loads" in str(said)


def test_a_folder_without_a_graph_names_the_models_in_it(tmp_path: Path) -> None:
    (tmp_path / "monai" / "models").mkdir(parents=True)
    (tmp_path / "monai" / "models" / "model.pt").write_bytes(b"")
    said = run_import(tmp_path / "monai", *SAID).exception
    assert re.search(r"import .*models/model\.pt itself", str(said))
