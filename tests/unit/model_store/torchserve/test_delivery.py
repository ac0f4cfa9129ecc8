"""Answers to a monitor that is away, forgets or refuses: none leaves the outbox early."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model_store.torchserve.counters import WorkerCounters
from model_store.torchserve.delivery import Delivery, MonitorAway
from model_store.torchserve.outbox import left_behind, new_file

DECLARATION = {"model": "tiny", "version": 1, "classes": ["a", "b"]}


class Metrics:
    """TorchServe's metrics cache, as far as the counters use it."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def add_metric_to_cache(self, name: str, *_: Any) -> Any:
        def add(value: float, labels: list[str]) -> None:
            key = (name, *labels)
            self.values[key] = self.values.get(key, 0) + value

        return SimpleNamespace(add_or_update=add)

    def outcome(self, name: str) -> float:
        return self.values[f"candor_torchserve_{name}_total", "tiny", "1"]


class Monitor:
    """A monitor by hand: it `knows` a declared model, and `refuses` ids."""

    url = "http://monitor"

    def __init__(self) -> None:
        self.knows, self.away, self.accepts_card, self.unknown = True, False, True, "unknown_model"
        self.refuses: set[str] = set()
        self.got: list[str] = []
        self.posts: list[str] = []

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        self.posts.append(path)
        if self.away:
            raise MonitorAway("connection refused")
        if path == "/models-log":
            self.knows = self.accepts_card
            differs = {"error": "model_differs", "detail": "it differs"}
            return (200, body) if self.accepts_card else (409, differs)
        if not self.knows:
            results = [{"status": "rejected"}] * len(body)
            return 422, {"error": self.unknown, "detail": "?", "results": results}
        ids = [row["prediction_id"] for row in body]
        self.got += [each for each in ids if each not in self.refuses]
        kinds = ("accepted", "rejected")
        return 200, [{"status": kinds[each in self.refuses], "detail": "no"} for each in ids]


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Metrics:
    kinds = SimpleNamespace(MetricTypes=SimpleNamespace(COUNTER="counter"))
    for name in ("ts", "ts.metrics"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, "ts.metrics.metric_type_enum", kinds)
    return Metrics()


class Worker:
    """A worker's outbox in a folder, and its delivery to a monitor."""

    def __init__(self, folder: Path, metrics: Metrics) -> None:
        self.folder, self.metrics, self.monitor = folder, metrics, Monitor()
        self.box = new_file(folder)
        counters = WorkerCounters(metrics, model="tiny", version=1, reasons=[])
        monitor: Any = self.monitor
        self.deliver = Delivery(
            self.box, monitor, declaration=DECLARATION, counters=counters
        ).run_once

    def append(self, *ids: str) -> None:
        self.box.append(said(*ids))

    @property
    def state(self) -> tuple[list[str], int, float, float]:
        """What the monitor got, how many rows wait, and how many were delivered and lost."""
        rows = sum(path.read_bytes().count(b"\n") for path in self.folder.glob("*.ndjson"))
        outcomes = (self.metrics.outcome(name) for name in ("delivered", "lost"))
        return (self.monitor.got, rows, *outcomes)


@pytest.fixture
def worker(tmp_path: Path, metrics: Metrics) -> Worker:
    return Worker(tmp_path, metrics)


def said(*ids: str, model: str = "tiny", version: int = 1) -> list[dict[str, Any]]:
    common = {"model": model, "version": version, "request_id": None}
    return [common | {"prediction_id": each} for each in ids]


