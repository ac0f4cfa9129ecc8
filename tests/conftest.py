"""Fixtures for every room's tests: tiny sound bundles made without torch, a store that holds one, encoded images.

All factories are session fixtures that keep no state, so hypothesis tests may use them as well.
"""

import io
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import settings
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from calibration.bins import BinSums
from calibration.measures import Measures
from model_store.bundle import Bundle, read_bundle, write_bundle
from model_store.card import CalibrationCard, Card, InputCard, Provenance, Referral
from model_store.store import Store
from tests.postgres import Cluster, find_programs

# No deadline: machines are shared. The same examples each time: a red build is never luck.
settings.register_profile("candor", deadline=None, derandomize=True)
settings.load_profile("candor")

CLASSES = ("benign", "malignant", "normal")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets (`pneumoniamnist.npz` and its like), where the machine has one."""
    folder = os.environ.get("CANDOR_DATA")
    if not folder:
        pytest.skip("set CANDOR_DATA to a folder with the MedMNIST files to run tests on real data")
    return Path(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL server of our own, where the machine has the programs."""
    programs = find_programs()
    if programs is None:
        pytest.skip("install PostgreSQL (Debian: apt-get install postgresql) to test ledgers in it")
    cluster = Cluster(programs)
    yield cluster
    cluster.close()


@pytest.fixture
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a ledger that is not there yet; a module that sets DATABASES = BOTH_DATABASES gets one of each."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    cluster: Cluster = request.getfixturevalue("postgres")
    return cluster.make_database()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    databases = getattr(metafunc.module, "DATABASES", None)
    if databases is not None and "ledger_url" in metafunc.fixturenames:
        metafunc.parametrize("ledger_url", databases, indirect=True)


@pytest.fixture(scope="session")
def make_onnx() -> Callable[..., bytes]:
    """build_onnx: `make_onnx(classes=3, channels=3, height=8, width=8, temperature=1.5, seed=0)` -> bytes."""
    return build_onnx


@pytest.fixture(scope="session")
def make_card() -> Callable[..., Card]:
    """build_card: `make_card(name=…, version=…, classes=(…), threshold=…, …)` -> Card without files."""
    return build_card


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Bundle]:
    """build_bundle: `make_bundle(folder, version, name=…, …)`; also a `build` for `Store.publish`, by partial."""
    return build_bundle


@pytest.fixture
def tiny_store(tmp_path: Path) -> Store:
    """A store with version 1 of "tiny" (three classes, RGB 8 x 8, T = 1.5, referral below 0.6) in production."""
    store = Store(tmp_path / "store")
    store.publish("tiny", build_bundle)
    store.promote("tiny", 1)
    return store


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """`png(seed=0, size=(32, 24), mode="RGB")` -> an encoded image, lossless; size is (width, height)."""
    return lambda seed=0, size=(32, 24), mode="RGB": encode(picture(seed, size, mode), "PNG")


@pytest.fixture(scope="session")
def jpeg() -> Callable[..., bytes]:
    """`jpeg(seed=0, size=(32, 24), mode="RGB")` -> an encoded image of quality 90; size is (width, height)."""
    return lambda seed=0, size=(32, 24), mode="RGB": encode(picture(seed, size, mode), "JPEG", quality=90)


def picture(seed: int = 0, size: tuple[int, int] = (32, 24), mode: str = "RGB") -> Image.Image:
    """A blurred random image: it has structure, and no two seeds look the same to a model."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """The bytes of the image's file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def build_onnx(
    *, classes: int = 3, channels: int = 3, height: int = 8, width: int = 8, temperature: float = 1.5, seed: int = 0
) -> bytes:
    """A linear classifier on all pixels: softmax((W x + b) / temperature), x = image / 255."""
    rng, pixels = np.random.default_rng(seed), channels * height * width
    weights = rng.normal(0, 6 / np.sqrt(pixels), (pixels, classes))
    constants = {
        "scale": np.array([1 / 255]),
        "weights": weights,
        "bias": -0.5 * weights.sum(axis=0),  # a gray image is undecided
        "temperature": np.array([temperature]),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
        helper.make_node("Div", ["logits", "temperature"], ["cooled"]),
        helper.make_node("Softmax", ["cooled"], ["probabilities"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", channels, height, width])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def build_card(
    *,
    name: str = "tiny",
    version: int = 1,
    classes: tuple[str, ...] = CLASSES,
    channels: int = 3,
    height: int = 8,
    width: int = 8,
    resize: str = "stretch",
    temperature: float = 1.5,
    threshold: float | None = 0.6,
    seed: int = 0,
) -> Card:
    """A card with a made-up, calibrated reference of 500 answers."""
    probabilities, labels = _calibrated_answers(len(classes), seed)
    measures = Measures.from_probabilities(probabilities, labels)
    sums = BinSums.from_predictions(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)
    return Card(
        name=name,
        version=version,
        classes=classes,
        input=InputCard.model_validate({"channels": channels, "height": height, "width": width, "resize": resize}),
        provenance=Provenance(
            dataset="generated",
            fingerprint="0" * 64,
            backbone="linear",
            loss="ce",
            seed=seed,
            epochs=0,
            libraries={"onnx": onnx.__version__},
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        ),
        calibration=CalibrationCard.from_reference(temperature=temperature, split="val", sums=sums, measures=measures),
        referral=None if threshold is None else _referral(threshold),
    )


def build_bundle(folder: Path, version: int = 1, **options: Any) -> Bundle:
    """Write a bundle into `folder` (made if missing) and read it back; options as in `build_card`."""
    folder.mkdir(parents=True, exist_ok=True)
    card = build_card(version=version, **options)
    size = {"channels": card.input.channels, "height": card.input.height, "width": card.input.width}
    model = build_onnx(
        classes=len(card.classes),
        temperature=card.calibration.temperature,
        seed=options.get("seed", 0),
        **size,
    )
    write_bundle(folder, card=card, onnx=model)
    return read_bundle(folder)


def _referral(threshold: float) -> Referral:
    return Referral(threshold=threshold, promised_accuracy=0.9, delta=0.05, coverage=0.7)


def _calibrated_answers(classes: int, seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.5), 500)
    return probabilities, (probabilities.cumsum(axis=1) > rng.random((500, 1))).argmax(axis=1)
