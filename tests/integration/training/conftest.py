"""Two small data sets, and a run and a store of each; exports share what torch does for them."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import pytest
from torch import nn
from torch.onnx._internal.exporter._registration import ONNXRegistry

from model_store.store.store import Store
from tests.builders.datasets import shades
from tests.builders.finding_sets import write_npz
from training.datasets import Dataset, load_dataset
from training.networks.backbones import SMALL
from training.runs import onnx_graph
from training.runs.config import TrainConfig
from training.runs.run import RunResult, train

Choose = Callable[..., TrainConfig]


@pytest.fixture(scope="package")
def brightness() -> Dataset:
    """Three classes, told apart by brightness."""
    return shades(counts=(150, 60, 60), side=24, spread=18.0, noise=40.0)


@pytest.fixture(scope="package")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three findings, of which a fifth of the labels are unknown."""
    path = tmp_path_factory.mktemp("data") / "set.npz"
    write_npz(path, 900, blanks=0.2)
    return load_dataset(path)


@pytest.fixture(scope="package")
def choose() -> Choose:
    """A configuration of a small network whose fit takes a second at most."""
    small = {"backbone": SMALL, "weights": "none", "epochs": 4, "batch_size": 16}
    small |= {"image_size": 32, "head_reduction": 2, "learning_rate": 2e-3}
    return lambda **choices: TrainConfig.model_validate(small | choices)


@pytest.fixture(scope="package")
def class_run(
    brightness: Dataset, choose: Choose, tmp_path_factory: pytest.TempPathFactory
) -> RunResult:
    return train(choose(beta=2.0), brightness, tmp_path_factory.mktemp("runs") / "dca")


@pytest.fixture(scope="package")
def findings_run(
    digits: Dataset, choose: Choose, tmp_path_factory: pytest.TempPathFactory
) -> RunResult:
    config = choose(loss="ce", epochs=30, batch_size=32, learning_rate=1e-3)
    return train(config, digits, tmp_path_factory.mktemp("runs") / "ce")


@pytest.fixture(scope="package")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="package", autouse=True)
def traced_once() -> Iterator[None]:
    """torch traces the same weights once, and reads the list of all operators, half of the time of
    a small export, once for all.
    """
    traced: dict[Any, bytes] = {}
    trace = onnx_graph._exported

    def once(module: nn.Module, images: Any, outputs: Sequence[str]) -> bytes:
        weights = [each.numpy().tobytes() for each in module.state_dict().values()]
        key = (str(module), *outputs, images.tobytes(), *weights)
        if key not in traced:
            traced[key] = trace(module, images, outputs)
        return traced[key]

    operators = cache(ONNXRegistry.from_torchlib)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(operators))
        patch.setattr(onnx_graph, "_exported", once)
        yield
