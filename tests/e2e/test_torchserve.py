"""A real TorchServe, started by its own commands as docs/torchserve.md shows: the same answers as
Candor, watched by `candor monitor`.

Java takes seconds to start, so the tests share one TorchServe and one monitor; those that change
either come last.
"""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest

from model_store.bundle.bundle import write_bundle
from model_store.bundle.calibration_card import ConformalCard
from model_store.bundle.card import Card
from model_store.store.store import Store
from tests.builders.bundles import build_card, build_onnx, encode, picture
from tests.builders.dicoms import dicom
from tests.builders.processes import PATIENCE_S, Process, free_port, runs, wait_until
from tests.builders.servers import Server, Start

pytestmark = [
    pytest.mark.programs("java"),
    pytest.mark.skipif(
        importlib.util.find_spec("ts") is None,
        reason="TorchServe is missing: pip install torchserve",
    ),
]

PAGE = Path(__file__).parents[2] / "docs" / "torchserve.md"
TORCHSERVE = str(Path(sys.executable).with_name("torchserve"))
TOKEN = "the-token-of-torchserve"
ADMIN = "the-token-of-the-operator"
SIDE = 32


@dataclass
class Site:
    """A store, a monitor and a TorchServe that has loaded version 1 of "tiny"."""

    folder: Path
    store: Store
    monitor: Process
    monitor_settings: dict[str, str]
    urls: dict[str, str] = field(default_factory=dict)
    clients: dict[str, httpx.Client] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    def torchserve(self, *words: str) -> "subprocess.Popen[bytes]":
        """TorchServe's own command in this folder, which has its key file, logs and process id."""
        (self.folder / "tmp").mkdir(exist_ok=True)
        (self.folder / "token").write_text(f"{TOKEN}\n")
        environment = os.environ | {
            "TEMP": str(self.folder / "tmp"),
            "TMPDIR": str(self.folder / "tmp"),
            "CANDOR_MONITOR_URL": str(self.monitor.client.base_url),
            "CANDOR_MONITOR_TOKEN_FILE": str(self.folder / "token"),
            "CANDOR_MONITOR_OUTBOX": str(self.folder / "outbox"),
        }
        with (self.folder / "torchserve.log").open("ab") as log:
            return subprocess.Popen(
                [TORCHSERVE, *words], cwd=self.folder, env=environment, stdout=log, stderr=log
            )

    def start(self) -> None:
        """Start it with the configuration of the page on free ports, and wait for its models."""
        (properties,) = re.findall(r"```properties\n(.*?)```", PAGE.read_text(), re.DOTALL)
        for name in ("inference", "management", "metrics"):
            url = f"http://127.0.0.1:{free_port()}"
            properties = re.sub(rf"(?m)^{name}_address=.*$", f"{name}_address={url}", properties)
            self.urls[name] = url
        properties = properties.replace("/srv/candor/archives", str(self.folder / "archives"))
        properties += "".join(
            f"grpc_{name}_port={free_port()}\n" for name in ("inference", "management")
        )
        (self.folder / "config.properties").write_text(properties)
        self.process = self.torchserve(
            *("--start", "--foreground", "--ncs", "--ts-config", "config.properties"),
            *("--model-store", "archives", "--models", "all"),
        )
        keys = self.folder / "key_file.json"
        wait_until(lambda: keys.is_file() and keys.read_text().rstrip().endswith("}"), "a key file")
        for name in ("inference", "management"):
            token = {"Authorization": f"Bearer {json.loads(keys.read_text())[name]['key']}"}
            self.clients[name] = httpx.Client(base_url=self.urls[name], headers=token)
        wait_until(self.healthy, "every model answers")

    def healthy(self) -> bool:
        try:
            return bool(self.client.get("/ping").json()["status"] == "Healthy")
        except (httpx.TransportError, KeyError):
            return False

    def stop(self) -> int:
        """End it by its own command; the exit code of that."""
        ended = self.torchserve("--stop", "--foreground").wait(PATIENCE_S)
        if self.process is not None:
            self.process.wait(PATIENCE_S)
        return ended

    def archive(self, version: int) -> None:
        """Put the archive of a version where TorchServe looks for it."""
        (self.folder / "archives").mkdir(exist_ok=True)
        archive = self.store.folder("tiny", version) / "tiny.mar"
        shutil.copy(archive, self.folder / "archives" / f"tiny-{version}.mar")

    def register(self, version: int) -> None:
        """Load a version of the store beside the others, and let it answer."""
        self.archive(version)
        query = {"url": f"tiny-{version}.mar", "initial_workers": "1", "synchronous": "true"}
        self.management.post("/models", params=query).raise_for_status()
        self.management.put(f"/models/tiny/{version}.0/set-default").raise_for_status()

    @property
    def client(self) -> httpx.Client:
        return self.clients["inference"]

    @property
    def management(self) -> httpx.Client:
        return self.clients["management"]

    def states(self) -> set[str]:
        """The states of the workers."""
        [described] = self.management.get("/models/tiny").json()
        return {worker["status"] for worker in described["workers"]}

    def workers(self) -> list[int]:
        described = self.management.get("/models/tiny").json()[0]
        return [worker["pid"] for worker in described["workers"]]

    def waiting(self) -> int:
        """How many answers wait in files for the monitor."""
        outbox = self.folder / "outbox"
        return sum(path.read_bytes().count(b"\n") for path in outbox.glob("*.ndjson"))

    def predict(self, image: bytes, **headers: str) -> httpx.Response:
        return self.client.post("/predictions/tiny", content=image, headers=headers)

    def watched(self, path: str = "/models/tiny/report", **query: Any) -> dict[str, Any]:
        """A report of the monitor; {} while it does not know the model."""
        answer = self.monitor.client.get(
            path, params=query, headers={"Authorization": f"Bearer {ADMIN}"}
        )
        return answer.json() if answer.is_success else {}

    def served(self, version: int = 1) -> int:
        return int(self.watched(version=version).get("coverage", {}).get("served", 0))

    def counted(self, name: str, **labels: str) -> float:
        found = re.findall(
            rf"^{name}{{(.*?)}} (\S+)$",
            httpx.get(f"{self.urls['metrics']}/metrics").text,
            re.MULTILINE,
        )
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(float(value) for shown, value in found if all(each in shown for each in wanted))


