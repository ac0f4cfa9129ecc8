"""The bundle's archive in a real TorchServe gives the same numbers as Candor's own predictor."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from model_store.store import Store
from serving.inference.predictor import Predictor
from tests.builders.servers import Server
from tests.builders.waiting import PATIENCE_S

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("java") is None, reason="TorchServe needs Java 17: apt install openjdk-17-jre-headless"
    ),
    pytest.mark.skipif(importlib.util.find_spec("ts") is None, reason="TorchServe is missing: pip install torchserve"),
]

START_S = 300


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def torchserve(tiny_store: Store, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a TorchServe that has loaded version 1 of "tiny"; its header says where the management API is."""
    inference, management, metrics, grpc_inference, grpc_management = free_ports(5)
    config = tmp_path / "config.properties"
    config.write_text(
        f"inference_address=http://127.0.0.1:{inference}\nmanagement_address=http://127.0.0.1:{management}\n"
        f"metrics_address=http://127.0.0.1:{metrics}\ngrpc_inference_port={grpc_inference}\n"
        f"grpc_management_port={grpc_management}\nnumber_of_netty_threads=2\njob_queue_size=100\n"
    )
    start = "import sys; from ts.model_server import start; sys.argv[0] = 'torchserve'; start()"
    options = ["--start", "--foreground", "--ncs", "--disable-token-auth", "--ts-config", str(config)]
    models = ["--model-store", str(tiny_store.folder("tiny", 1)), "--models", "tiny=tiny.mar"]
    log = (tmp_path / "torchserve.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-c", start, *options, *models],
        cwd=tmp_path,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    told = {"X-Management": f"http://127.0.0.1:{management}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{inference}", timeout=PATIENCE_S, headers=told) as client:
        try:
            await_worker(client, tmp_path / "torchserve.log")
            yield client
        finally:
            # Java and its workers are in the group; the Python process that started them would leave them behind.
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(PATIENCE_S)
            log.close()


def await_worker(client: httpx.Client, log: Path) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        try:
            if client.get("/ping").json()["status"] == "Healthy" and client.options("/predictions/tiny").is_success:
                return
        except (httpx.TransportError, ValueError, KeyError):
            pass
        time.sleep(0.3)
    pytest.fail(f"TorchServe did not start:\n{log.read_text()[-3000:]}")


def test_torchserve_answers_as_the_predictor_does_and_one_script_works_against_both(
    torchserve: httpx.Client,
    tiny_store: Store,
    start: Callable[..., Server],
    png: Callable[..., bytes],
    jpeg: Callable[..., bytes],
) -> None:
    predictor = Predictor(tiny_store.read("tiny", 1))
    for image in (png(1), jpeg(2, size=(300, 200)), png(3, mode="L")):
        response = torchserve.post("/predictions/tiny", content=image, headers={"X-Request-Id": "mine"})
        answer, expected = response.json(), predictor.classify(image)
        assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
        assert (answer["label"], answer["refer"]) == (expected.label, expected.refer)
        assert (answer["model"], answer["version"], answer["request_id"]) == ("tiny", 1, "mine")
        UUID(answer["prediction_id"])
    assert refused(torchserve, png()[:-30]) == (400, "broken_image")
    assert refused(torchserve, b"no image at all") == (415, "not_an_image")

    url = start(tiny_store).url
    ours = torchserve_script(url, url, png())
    theirs = torchserve_script(str(torchserve.base_url), torchserve.headers["X-Management"], png())
    assert ours.pop("probabilities") == pytest.approx(theirs.pop("probabilities"), abs=1e-5)
    assert ours == theirs


def torchserve_script(inference: str, management: str, image: bytes) -> dict[str, Any]:
    """What somebody who knows TorchServe does with a server, whichever it is."""
    assert httpx.get(f"{inference}/ping").json()["status"] == "Healthy"
    models = httpx.get(f"{management}/models").json()["models"]
    [described] = httpx.get(f"{management}/models/tiny").json()
    [every] = httpx.get(f"{management}/models/tiny/all").json()
    unknown = httpx.get(f"{management}/models/unknown").status_code
    missing = httpx.post(f"{inference}/predictions/unknown", content=image).status_code
    answer = httpx.post(f"{inference}/predictions/tiny", content=image, timeout=PATIENCE_S).json()
    return {
        "models": [(each["modelName"], each["modelUrl"]) for each in models],
        "described": (described["modelName"], described["workers"][0]["status"], described["workers"][0]["gpu"]),
        "every": every["modelName"],
        "refused": (unknown, missing),
        "label": answer["label"],
        "probabilities": answer["probabilities"],
    }


def refused(client: httpx.Client, body: bytes) -> tuple[int, str]:
    response = client.post("/predictions/tiny", content=body, headers={"Content-Type": "application/octet-stream"})
    return response.status_code, response.json()["error"]
