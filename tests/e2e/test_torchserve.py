"""A real TorchServe, from `candor torchserve start` to `stop`: the same answers as Candor, watched
by `candor monitor`.

Java takes seconds to start, so the tests share one TorchServe and one monitor; those that end
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest

from model_store.bundle.bundle import write_bundle
from model_store.bundle.card import Card, ConformalCard
from model_store.store.store import Store
from serving.inference.predictor import Predictor
from serving.torchserve.record import began
from tests.builders.bundles import build_card, build_onnx, encode, picture
from tests.builders.dicoms import header, saved
from tests.builders.processes import PATIENCE_S, Process, wait_until
from tests.builders.servers import Server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("java") is None,
        reason="TorchServe needs Java 17: apt install openjdk-17-jre-headless",
    ),
    pytest.mark.skipif(
        importlib.util.find_spec("ts") is None,
        reason="TorchServe is missing: pip install torchserve",
    ),
]

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
    metrics_url: str = ""
    clients: dict[str, httpx.Client] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.folder / "torchserve"

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A `candor torchserve` command on this folder."""
        command = [
            sys.executable,
            "-m",
            "candor",
            "torchserve",
            words[0],
            "--folder",
            str(self.state),
            *words[1:],
        ]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )

    def start(self) -> "subprocess.CompletedProcess[str]":
        token = self.folder / "token"
        token.write_text(f"{TOKEN}\n")
        monitor = (
            "--monitor",
            str(self.monitor.client.base_url),
            "--monitor-token-file",
            str(token),
        )
        # A long delay, so that the requests of a test become one batch on a slow machine as well.
        batch = ("--batch-delay-ms", "100")
        return self.run("start", "--port", "0", "--store", str(self.store.root), *monitor, *batch)

    def connect(self) -> None:
        """Find out where it listens, and with which tokens."""
        addresses = self.status()["addresses"]
        keys = json.loads((self.state / "key_file.json").read_text())
        self.close()
        for name in ("inference", "management"):
            token = {"Authorization": f"Bearer {keys[name]['key']}"}
            self.clients[name] = httpx.Client(
                base_url=addresses[name], headers=token, timeout=PATIENCE_S
            )
        self.metrics_url = f"{addresses['metrics']}/metrics"

    @property
    def client(self) -> httpx.Client:
        return self.clients["inference"]

    @property
    def management(self) -> httpx.Client:
        return self.clients["management"]

    def close(self) -> None:
        for client in self.clients.values():
            client.close()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found

    def predict(self, image: bytes, **headers: str) -> httpx.Response:
        return self.client.post("/predictions/tiny", content=image, headers=headers)

    def watched(self, path: str = "/calibration/tiny", **query: Any) -> dict[str, Any]:
        """A report of the monitor; {} while it does not know the model."""
        answer = self.monitor.client.get(
            path, params=query, headers={"Authorization": f"Bearer {ADMIN}"}
        )
        return answer.json() if answer.is_success else {}

    def served(self, version: int = 1) -> int:
        return int(self.watched(version=version).get("coverage", {}).get("served", 0))

    def counted(self, name: str, **labels: str) -> float:
        found = re.findall(
            rf"^{name}{{(.*?)}} (\S+)$", httpx.get(self.metrics_url).text, re.MULTILINE
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
        started = site.start()
        assert started.returncode == 0, started.stderr
        site.connect()
        yield site
    finally:
        site.close()
        site.run("stop")
        site.monitor.close()


def test_it_says_where_it_is_and_asks_for_a_token(site: Site) -> None:
    said = site.run("status")
    assert (said.returncode, str(site.client.base_url) in said.stdout) == (0, True)
    assert re.search(r"^tiny +1 +1 of 1 +1$", said.stdout, re.MULTILINE)
    for name in ("torchserve.json", "config.properties", "key_file.json"):
        assert (site.state / name).is_file()
    assert (
        site.state.stat().st_mode & 0o777,
        (site.state / "key_file.json").stat().st_mode & 0o077,
    ) == (0o700, 0)
    for client, path in ((site.client, "/predictions/tiny"), (site.management, "/models")):
        assert httpx.get(f"{client.base_url}{path}").status_code == 400
        assert "Token Authorization failed" in httpx.get(f"{client.base_url}{path}").text


def test_the_answer_is_that_of_candors_own_server(site: Site, tmp_path: Path) -> None:
    """PNG, JPEG, gray and DICOM: every field but the id."""
    dicom = saved_dicom(np.arange(40 * 30, dtype=np.uint16).reshape(40, 30))
    images = [
        encode(picture(1), "PNG"),
        encode(picture(2, (300, 200)), "JPEG"),
        encode(picture(3, mode="L"), "PNG"),
    ]
    server = Server(site.store.root, tmp_path, deadline_s="300")
    try:
        wait_until(lambda: server.client.get("/readyz").status_code == 200)
        for number, image in enumerate([*images, dicom]):
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
    finally:
        server.stop()


def test_a_script_for_torchserves_addresses_works_against_both(site: Site, tmp_path: Path) -> None:
    server = Server(site.store.root, tmp_path, deadline_s="300")
    try:
        wait_until(lambda: server.client.get("/readyz").status_code == 200)
        ours, theirs = (
            torchserve_script(server.client, server.client),
            torchserve_script(site.client, site.management),
        )
    finally:
        server.stop()
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


def test_a_hundred_real_images_have_candors_probabilities(site: Site, data_folder: Path) -> None:
    files = sorted((data_folder / "chest_xray3" / "test").rglob("*.jpg"))[::2][:100]
    assert len(files) == 100
    predictor = Predictor(site.store.read("tiny", 1))
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda file: site.predict(file.read_bytes()).json(), files))
    for file, answer in zip(files, answers, strict=True):
        own = predictor.classify(file.read_bytes())
        assert answer["probabilities"] == pytest.approx(own.probabilities, abs=1e-6)
        assert (answer["predicted"], answer["refer"]) == (own.predicted, own.refer)
        assert tuple(answer["prediction_set"]) == own.prediction_set


