"""A recorder as in a server, fed with predictions and labels of a calibrated two-class model."""

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from queue import SimpleQueue

import numpy as np
from prometheus_client import CollectorRegistry

from calibration.bins import BinSums
from monitoring.feedback import FeedbackItem
from monitoring.ledger import Ledger, PredictionRow
from monitoring.logged.declaration import LoggedCard
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording.recorder import Recorder

BATCH = 16  # images, as a server sends them
IN_FLIGHT = 16  # batches that wait for their commit: those of several models, or of a fast one
CLASSES = ("normal", "pneumonia")
SITES = 20
MODEL = LoggedCard(
    model="pneumonia",
    version=1,
    classes=CLASSES,
    reference=BinSums.from_predictions(np.full(100, 0.75), np.arange(100) < 75),
)


class Writer:
    """A recorder on the ledger at `url`; with `tagged`, rows have a request id, one tag and a
    scope p-value."""

    def __init__(self, url: str, *, tagged: bool = True) -> None:
        self._ledger = Ledger(url)
        self._recorder = Recorder(self._ledger, MonitorMetrics(CollectorRegistry()))
        (version,) = self._recorder.declare(MODEL).result()
        self._watched_version_id = version.watched_version_id
        self._rng = np.random.default_rng(os.getpid())
        self._tagged = tagged

    def rows(self, count: int, *, served_ns: Sequence[int] = ()) -> list[PredictionRow]:
        """Predictions, served now unless `served_ns` says when."""
        times = served_ns or [time.time_ns()] * count
        confidence = self._rng.uniform(0.5, 1.0, count).astype(np.float32)
        return [self._row(float(p), at) for p, at in zip(confidence, times, strict=True)]

    def record(
        self,
        batches: Iterable[Sequence[PredictionRow]],
        *,
        seconds: float = float("inf"),
        in_flight: int = IN_FLIGHT,
    ) -> list[PredictionRow]:
        """Record the batches, or those of the first `seconds`; return their rows once committed."""
        done: SimpleQueue[BaseException | None] = SimpleQueue()
        recorded, waiting, until_s = list[PredictionRow](), 0, time.perf_counter() + seconds
        for rows in batches:
            if time.perf_counter() > until_s:
                break
            self._recorder.record(rows, done.put)
            recorded += rows
            waiting += 1
            if waiting == in_flight:
                waiting -= _committed(done)
        while waiting:
            waiting -= _committed(done)
        return recorded

    def endless(self) -> Iterator[list[PredictionRow]]:
        """Batches, each made when it is asked for."""
        while True:
            yield self.rows(BATCH)

    def label(self, rows: Sequence[PredictionRow], *, at_once: int) -> None:
        """Send a label for each of these, in lists."""
        correct = self._rng.random(len(rows)) < [row.confidence for row in rows]
        items = [
            FeedbackItem(CLASSES[int(right)], row.prediction_id)
            for row, right in zip(rows, correct, strict=True)
        ]
        for start in range(0, len(items), at_once):
            self._recorder.feedback(items[start : start + at_once]).result()

    def close(self) -> None:
        """Stop the recorder and close the ledger."""
        self._recorder.close()
        self._ledger.close()

    def _row(self, p: float, at_ns: int) -> PredictionRow:
        noise = os.urandom(19)
        key = (at_ns // 1_000_000).to_bytes(6, "big") + bytes([0x70 | noise[0] & 0xF]) + noise[1:10]
        return PredictionRow(
            key,
            self._watched_version_id,
            f"accession-{noise[10:16].hex()}" if self._tagged else None,
            1,
            p,
            np.array([1 - p, p], dtype="<f4").tobytes(),
            at_ns,
            tags=json.dumps({"site": f"s{noise[17] % SITES:02}"}) if self._tagged else None,
            scope_p=(noise[18] + 1) / 256 if self._tagged else None,
        )


def _committed(done: "SimpleQueue[BaseException | None]") -> int:
    """Wait for a commit; 1."""
    if (error := done.get()) is not None:
        raise error
    return 1
