"""The cost of the recorder: answers with several batches in flight, one answer alone, labels in
bulk and one by one.
"""

import os
import time
from queue import SimpleQueue

import numpy as np
from prometheus_client import CollectorRegistry

from benchmarks.ledger.model import CLASSES, MODEL
from monitoring.feedback import FeedbackItem
from monitoring.ledger import Ledger, PredictionRow
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording.recorder import Recorder

BATCH = 16


class Bench:
    """A recorder on a new ledger."""

    def __init__(self, url: str) -> None:
        self._ledger = Ledger(url)
        self.recorder = Recorder(self._ledger, MonitorMetrics(CollectorRegistry()))
        self._watched_version_id = self.recorder.declare(MODEL).result().watched_version_id
        self._rng = np.random.default_rng(0)

    def rows(self, count: int) -> list[PredictionRow]:
        """Calibrated answers of a two-class model, served now."""
        now_ns = time.time_ns()
        confidence = self._rng.uniform(0.5, 1.0, count).astype(np.float32)
        return [
            PredictionRow(
                _uuid7(now_ns), self._watched_version_id, None, 1, float(p), _pair(p), now_ns
            )
            for p in confidence
        ]

    def answers_a_second(self, in_flight: int, *, seconds: float) -> float:
        """Rows per second while `in_flight` batches of 16 wait."""
        done: SimpleQueue[BaseException | None] = SimpleQueue()
        for _ in range(in_flight):
            self.recorder.record(self.rows(BATCH), done.put)
        ready = [self.rows(BATCH) for _ in range(4000)]
        started, count = time.perf_counter(), 0
        for rows in ready:
            if time.perf_counter() - started > seconds:
                break
            if (error := done.get()) is not None:
                raise error
            self.recorder.record(rows, done.put)
            count += BATCH
        elapsed = time.perf_counter() - started
        for _ in range(in_flight):
            done.get()
        return count / elapsed

    def lone_latencies_ms(self, count: int) -> tuple[float, float]:
        """Median and 95th percentile of one answer, alone, from record to commit."""
        done: SimpleQueue[BaseException | None] = SimpleQueue()
        taken = []
        for _ in range(count):
            rows = self.rows(1)
            started = time.perf_counter()
            self.recorder.record(rows, done.put)
            done.get()
            taken.append(1e3 * (time.perf_counter() - started))
        median, p95 = np.quantile(taken, [0.5, 0.95]).tolist()
        return median, p95

    def labels_a_second(self, count: int, *, at_once: int) -> float:
        """First labels per second, sent in lists of `at_once` for answers that were served
        before.
        """
        rows = self.rows(count)
        done: SimpleQueue[BaseException | None] = SimpleQueue()
        for start in range(0, count, 4096):
            self.recorder.record(rows[start : start + 4096], done.put)
            done.get()
        correct = self._rng.random(count) < [row.confidence for row in rows]
        items = [
            FeedbackItem(CLASSES[int(right)], row.prediction_id)
            for row, right in zip(rows, correct, strict=True)
        ]
        started = time.perf_counter()
        for start in range(0, count, at_once):
            self.recorder.feedback(items[start : start + at_once]).result()
        return count / (time.perf_counter() - started)

    def close(self) -> None:
        """Stop the recorder and close the ledger."""
        self.recorder.close()
        self._ledger.close()


def _uuid7(now_ns: int) -> bytes:
    noise = os.urandom(10)
    return (
        (now_ns // 1_000_000).to_bytes(6, "big")
        + bytes([0x70 | noise[0] & 0xF])
        + noise[1:2]
        + noise[2:]
    )


def _pair(confidence: float) -> bytes:
    return np.array([1 - confidence, confidence], dtype="<f4").tobytes()