def test_a_bad_image_in_a_batch_fails_alone(site: Site) -> None:
    bodies = [encode(picture(number), "PNG") for number in range(16)]
    bodies[5] = bodies[5][:-40]
    bodies[9] = b"no image"
    rejected = site.counted("candor_requests_rejected_total")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda body: site.predict(body), bodies))
    assert [answer.status_code for answer in answers] == [
        400 if n == 5 else 415 if n == 9 else 200 for n in range(16)
    ]
    assert (answers[5].json()["error"], answers[9].json()["error"]) == (
        "broken_image",
        "not_an_image",
    )
    assert site.counted("candor_requests_rejected_total") == rejected + 2


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
    bins = {re.search(r'bin="(\d\d)"', line)[1] for line in lines(site, answers)}  # type: ignore[index]
    assert bins == {f"{number:02d}" for number in range(15)}
    wait_until(lambda: site.counted("candor_torchserve_delivered_total") == site.counted(answers))
    assert site.counted("candor_torchserve_lost_total") == 0


def lines(site: Site, name: str) -> list[str]:
    return [
        line
        for line in httpx.get(site.metrics_url).text.splitlines()
        if line.startswith(f"{name}{{")
    ]


def test_without_the_monitor_answers_are_as_quick_and_none_is_lost(site: Site) -> None:
    """Not even those of a worker that is killed meanwhile."""
    image = encode(picture(1), "PNG")
    before = site.served()
    address = site.monitor.client.base_url
    assert site.monitor.end(signal.SIGKILL) == -signal.SIGKILL
    site.monitor.close()
    slowest_s = max(site.predict(image).elapsed.total_seconds() for _ in range(20))
    assert slowest_s < 5  # the delivery waits for thirty seconds, an answer only for its batch
    for worker in site.management.get("/models/tiny").json()[0]["workers"]:
        os.kill(worker["pid"], signal.SIGKILL)
    assert site.status()["waiting"] >= 20
    assert "wait for the monitor" in site.run("status").stdout
    site.monitor = Process(
        "monitor", site.folder, **(site.monitor_settings | {"port": str(address.port)})
    )
    wait_until(lambda: site.served() == before + 20, "the monitor has what waited")
    wait_until(lambda: site.status()["waiting"] == 0)
    answered = wait_until(lambda: (answer := site.predict(image)).is_success and answer.json())
    wait_until(lambda: site.served() == before + 21)
    assert answered["model"] == "tiny"


def test_a_promoted_version_takes_over_and_no_request_fails(site: Site) -> None:
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
        site.store.promote("tiny", 2)
        assert "candor torchserve update" in site.run("status").stdout
        changed = site.run("update")
        assert changed.returncode == 0, changed.stderr
        assert "tiny: version 2 answers (before: version 1)" in changed.stdout
        wait_until(lambda: seen[-1] == (200, 2))
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert {status for status, _ in seen} == {200}
    assert "Nothing was promoted" in site.run("update").stdout
    assert site.client.post("/predictions/tiny/2.0", content=image).status_code == 200
    assert (
        site.client.post("/predictions/tiny/1.0", content=image).status_code == 200
    )  # for those on their way to it
    wait_until(lambda: site.served(version=2) >= 2)
    site.store.promote("tiny", site.store.publish("tiny", build))
    assert "version 3 answers (before: version 2)" in site.run("update").stdout
    assert [each["modelVersion"] for each in site.management.get("/models/tiny/all").json()] == [
        "2.0",
        "3.0",
    ]
    site.store.promote("tiny", 2)
    assert "version 2 answers (before: version 3)" in site.run("update").stdout  # a rollback
    assert site.predict(image).json()["version"] == 2