def build(folder: Path, version: int) -> Card:
    sets = ConformalCard(alpha=0.1, threshold=0.2, mean_set_size=1.5, coverage_reference=0.9)
    card = build_card(version=version, height=SIDE, width=SIDE, seed=version).model_copy(
        update={"conformal": sets}
    )
    return write_bundle(folder, card=card, onnx=build_onnx(height=SIDE, width=SIDE, seed=version))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    store = Store(folder / "store")
    for _ in (1, 2):
        store.publish("tiny", build)
    store.promote("tiny", 1)
    settings = {"ledger": f"sqlite:///{folder / 'ledger.db'}"}
    settings["tokens"] = f"{TOKEN} admin; {ADMIN} admin"
    site = Site(folder, store, Process("monitor", folder, **settings), settings)
    try:
        site.archive(1)
        site.start()
        yield site
    finally:
        site.stop()
        for client in site.clients.values():
            client.close()
        site.monitor.stop()


def test_both_addresses_ask_for_a_token(site: Site) -> None:
    for name, path in (("inference", "/predictions/tiny"), ("management", "/models")):
        assert httpx.get(f"{site.urls[name]}{path}").status_code == 400
    assert (site.folder / "key_file.json").stat().st_mode & 0o077 == 0


@pytest.fixture(scope="module")
def server(site: Site, start_shared: Start) -> Server:
    """Candor's own server on the same store."""
    return start_shared(site.store)


def test_the_answer_is_that_of_candors_own_server(site: Site, server: Server) -> None:
    """PNG, JPEG, gray and DICOM: every field but the id."""
    images = [
        encode(picture(1), "PNG"),
        encode(picture(2, (300, 200)), "JPEG"),
        encode(picture(3, mode="L"), "PNG"),
        dicom(np.arange(40 * 30, dtype=np.uint16).reshape(40, 30)),
    ]
    for number, image in enumerate(images):
        ours = server.predict(image, **{"X-Request-Id": f"same-{number}"})
        theirs = site.predict(image, **{"X-Request-Id": f"same-{number}"})
        assert theirs.headers["content-type"] == ours.headers["content-type"]
        own, given = ours.json(), theirs.json()
        assert own.pop("prediction_id") != given["prediction_id"]
        assert UUID(given.pop("prediction_id")).version == 7
        for name in ("confidence", "probabilities"):
            assert own.pop(name) == pytest.approx(given.pop(name), abs=1e-6)
        assert own == given
        assert given["prediction_set"]
    for body in (b"no image at all", images[0][:-30], b"[1, 2]", b"a=b"):
        for content_type in ("application/octet-stream", "image/png"):
            ours = server.predict(body, **{"Content-Type": content_type})
            theirs = site.predict(body, **{"Content-Type": content_type})
            assert (theirs.status_code, theirs.json()) == (ours.status_code, ours.json())


def test_a_script_for_torchserves_addresses_works_against_both(site: Site, server: Server) -> None:
    wait_until(lambda: site.states() == {"READY"})  # a worker of the test before may still end
    ours = torchserve_script(server.client, server.client)
    theirs = torchserve_script(site.client, site.management)
    assert ours.pop("probabilities") == pytest.approx(theirs.pop("probabilities"), abs=1e-6)
    assert ours == theirs


