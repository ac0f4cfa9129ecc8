"""The delivery to a monitor that is away, forgets the model, or refuses: no answer leaves the
outbox too early.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from model_store.torchserve.counters import WorkerCounters
from model_store.torchserve.delivery import Delivery, MonitorAway
from model_store.torchserve.outbox import OutboxFile, new_file

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
    """A monitor by hand: `knows` says whether the model is declared, `refuses` which ids it
    rejects.
    """

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
            return (
                (200, body)
                if self.accepts_card
                else (409, {"error": "model_differs", "detail": "it differs"})
            )
        if not self.knows:
            return 422, {
                "error": self.unknown,
                "detail": "?",
                "results": [{"status": "rejected"}] * len(body),
            }
        ids = [row["prediction_id"] for row in body]
        self.got += [each for each in ids if each not in self.refuses]
        return 200, [
            {"status": "rejected" if each in self.refuses else "accepted", "detail": "no"}
            for each in ids
        ]


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Metrics:
    kinds = SimpleNamespace(MetricTypes=SimpleNamespace(COUNTER="counter"))
    for name, module in {"ts": SimpleNamespace(), "ts.metrics": SimpleNamespace()}.items():
        monkeypatch.setitem(__import__("sys").modules, name, module)
    monkeypatch.setitem(__import__("sys").modules, "ts.metrics.metric_type_enum", kinds)
    return Metrics()


@pytest.fixture
def monitor() -> Monitor:
    return Monitor()


@pytest.fixture
def box(tmp_path: Path) -> OutboxFile:
    return new_file(tmp_path)


@pytest.fixture
def deliver(box: OutboxFile, monitor: Monitor, metrics: Metrics) -> Callable[[], float]:
    counters = WorkerCounters(metrics, model="tiny", version=1, reasons=[])
    return Delivery(box, monitor, declaration=DECLARATION, counters=counters).run_once  # type: ignore[arg-type]


def waiting(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*.ndjson"))


def said(*ids: str, model: str = "tiny", version: int = 1) -> list[dict[str, Any]]:
    return [
        {"model": model, "version": version, "prediction_id": each, "request_id": None}
        for each in ids
    ]


def test_answers_arrive_once(
    box: OutboxFile, monitor: Monitor, metrics: Metrics, deliver: Callable[[], float]
) -> None:
    box.append(said("a", "b"))
    deliver()
    box.append(said("c"))
    deliver()
    deliver()
    assert monitor.got == ["a", "b", "c"]
    assert (metrics.outcome("delivered"), metrics.outcome("lost")) == (3, 0)


def test_they_wait_while_the_monitor_is_away_and_ever_longer(
    box: OutboxFile,
    monitor: Monitor,
    tmp_path: Path,
    deliver: Callable[[], float],
    metrics: Metrics,
) -> None:
    monitor.away = True
    box.append(said("a"))
    waits = [deliver() for _ in range(8)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (1.0, 30.0)
    assert waiting(tmp_path) == 1
    monitor.away = False
    deliver()
    assert (monitor.got, waiting(tmp_path), metrics.outcome("lost")) == (["a"], 0, 0)


def test_the_model_is_declared_when_the_monitor_does_not_know_it(
    box: OutboxFile, monitor: Monitor, deliver: Callable[[], float], tmp_path: Path
) -> None:
    monitor.knows = monitor.accepts_card = False
    box.append(said("a"))
    deliver()
    assert (monitor.got, waiting(tmp_path)) == ([], 1)  # a card that it refuses loses nothing
    monitor.accepts_card = True
    deliver()
    assert monitor.got == ["a"]
    assert monitor.posts[-3:] == ["/predictions-log", "/models-log", "/predictions-log"]


def test_answers_of_a_version_that_candor_served_before_are_kept(
    box: OutboxFile,
    monitor: Monitor,
    metrics: Metrics,
    deliver: Callable[[], float],
    tmp_path: Path,
) -> None:
    monitor.knows = monitor.accepts_card = False
    monitor.unknown = "model_served"
    box.append(said("a"))
    deliver()
    assert (monitor.got, waiting(tmp_path), metrics.outcome("lost")) == ([], 1, 0)
    assert monitor.posts == ["/predictions-log", "/models-log"]


def test_what_the_monitor_refuses_for_good_is_counted_as_lost(
    box: OutboxFile,
    monitor: Monitor,
    metrics: Metrics,
    deliver: Callable[[], float],
    tmp_path: Path,
) -> None:
    monitor.refuses = {"b"}
    box.append(said("a", "b", "c"))
    deliver()
    assert (monitor.got, waiting(tmp_path)) == (["a", "c"], 0)
    assert (metrics.outcome("delivered"), metrics.outcome("lost")) == (2, 1)


def test_another_worker_delivers_what_a_killed_one_left(
    monitor: Monitor, tmp_path: Path, deliver: Callable[[], float]
) -> None:
    killed = new_file(tmp_path)
    killed.append(said("a", "b"))
    killed.close()
    deliver()
    assert (monitor.got, waiting(tmp_path)) == (["a", "b"], 0)
    assert not killed.path.exists()


def test_a_file_of_a_model_that_nobody_knows_stays_and_harms_no_other(
    box: OutboxFile, monitor: Monitor, tmp_path: Path, deliver: Callable[[], float]
) -> None:
    killed = new_file(tmp_path)
    killed.append(said("z", model="other", version=4))
    killed.close()
    monitor.knows = False
    assert deliver() == 15.0
    assert killed.path.exists()
    monitor.knows = True
    box.append(said("a"))
    deliver()
    assert monitor.got == ["a", "z"]


def test_answers_are_counted_by_bin_from_zero_on(metrics: Metrics) -> None:
    import numpy as np

    counters = WorkerCounters(metrics, model="tiny", version=1, reasons=["not_an_image"])
    assert set(metrics.values.values()) == {0}
    assert len([key for key in metrics.values if key[0] == "candor_predictions_total"]) == 15
    counters.answer(np.array([0.99, 1.0, 0.5], dtype=np.float32))
    counters.reject("not_an_image")
    assert metrics.values["candor_predictions_total", "tiny", "1", "14"] == 2
    assert metrics.values["candor_predictions_total", "tiny", "1", "07"] == 1
    assert metrics.values["candor_prediction_confidence_total", "tiny", "1", "14"] == pytest.approx(
        1.99
    )
    assert metrics.values["candor_requests_rejected_total", "not_an_image"] == 1
