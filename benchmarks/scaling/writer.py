"""One process that records answers as fast as it can: `python -m benchmarks.scaling.writer URL
SECONDS`.

It prints a JSON object: rows, wall-clock seconds, its own processor seconds. Rows have a request id
and one tag.
"""

import json
import os
import sys
import time
from queue import SimpleQueue

import numpy as np
from prometheus_client import CollectorRegistry

from benchmarks.ledger.model import CLASSES, MODEL
from monitoring.feedback import FeedbackItem
from monitoring.ledger import Ledger, PredictionRow
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording.recorder import Recorder

BATCH = 16  # images, as a server sends them
IN_FLIGHT = 16  # batches that wait for their commit: those of several models, or of a fast one
LABELS_AT_ONCE = 2_000


class Writer:
    """A recorder as in a server, with rows of a two-class model."""

    def __init__(self, url: str) -> None:
        self._ledger = Ledger(url)
        self._recorder = Recorder(self._ledger, MonitorMetrics(CollectorRegistry()))
        self._watched_version_id = self._recorder.declare(MODEL).result().watched_version_id
        self._rng = np.random.default_rng(os.getpid())
        self.ids: list[bytes] = []

    def answers(self, *, seconds: float = float("inf"), count: int = sys.maxsize) -> int:
        """Record answers for `seconds`, or `count` of them; returns how many."""
        done: SimpleQueue[BaseException | None] = SimpleQueue()
        began_s, sent, waiting = time.perf_counter(), 0, 0
        while sent < count and time.perf_counter() - began_s < seconds:
            rows = self._rows()
            self._recorder.record(rows, done.put)
            self.ids += [row.prediction_id for row in rows]
            sent, waiting = sent + BATCH, waiting + 1
            if waiting == IN_FLIGHT:
                _raise(done.get())
                waiting -= 1
        for _ in range(waiting):
            _raise(done.get())
        return sent

    def labels(self) -> int:
        """Send the label of every answer so far, in lists; returns how many."""
        right = self._rng.random(len(self.ids)) < 0.75
        items = [
            FeedbackItem(CLASSES[int(each)], key) for key, each in zip(self.ids, right, strict=True)
        ]
        for start in range(0, len(items), LABELS_AT_ONCE):
            self._recorder.feedback(items[start : start + LABELS_AT_ONCE]).result()
        return len(items)

    def close(self) -> None:
        """Stop the recorder and close the ledger."""
        self._recorder.close()
        self._ledger.close()

    def _rows(self) -> list[PredictionRow]:
        now_ns = time.time_ns()
        noise = os.urandom(10 * BATCH)
        rows = []
        for number, p in enumerate(self._rng.uniform(0.5, 1.0, BATCH).astype(np.float32)):
            own = noise[10 * number : 10 * number + 10]
            key = (now_ns // 1_000_000).to_bytes(6, "big") + bytes([0x70 | own[0] & 0xF]) + own[1:]
            pair = np.array([1 - p, p], dtype="<f4").tobytes()
            tags = json.dumps({"site": f"s{own[1] % 20:02}"})
            request_id = f"accession-{own[2:8].hex()}"
            rows.append(
                PredictionRow(
                    key[:16],
                    self._watched_version_id,
                    request_id,
                    1,
                    float(p),
                    pair,
                    now_ns,
                    tags=tags,
                )
            )
        return rows


def _raise(error: BaseException | None) -> None:
    if error is not None:
        raise error


def main() -> None:
    """Read the command line, write, print."""
    url, seconds = sys.argv[1:]
    writer = Writer(url)
    writer.answers(seconds=1)
    began_s, used_s = time.perf_counter(), time.process_time()
    rows = writer.answers(seconds=float(seconds))
    print(
        json.dumps(
            {
                "rows": rows,
                "wall_s": time.perf_counter() - began_s,
                "cpu_s": time.process_time() - used_s,
            }
        )
    )
    writer.close()


if __name__ == "__main__":
    main()