def torchserve_script(inference: httpx.Client, management: httpx.Client) -> dict[str, Any]:
    """What somebody who knows TorchServe does with a server, whichever it is."""
    assert inference.get("/ping").json()["status"] == "Healthy"
    [described] = management.get("/models/tiny").json()
    [every] = management.get("/models/tiny/all").json()
    path = f"/predictions/tiny/{described['modelVersion']}"
    answer = inference.post(path, content=encode(picture(5), "PNG")).json()
    return {
        "models": [each["modelName"] for each in management.get("/models").json()["models"]],
        "described": (
            described["modelName"],
            described["workers"][0]["status"],
            described["workers"][0]["gpu"],
        ),
        "every": (every["modelName"], every["modelVersion"]),
        "refused": (
            management.get("/models/unknown").status_code,
            inference.post("/predictions/unknown", content=b"x").status_code,
        ),
        "label": answer["predicted"],
        "probabilities": answer["probabilities"],
    }


def test_labels_join_its_answers_and_the_report_shows_them(site: Site) -> None:
    before = site.served()
    answers = [
        site.predict(encode(picture(n), "PNG"), **{"X-Request-Id": f"report-{n}"}).json()
        for n in range(4)
    ]
    labels: list[dict[str, Any]] = [
        {"prediction_id": answers[0]["prediction_id"], "label": answers[0]["predicted"]},
        {"prediction_id": answers[1]["prediction_id"], "label": answers[1]["predicted"]},
        {"model": "tiny", "request_id": "report-2", "label": "normal"},
        {"model": "tiny", "request_id": "report-3", "label": "normal"},
    ]
    wait_until(lambda: site.served() >= before + 4, "the monitor has the answers")
    headers = {"Authorization": f"Bearer {ADMIN}"}
    results = site.monitor.client.post("/feedback", json=labels, headers=headers).json()
    assert [result["status"] for result in results] == ["accepted"] * 4
    report = site.watched()
    assert (report["version"], report["coverage"]["labeled"]) == (1, 4)
    card = site.store.read("tiny", 1).card
    assert report["temperature"] == card.calibration.temperature
    assert report["reference"]["accuracy"] == card.calibration.measures["accuracy"]
    right = sum(
        answer["predicted"] == label["label"] for answer, label in zip(answers, labels, strict=True)
    )
    assert report["measures"]["accuracy"] == pytest.approx(right / 4)


def test_its_metrics_carry_the_calibration_counters(site: Site) -> None:
    answers, confidence = "candor_predictions_total", "candor_prediction_confidence_total"
    before = {name: site.counted(name, model="tiny", version="1") for name in (answers, confidence)}
    said = [site.predict(encode(picture(n), "PNG")).json() for n in range(5)]
    wait_until(lambda: site.counted(answers, version="1") == before[answers] + 5)
    total = sum(answer["confidence"] for answer in said)
    assert site.counted(confidence, version="1") - before[confidence] == pytest.approx(
        total, abs=1e-4
    )
    wait_until(lambda: site.counted("candor_torchserve_delivered_total") == site.counted(answers))
    assert site.counted("candor_torchserve_lost_total") == 0


def test_without_the_monitor_answers_are_as_quick_and_none_is_lost(site: Site) -> None:
    """Not even those of a worker that is killed meanwhile."""
    image = encode(picture(1), "PNG")
    before = site.served()
    address = site.monitor.client.base_url
    assert site.monitor.end(signal.SIGKILL) == -signal.SIGKILL
    site.monitor.stop()
    took_s = [site.predict(image).elapsed.total_seconds() for _ in range(20)]
    assert median(took_s) < 5  # the delivery waits for thirty seconds, an answer for its batch
    for pid in site.workers():
        os.kill(pid, signal.SIGKILL)
    assert site.waiting() >= 20
    site.monitor = Process(
        "monitor", site.folder, **(site.monitor_settings | {"port": str(address.port)})
    )
    wait_until(lambda: site.served() == before + 20, "the monitor has what waited")
    wait_until(lambda: site.waiting() == 0)
    answered = wait_until(lambda: (answer := site.predict(image)).is_success and answer.json())
    wait_until(lambda: site.served() == before + 21)
    assert answered["model"] == "tiny"


def test_a_version_takes_over_and_no_request_fails(site: Site) -> None:
    image, stop = encode(picture(7), "PNG"), threading.Event()
    seen: list[tuple[int, int | None]] = []

    def ask() -> None:
        while not stop.is_set():
            answer = site.predict(image)
            seen.append((answer.status_code, answer.json().get("version")))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: (200, 1) in seen)
        site.register(2)
        wait_until(lambda: seen[-1] == (200, 2))
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert {status for status, _ in seen} == {200}
    for version in (1, 2):
        answer = site.client.post(f"/predictions/tiny/{version}.0", content=image)
        assert answer.json()["version"] == version
    wait_until(lambda: site.served(version=2) >= 2)
    site.management.put("/models/tiny/1.0/set-default").raise_for_status()  # a rollback
    assert site.predict(image).json()["version"] == 1


def test_stop_ends_it_with_its_workers(site: Site) -> None:
    workers = site.workers()
    assert site.stop() == 0
    wait_until(lambda: not any(map(runs, workers)))
