"""How much processor time the first report of a process takes, on a ledger of labeled answers.

python -m benchmarks.diagnosis.first_report [--labels 100000] [--classes 2] [--url URL]

Two tags of 50 values are watched. Five values of one broke after two thirds of 90 days, so their
watches are in alarm; one label in 33 was wrong at first and is corrected. The card promises rates.
"""

import json
import resource
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from queue import SimpleQueue

import numpy as np
import typer
from prometheus_client import CollectorRegistry

from benchmarks.cards import made_up
from calibration.bins import BinSums
from calibration.measures.summary import Measures
from model_store.bundle.calibration_card import CalibrationCard
from model_store.bundle.card import Card
from monitoring.drift.tag_settings import TagSettings
from monitoring.feedback import FeedbackItem
from monitoring.ledger import Ledger, PredictionRow
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording.recorder import Recorder
from monitoring.reports.report import calibration_report

MODEL, VALUES, BROKEN, DAYS, WRONG = "first-report", 50, 5, 90, 33
AT_ONCE, PROCESSES = 2_000, 7
_DAY_NS = 86_400 * 10**9


def main(
    labels: int = typer.Option(100_000, help="labeled answers"),
    classes: int = typer.Option(2, help="of the model"),
    url: str = typer.Option("", help="of an empty ledger; by default a SQLite file"),
    read: bool = typer.Option(False, hidden=True),
) -> None:
    """Print processor seconds of the first report in each of seven processes, and their median."""
    if read:
        print(json.dumps(_first_report(url)))
        return
    with tempfile.TemporaryDirectory() as folder:
        url = url or f"sqlite:///{folder}/ledger.db"
        _fill(url, labels, classes)
        command = [
            sys.executable,
            "-m",
            "benchmarks.diagnosis.first_report",
            "--read",
            "--url",
            url,
        ]
        runs = [json.loads(subprocess.check_output(command)) for _ in range(PROCESSES)]
    seconds = sorted(each["cpu_s"] for each in runs)
    print(json.dumps({**runs[0], "cpu_s": seconds, "median_s": seconds[PROCESSES // 2]}))


def _first_report(url: str) -> dict[str, float]:
    with Ledger(url) as ledger:
        before = resource.getrusage(resource.RUSAGE_SELF)
        found = calibration_report(ledger, MODEL).diagnosis
        after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"labels": found.basis.labels, "alarms": len(found.alarms), "cpu_s": round(used, 2)}


def _fill(url: str, labels: int, classes: int) -> None:
    tags = TagSettings(("site", "device"))
    with (
        Ledger(url) as ledger,
        Recorder(ledger, MonitorMetrics(CollectorRegistry()), tags=tags) as recorder,
    ):
        card = _card(classes)
        (version,) = recorder.register(card)
        corrected: list[FeedbackItem] = []
        for rows, truth in _days(labels, classes, version, ledger.clock()):
            done: SimpleQueue[BaseException | None] = SimpleQueue()
            recorder.record(rows, done.put)
            if (error := done.get()) is not None:
                raise error
            right = [
                FeedbackItem(card.classes[k], row.prediction_id)
                for k, row in zip(truth, rows, strict=True)
            ]
            recorder.feedback(
                [
                    each if n % WRONG else each._replace(label=card.classes[k - 1])
                    for n, (k, each) in enumerate(zip(truth, right, strict=True))
                ]
            ).result()
            corrected += right[::WRONG]
        recorder.feedback(corrected).result()


def _days(
    labels: int, classes: int, version: int, now_ns: int
) -> Iterator[tuple[list[PredictionRow], list[int]]]:
    """Answers and true classes, AT_ONCE together."""
    rng = np.random.default_rng(1)
    for start in range(0, labels, AT_ONCE):
        n = min(AT_ONCE, labels - start)
        age = 1 - (start + np.arange(n)) / labels
        true = rng.dirichlet(np.full(classes, 0.5), n)
        truth = (true.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
        site, device = rng.integers(0, VALUES, (2, n))
        p = true ** np.where((site < BROKEN) & (age < 1 / 3), 3.0, 1.0)[:, None] + 1e-6
        p /= p.sum(axis=1, keepdims=True)
        at_ns = [now_ns - int(each * DAYS * _DAY_NS) for each in age]
        tags = [
            json.dumps({"device": f"d{d}", "site": f"s{s}"})
            for s, d in zip(site, device, strict=True)
        ]
        yield [_row(version, *each) for each in zip(p, at_ns, tags, strict=True)], truth.tolist()


def _row(version: int, p: np.ndarray, at_ns: int, tags: str) -> PredictionRow:
    noise = uuid.uuid4().bytes
    key = (at_ns // 1_000_000).to_bytes(6, "big") + bytes([0x70 | noise[6] & 0xF]) + noise[7:]
    best, blob = int(p.argmax()), p.astype("<f4").tobytes()
    return PredictionRow(key, version, None, best, float(p[best]), blob, at_ns, tags=tags)


def _card(classes: int) -> Card:
    sums = BinSums.from_predictions(np.full(1_000, 0.75), np.arange(1_000) < 750)
    reference = CalibrationCard.from_reference(
        temperature=1.0,
        split="validation",
        sums=sums,
        measures=Measures.from_sums(sums),
        confusion=np.full((classes, classes), 250 // (classes - 1))
        + np.eye(classes, dtype=int) * 500,
    )
    return made_up(MODEL, [f"class {k}" for k in range(classes)], reference)


if __name__ == "__main__":
    typer.run(main)