def test_they_wait_while_the_monitor_is_away_and_ever_longer(worker: Worker) -> None:
    worker.monitor.away = True
    worker.append("a")
    waits = [worker.deliver() for _ in range(8)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (1.0, 30.0)
    assert worker.state == ([], 1, 0, 0)
    worker.monitor.away = False
    worker.deliver()
    assert worker.state == (["a"], 0, 1, 0)


@pytest.mark.parametrize("unknown", ["unknown_model", "model_served"])
def test_the_model_is_declared_when_the_monitor_does_not_know_it(
    worker: Worker, unknown: str
) -> None:
    """The second is the answer about a version that Candor served before."""
    worker.monitor.knows = worker.monitor.accepts_card = False
    worker.monitor.unknown = unknown
    worker.append("a")
    worker.deliver()
    assert worker.state == ([], 1, 0, 0)  # a card that it refuses loses nothing
    worker.monitor.accepts_card = True
    worker.deliver()
    assert worker.state == (["a"], 0, 1, 0)
    assert worker.monitor.posts[-3:] == ["/predictions-log", "/models-log", "/predictions-log"]


def test_what_the_monitor_refuses_for_good_is_counted_as_lost(worker: Worker) -> None:
    worker.monitor.refuses = {"b"}
    worker.append("a", "b", "c")
    worker.deliver()
    assert worker.state == (["a", "c"], 0, 2, 1)


def test_a_file_of_a_model_that_nobody_knows_stays_and_harms_no_other(worker: Worker) -> None:
    killed = new_file(worker.folder)
    killed.append(said("z", model="other", version=4))
    killed.close()
    worker.monitor.knows = False
    assert worker.deliver() == 15.0
    assert killed.path.exists()
    worker.monitor.knows = True
    worker.append("a")
    worker.deliver()
    assert worker.monitor.got == ["a", "z"]


def test_answers_are_counted_by_bin_from_zero_on(metrics: Metrics) -> None:
    counters = WorkerCounters(metrics, model="tiny", version=1, reasons=["not_an_image"])
    assert set(metrics.values.values()) == {0}
    assert len([key for key in metrics.values if key[0] == "candor_predictions_total"]) == 15
    counters.answer(np.array([0.99, 1.0, 0.5], dtype=np.float32))
    counters.reject("not_an_image")
    assert metrics.values["candor_predictions_total", "tiny", "1", "", "14"] == 2
    assert metrics.values["candor_predictions_total", "tiny", "1", "", "07"] == 1
    total = metrics.values["candor_prediction_confidence_total", "tiny", "1", "", "14"]
    assert total == pytest.approx(1.99)
    assert metrics.values["candor_requests_rejected_total", "not_an_image"] == 1


def waiting(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*.ndjson"))


def rows(*numbers: int) -> list[dict[str, int]]:
    return [{"number": number} for number in numbers]


def test_rows_come_back_in_order_until_they_are_delivered(tmp_path: Path) -> None:
    box = new_file(tmp_path / "outbox")
    assert box.append(rows(1, 2))
    assert box.append(rows(3))
    read, size_bytes = box.rows()
    assert read == rows(1, 2, 3)
    assert box.append(rows(4))  # while those are on their way
    box.deliver(size_bytes)
    assert box.rows()[0] == rows(4)
    assert waiting(tmp_path / "outbox") == 4
    box.deliver(box.rows()[1])
    assert (box.rows(), waiting(tmp_path / "outbox")) == (([], 0), 0)
    assert box.append(rows(5))
    assert box.rows()[0] == rows(5)
    assert (tmp_path / "outbox").stat().st_mode & 0o777 == 0o700
    assert box.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_more_rows_than_fit_a_request_come_in_portions(tmp_path: Path) -> None:
    box = new_file(tmp_path)
    numbers = list(range(50_000))
    assert box.append(rows(*numbers))
    seen: list[int] = []
    while portion := box.rows()[0]:
        assert len(portion) < 25_000
        seen += [row["number"] for row in portion]
        box.deliver(box.rows()[1])
    assert seen == numbers


def test_beyond_the_limit_nothing_of_a_batch_is_kept(tmp_path: Path) -> None:
    box = new_file(tmp_path, limit_bytes=40)
    assert box.append(rows(1, 2))
    assert not box.append(rows(3, 4))
    assert box.rows()[0] == rows(1, 2)
    box.deliver(box.rows()[1])
    assert box.append(rows(3, 4))


def test_a_disk_that_is_full_keeps_the_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = new_file(tmp_path)
    box.append(rows(1))
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
        assert not box.append(rows(2))

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        patch.setattr(os, "write", full)
        assert not box.append(rows(3))
    assert box.append(rows(4))
    assert box.rows()[0] == rows(1, 4)


def test_only_the_file_of_a_worker_that_has_ended_is_taken(tmp_path: Path) -> None:
    alive, dead, empty = new_file(tmp_path), new_file(tmp_path), new_file(tmp_path)
    dead.append(rows(1, 2))
    # as by a kill
    (cut := json.dumps({"number": 3})[:-3].encode(), os.write(dead._descriptor, cut))
    dead.close()
    empty.close()
    taken = list(left_behind(tmp_path))
    assert {file.path for file in taken} == {dead.path, empty.path}
    assert list(left_behind(tmp_path)) == []  # they are locked now
    (full,) = (file for file in taken if file.path == dead.path)
    read, size_bytes = full.rows()
    assert read == rows(1, 2)
    full.deliver(size_bytes)
    assert (full.rows()[0], full.rows()[1]) == ([], len(cut))
    full.deliver(len(cut))
    for file in taken:
        file.remove()
    assert list(tmp_path.iterdir()) == [alive.path]