def test_torchserves_own_calls_register_and_unregister(site: Site) -> None:
    query = {
        "url": "tiny-1.mar",
        "model_name": "other",
        "initial_workers": "1",
        "synchronous": "true",
    }
    assert site.management.post("/models", params=query).status_code == 200
    image = encode(picture(7), "PNG")
    assert site.client.post("/predictions/other/1.0", content=image).json()["version"] == 1
    assert site.management.delete("/models/other/1.0").status_code == 200
    assert site.client.post("/predictions/other", content=image).status_code == 404
    elsewhere = site.management.post(
        "/models", params=query | {"url": "http://127.0.0.1:9/evil.mar"}
    )
    assert elsewhere.is_error
    assert "allowed" in elsewhere.text


def test_it_is_started_once_restarted_after_a_crash_and_ended_whole(site: Site) -> None:
    again = site.start()
    assert again.returncode == 1
    assert "runs already" in again.stderr
    pid, inference = (
        site.status()["record"]["pid"],
        httpx.URL(site.status()["addresses"]["inference"]),
    )
    other = ("start", "--port", str(inference.port), "--store", str(site.store.root))
    taken = subprocess.run(
        [
            sys.executable,
            "-m",
            "candor",
            "torchserve",
            *other,
            "--folder",
            str(site.folder / "other"),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert taken.returncode == 1
    assert re.search(
        rf"{inference.port} cannot be used .*give another --port", " ".join(taken.stderr.split())
    )
    workers = [worker["pid"] for worker in site.management.get("/models/tiny").json()[0]["workers"]]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: site.run("status").returncode == 1)
    assert "has ended without" in " ".join(site.run("status").stdout.split())
    assert site.start().returncode == 0
    assert not any(
        Path(f"/proc/{worker}").exists() for worker in workers
    )  # the crash had left them
    site.connect()
    assert site.predict(encode(picture(7), "PNG")).json()["version"] == site.store.production(
        "tiny"
    )
    record = site.status()["record"]
    assert site.run("stop").returncode == 0
    assert began(record["pid"]) is None
    assert not Path(record["scratch"]).exists()
    assert "was not running" in site.run("stop").stdout
    assert site.status() | {"waiting": 0} == {
        **{"running": False, "stale": False, "record": None},
        **{"models": [], "waiting": 0, "addresses": {}},
    }


def test_in_the_foreground_it_listens_where_it_is_told_and_ends_with_its_command(
    site: Site,
) -> None:
    folder = site.folder / "foreground"
    where = (
        "--host",
        "0.0.0.0",
        "--port",
        "0",
        "--folder",
        str(folder),
        "--store",
        str(site.store.root),
    )
    command = [
        sys.executable,
        "-m",
        "candor",
        "torchserve",
        "start",
        "--foreground",
        "--no-tokens",
        *where,
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        status = [
            sys.executable,
            "-m",
            "candor",
            "torchserve",
            "status",
            "--json",
            "--folder",
            str(folder),
        ]
        known = wait_until(
            lambda: (
                (shown := subprocess.run(status, capture_output=True)).returncode == 0
                and shown.stdout
            )
        )
        address = json.loads(known)["addresses"]["inference"]
        first = httpx.post(
            f"{address}/predictions/tiny", content=encode(picture(7), "PNG"), timeout=PATIENCE_S
        )
        assert first.status_code == 200, "its status was good before its models answered"
        said = ""
        while "Ask it" not in said and (line := process.stdout.readline()):
            said += line
        (port,) = re.findall(r"predictions http://127.0.0.1:(\d+)", said)
        (management,) = re.findall(r"management http://127.0.0.1:(\d+)", said)
        image = encode(picture(7), "PNG")
        answered = httpx.post(
            f"http://127.0.0.2:{port}/predictions/tiny", content=image, timeout=PATIENCE_S
        )
        assert answered.json()["version"] == site.store.production("tiny")
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.2:{management}/models")
        pid = json.loads((folder / "torchserve.json").read_text())["pid"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert began(pid) is None


def saved_dicom(pixels: Any) -> bytes:
    dataset = header(pixels.shape, pixels.dtype)
    dataset.PixelData = pixels.tobytes()
    return saved(dataset)
