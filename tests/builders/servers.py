"""Real server processes for tests and soaks, and load on them."""

import resource
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self, TypeAlias

import httpx
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from model_store.bundle.bundle import write_bundle
from model_store.store.store import Store
from tests.builders.bundles import build_card
from tests.builders.processes import PATIENCE_S, Process

# Any import of torch fails, as it would where torch is not installed.
SERVE = """
import gc, sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "timm"):
            raise ImportError(f"{name} has no place in the server")
sys.meta_path.insert(0, NoTorch())
gc.disable()  # while it imports, which makes a start a fifth shorter
from serving.process.server import serve
from hosting.settings import load_settings
gc.enable()
raise SystemExit(serve(load_settings()))
"""


class Server(Process):
    """A server that may not import torch, on a store and a ledger of its own in `folder`."""

    code = SERVE

    def __init__(self, store: Path, folder: Path, **settings: object) -> None:
        ledger = f"sqlite:///{folder / 'ledger.db'}"
        defaults = {"store": store, "ledger": ledger}
        command = [sys.executable, "-c", self.code]
        super().__init__("serve", folder, command=command, **defaults | settings)
        assert self.url

    def predict(self, image: bytes, **headers: str) -> httpx.Response:
        return self.client.post("/predictions/tiny", content=image, headers=headers)

    @property
    def memory_mb(self) -> float:
        """Resident memory."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * resource.getpagesize() / 2**20

    def metrics(self) -> list[str]:
        return self.client.get("/metrics").text.splitlines()

    def metric(self, name: str) -> float:
        """The sum of a metric's series."""
        found = [line for line in self.metrics() if line.split("{")[0].split(" ")[0] == name]
        return sum(float(line.split()[-1]) for line in found)


Start: TypeAlias = Callable[..., Server]  # the fixture `start`


def publish_slow(root: Path) -> Store:
    """A store whose "tiny" takes some 20 ms an image."""
    store = Store(root)
    card = partial(build_card, classes=("a", "b"), height=96, width=96)
    store.publish(
        "tiny",
        lambda folder, version: write_bundle(folder, card=card(version=version), onnx=slow_onnx()),
    )
    store.promote("tiny", 1)
    return store


def slow_onnx(channels: int = 48, layers: int = 4) -> bytes:
    random = np.random.default_rng(0)
    constants = {
        "scale": np.array([1 / 255]),
        "first": random.normal(0, 0.05, (channels, 3, 3, 3)),
        "next": random.normal(0, 0.05, (channels, channels, 5, 5)),
        "last": random.normal(0, 0.05, (channels, 2)),
        "temperature": np.array([1.5]),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "first"], ["x0"], pads=[1, 1, 1, 1]),
        *(
            helper.make_node("Conv", [f"x{n}", "next"], [f"x{n + 1}"], pads=[2, 2, 2, 2])
            for n in range(layers)
        ),
        helper.make_node("GlobalAveragePool", [f"x{layers}"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "last"], ["logits"]),
        helper.make_node("Div", ["logits", "temperature"], ["cooled"]),
        helper.make_node("Softmax", ["cooled"], ["probabilities"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 3, 96, 96])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])],
        [
            numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in constants.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


class Load:
    """Threads that each run `once(client)` until stopped or until the server is gone."""

    def __init__(
        self, server: Server, once: Callable[[httpx.Client], None], *, threads: int = 8
    ) -> None:
        self._stop = threading.Event()
        self.errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(server.url, once)) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, url: str, once: Callable[[httpx.Client], None]) -> None:
        with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
            while not self._stop.is_set():
                try:
                    once(client)
                except httpx.TransportError as error:
                    self.errors.append(repr(error))
                    return

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
