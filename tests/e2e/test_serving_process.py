"""The server as a process that may not import torch: it is started, loaded, killed, drained, and fed with rubbish."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_store.bundle import write_bundle
from model_store.card import Card
from model_store.store import Store

pytestmark = pytest.mark.e2e

# Any import of torch fails, as it would where torch is not installed.
SERVE = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "timm"):
            raise ImportError(f"{name} has no place in the server")
sys.meta_path.insert(0, NoTorch())
from serving.server import serve
from serving.settings import load_settings
raise SystemExit(serve(load_settings()))
"""


class Server:
    """A server process on a free port; its log is kept in a file."""

    def __init__(self, store: Path, folder: Path, **settings: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")}
        defaults = {"port": "0", "store": str(store), "ledger": f"sqlite:///{folder / 'ledger.db'}", "poll_s": "0.1"}
        environment |= {f"CANDOR_{name.upper()}": value for name, value in (defaults | settings).items()}
        self.log_file = folder / "server.log"
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVE], env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("Candor serves on http://"), self.log()
        self.url = line.split()[-1]
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def log(self) -> str:
        return self.log_file.read_text()

    def predict(self, image: bytes, **headers: str) -> httpx.Response:
        return self.client.post("/predictions/tiny", content=image, headers=headers)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def exit_code(self) -> int:
        return self.process.wait(timeout=30)

    def stop(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def wait_until(true: Callable[[], bool], *, within_s: float = 20) -> None:
    end_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """`start(store, **settings)`: a server that is ready unless `ready=False`."""
    started: list[Server] = []

    def run(store: Store, *, ready: bool = True, **settings: str) -> Server:
        server = Server(store.root, tmp_path, **settings)
        started.append(server)
        if ready:
            wait_until(lambda: server.client.get("/readyz").status_code == 200)
        return server

    yield run
    for server in started:
        server.stop()


@pytest.fixture
def slow_store(tmp_path: Path, make_card: Callable[..., Card]) -> Store:
    """A store whose "tiny" takes some 20 ms an image."""
    store = Store(tmp_path / "slow")
    card = partial(make_card, classes=("a", "b"), height=96, width=96)
    store.publish("tiny", lambda folder, version: write_bundle(folder, card=card(version=version), onnx=slow_onnx()))
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
        *(helper.make_node("Conv", [f"x{n}", "next"], [f"x{n + 1}"], pads=[2, 2, 2, 2]) for n in range(layers)),
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
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


class Load:
    """Threads that each run `once(client)` until stopped or until the server is gone."""

    def __init__(self, server: Server, once: Callable[[httpx.Client], None], *, threads: int = 8) -> None:
        self._stop = threading.Event()
        self.errors: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(server.url, once)) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self, url: str, once: Callable[[httpx.Client], None]) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not self._stop.is_set():
                try:
                    once(client)
                except httpx.TransportError as error:
                    self.errors.append(repr(error))
                    return

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def test_it_starts_empty_and_takes_up_what_is_published(
    start: Callable[..., Server], tmp_path: Path, make_bundle: Callable[..., Any], png: Callable[..., bytes]
) -> None:
    store = Store(tmp_path / "new")
    server = start(store, ready=False)
    assert server.client.get("/healthz").status_code == 200
    assert server.client.get("/readyz").status_code == 503
    assert server.predict(png()).status_code == 503
    store.publish("tiny", make_bundle)
    store.promote("tiny", 1)
    wait_until(lambda: server.client.get("/readyz").status_code == 200)
    assert server.predict(png()).json()["version"] == 1
    assert "torch" not in server.log()


def test_kill_9_under_load_loses_no_answer_and_no_label(
    start: Callable[..., Server], tiny_store: Store, png: Callable[..., bytes]
) -> None:
    server = start(tiny_store)
    answered: list[dict[str, str]] = []
    labeled: list[dict[str, str]] = []
    image = png()

    def once(client: httpx.Client) -> None:
        answer = client.post("/predictions/tiny", content=image).json()
        item = {"prediction_id": answer["prediction_id"], "label": answer["label"]}
        answered.append(item)
        if client.post("/feedback", json=item).status_code == 200:
            labeled.append(item)

    with Load(server, once):
        wait_until(lambda: len(labeled) > 200)
        server.signal(signal.SIGKILL)
    again = start(tiny_store)
    statuses = [result["status"] for result in feedback(again, answered)]
    assert set(statuses) <= {"accepted", "unchanged"}
    assert {result["status"] for result in feedback(again, labeled)} == {"unchanged"}
    assert statuses.count("unchanged") >= len(labeled)


def feedback(server: Server, items: list[dict[str, str]]) -> list[dict[str, Any]]:
    body = server.client.post("/feedback", json=items).json()
    results: list[dict[str, Any]] = body["results"] if isinstance(body, dict) else body
    return results


def test_switching_back_and_forth_under_load_fails_no_request(
    start: Callable[..., Server], tiny_store: Store, make_bundle: Callable[..., Any], png: Callable[..., bytes]
) -> None:
    server = start(tiny_store)
    for seed in (1, 2):
        tiny_store.publish("tiny", partial(make_bundle, seed=seed))
    image = png()
    versions: list[int] = []
    failures: list[int] = []

    def once(client: httpx.Client) -> None:
        response = client.post("/predictions/tiny", content=image)
        if response.status_code == 200:
            versions.append(response.json()["version"])
        else:
            failures.append(response.status_code)

    with Load(server, once) as load:
        for version in (2, 3, 1, 2, 1):
            tiny_store.promote("tiny", version)
            wait_until(lambda wanted=version: versions[-1:] == [wanted])  # type: ignore[misc]
    assert (failures, load.errors) == ([], [])
    assert set(versions) == {1, 2, 3}


