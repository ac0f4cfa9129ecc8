"""`python -m benchmarks.exposition`: what a scrape of /metrics costs.

The ledger has twenty versions of one model, each with answers and labels. With the serving metrics
of all twenty, that is every series a server has. One version gets a label between two scrapes, so
that each scrape has something new. A scrape runs in one thread. Its processor time is judged,
because other work on the machine does not change that.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from queue import SimpleQueue
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import uuid_utils
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from calibration.bins import BinSums
from calibration.measures.summary import Measures
from model_store.bundle.card import CalibrationCard, Card, InputCard, Provenance
from monitoring.feedback import FeedbackItem
from monitoring.ledger import Ledger, PredictionRow
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording.recorder import Recorder
from monitoring.routes import endpoints
from serving.inference.admission import QueueEstimate
from serving.inference.metrics import ServingMetrics

VERSIONS, ANSWERS, SCRAPES = 20, 500, 50
REQUIRED_MS = 75.0
FORMATS = {"text": "", "OpenMetrics": "application/openmetrics-text"}


def main() -> int:
    """Measure, print, return 1 if a scrape takes longer than it may."""
    with tempfile.TemporaryDirectory() as folder, Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        registry = CollectorRegistry()
        serving, metrics = ServingMetrics(registry), MonitorMetrics(registry)
        with Recorder(ledger, metrics) as recorder:
            endpoints(recorder, ledger, metrics)  # registers what is read from the ledger
            desk = Traffic(recorder)
            for version in range(1, VERSIONS + 1):
                desk.serve(recorder.register(card(version)), ANSWERS)
                serving.of_version("model", version, QueueEstimate(service_s=0.1))
            encoders = {name: choose_encoder(accept)[0] for name, accept in FORMATS.items()}
            lines = len(encoders["text"](registry).splitlines())
            print(
                f"{VERSIONS} versions, {lines:,} lines; median of {SCRAPES} scrapes: processor ms "
                "(wall ms)"
            )
            costs = {
                name: median_cost(partial(encode, registry), desk)
                for name, encode in encoders.items()
            }
    for name, cost in costs.items():
        print(f"{name:12} {told(cost)}")
    return int(max(cost.cpu_ms for cost in costs.values()) > REQUIRED_MS)


class Traffic:
    """Answers and labels, through the recorder."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._random = np.random.default_rng(0)
        self._unlabeled: list[bytes] = []

    def serve(self, watched_version_id: int, answers: int) -> None:
        """Record answers and label all but the last fifty."""
        rows = [self._row(watched_version_id) for _ in range(answers)]
        heard: SimpleQueue[BaseException | None] = SimpleQueue()
        self._recorder.record(rows, heard.put)
        heard.get()
        ids = [row.prediction_id for row in rows]
        self._recorder.feedback(
            [FeedbackItem("b", prediction_id) for prediction_id in ids[:-50]]
        ).result()
        self._unlabeled += ids[-50:]

    def label(self) -> None:
        """Record one more label."""
        self._recorder.feedback([FeedbackItem("a", self._unlabeled.pop())]).result()

    def _row(self, watched_version_id: int) -> PredictionRow:
        confidence = float(self._random.uniform(0.5, 1.0))
        probabilities = np.array([1 - confidence, confidence], dtype="<f4").tobytes()
        return PredictionRow(
            uuid_utils.uuid7().bytes,
            watched_version_id,
            None,
            1,
            confidence,
            probabilities,
            time.time_ns(),
        )


class Cost(NamedTuple):
    """The cost of a scrape, in milliseconds."""

    cpu_ms: float
    wall_ms: float


def median_cost(scrape: Callable[[], Any], traffic: Traffic) -> Cost:
    """The median cost of a scrape, each after a new label."""
    cpu, wall = [], []
    for _ in range(SCRAPES):
        traffic.label()
        cpu_s, wall_s = time.thread_time(), time.perf_counter()
        scrape()
        cpu.append(1e3 * (time.thread_time() - cpu_s))
        wall.append(1e3 * (time.perf_counter() - wall_s))
    return Cost(median(cpu), median(wall))


def told(cost: Cost) -> str:
    """Both figures as one table cell."""
    return f"{cost.cpu_ms:6.1f} ({cost.wall_ms:.1f})"


def card(version: int) -> Card:
    """A card with a reference."""
    sums = BinSums.from_predictions(np.linspace(0.5, 1, 100), np.arange(100) % 4 > 0)
    reference = CalibrationCard.from_reference(
        temperature=1.0, split="validation", sums=sums, measures=Measures.from_sums(sums)
    )
    provenance = Provenance(
        dataset="none",
        fingerprint="0" * 64,
        backbone="none",
        loss="ce",
        seed=version,
        epochs=0,
        libraries={},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return Card(
        name="model",
        version=version,
        classes=("a", "b"),
        input=InputCard(channels=1, height=8, width=8),
        provenance=provenance,
        calibration=reference,
        referral=None,
    )


if __name__ == "__main__":
    sys.exit(main())