def test_rubbish_gets_a_4xx_and_the_neighbors_are_answered(
    start: Callable[..., Server], tiny_store: Store, png: Callable[..., bytes]
) -> None:
    server = start(tiny_store)
    good: list[int] = []
    with Load(server, lambda client: good.append(client.post("/predictions/tiny", content=png()).status_code)) as load:
        statuses = [
            server.predict(b"").status_code,
            server.predict(b"text" * 1000).status_code,
            server.predict(png()[:100]).status_code,
            server.predict(bytes(30 * 2**20)).status_code,
            server.predict(png(), **{"Content-Type": "application/json"}).status_code,
            server.predict(png(), **{"X-Request-Id": "x" * 10**6}).status_code,
            server.client.get("/" + "x" * 50_000).status_code,
            server.predict(png()).status_code,
        ]
    assert statuses == [400, 415, 400, 413, 415, 400, 404, 200]
    assert set(good) == {200}
    assert load.errors == []
    assert "Traceback" not in server.log()
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert sum(line["message"] == "request refused" for line in lines) == 6


def test_sigterm_answers_all_32_and_exits_with_0(
    start: Callable[..., Server], slow_store: Store, png: Callable[..., bytes]
) -> None:
    server = start(slow_store, deadline_s="60", drain_delay_s="1.0")
    image = png(size=(96, 96))
    with ThreadPoolExecutor(32) as pool:
        sent = [pool.submit(httpx.post, f"{server.url}/predictions/tiny", content=image, timeout=60) for _ in range(32)]
        waiting = 'candor_queue_length{model="tiny",version="1"}'
        wait_until(lambda: any(float(line.split()[-1]) > 8 for line in metrics(server) if line.startswith(waiting)))
        server.signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{server.url}/readyz").status_code == 503, within_s=1)
        assert [future.result().status_code for future in sent] == [200] * 32
    assert server.exit_code() == 0
    assert "Traceback" not in server.log()


def metrics(server: Server) -> list[str]:
    return server.client.get("/metrics").text.splitlines()


def test_a_second_signal_ends_it_at_once(
    start: Callable[..., Server], slow_store: Store, png: Callable[..., bytes]
) -> None:
    server = start(slow_store, drain_delay_s="30")
    server.signal(signal.SIGTERM)
    wait_until(lambda: "draining" in server.log())
    server.signal(signal.SIGTERM)
    assert server.exit_code() == 1


def test_overload_is_refused_with_a_time_to_come_back_and_the_admitted_are_answered_in_time(
    start: Callable[..., Server], slow_store: Store, png: Callable[..., bytes]
) -> None:
    server = start(slow_store, deadline_s="0.2", refusal_hold_s="0.1")
    image = png(size=(96, 96))
    seen: list[tuple[int, float, str | None]] = []

    def once(client: httpx.Client) -> None:
        started_s = time.monotonic()
        response = client.post("/predictions/tiny", content=image)
        seen.append((response.status_code, time.monotonic() - started_s, response.headers.get("Retry-After")))

    with Load(server, once, threads=48) as load:
        wait_until(lambda: sum(status == 200 for status, *_ in seen) > 40)
    assert {status for status, *_ in seen} == {200, 429}
    assert all(retry is not None and int(retry) >= 1 for status, _, retry in seen if status == 429)
    assert all(took_s >= 0.09 for status, took_s, _ in seen if status == 429)
    assert load.errors == []
    assert server.predict(image).status_code == 200


def flip_a_byte(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(data)


def lose_a_file(folder: Path) -> None:
    (folder / "tiny.mar").unlink()


def come_from_the_future(folder: Path) -> None:
    edit_card(folder, format_version=2)


def take_other_inputs(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    data = model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    files = json.loads((folder / "card.json").read_text())["files"]
    edit_card(folder, files=files | {"model.onnx": sha256(data).hexdigest()})


def leave_the_folder(folder: Path) -> None:
    files = json.loads((folder / "card.json").read_text())["files"]
    edit_card(folder, files=files | {"../1/model.onnx": "0" * 64})


def edit_card(folder: Path, **changes: Any) -> None:
    card = folder / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | changes))


BAD_BUNDLES: list[tuple[Callable[[Path], None], str]] = [
    (flip_a_byte, "is not the file that was published"),
    (lose_a_file, "cannot be read (No such file"),
    (come_from_the_future, "format version 2"),
    (take_other_inputs, "must have one input 'image' uint8"),
    (leave_the_folder, "leads out of the bundle's folder"),
]


def test_bad_bundles_are_refused_by_name_while_the_old_one_serves_on(
    start: Callable[..., Server], tiny_store: Store, make_bundle: Callable[..., Any], png: Callable[..., bytes]
) -> None:
    server = start(tiny_store)

    def refused() -> dict[str, Any]:
        found: dict[str, Any] = server.client.get("/models").json()["refused"].get("tiny", {})
        return found

    for spoil, reason in BAD_BUNDLES:
        version = tiny_store.publish("tiny", make_bundle)
        spoil(tiny_store.folder("tiny", version))
        (tiny_store.root / "tiny" / "production").write_text(str(version))
        wait_until(lambda wanted=version: refused().get("version") == wanted)  # type: ignore[misc]
        assert reason in refused()["reason"]
        assert server.predict(png()).json()["version"] == 1
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert sum(line["message"] == "bundle refused" for line in lines) == len(BAD_BUNDLES)
