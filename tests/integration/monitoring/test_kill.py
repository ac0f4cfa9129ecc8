"""kill -9 while answers and labels are written: the acknowledged is there, all agrees."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from monitoring.ledger.schema import IS_LABELED, feedback, prediction
from tests.builders.answers import make_row, prediction_id
from tests.builders.monitored import Clock, MonitoredModel, assert_same_state, assert_same_sums

ROOT = Path(__file__).parents[3]
WRITER = """
import os, sys
from pathlib import Path
from tests.builders.answers import label, make_row
from tests.builders.monitored import Clock, MonitoredModel

path, start = Path(sys.argv[1]), int(sys.argv[2])
monitored = MonitoredModel(path, Clock())

def say(line):
    os.write(1, (line + "\\n").encode())  # one write: a kill cuts no line but the last

def name(number):
    return "normal" if number % 3 == 0 else "pneumonia"

for batch in range(100_000):
    numbers = range(start + 8 * batch, start + 8 * batch + 8)
    rows = [make_row(number, confidence=0.5 + (number % 50) / 100) for number in numbers]
    monitored.recorder.record(rows, lambda error, numbers=numbers: say(f"served {numbers.start}"))
    if batch >= 20:
        due = [number - 160 for number in numbers]
        future = monitored.recorder.feedback([label(number, name(number)) for number in due])
        future.add_done_callback(
            lambda done, due=due: say(f"labeled {due[0]} {done.result()[0].status}")
        )
    if batch % 10 == 0:
        monitored.recorder.feedback([]).result()
        monitored.serve(make_row(start + 10_000_000 + batch))  # wait for the queue
"""


def write_until_killed(path: Path, start: int, lines: int) -> list[list[str]]:
    """The writer's acknowledgments, at least `lines`, until it was killed."""
    command = [sys.executable, "-c", WRITER, str(path), str(start)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        heard = list(_until(process.stdout, lines))
        os.kill(process.pid, signal.SIGKILL)
        heard += list(process.stdout)
    assert process.returncode == -signal.SIGKILL
    return [line.split() for line in heard if line.endswith("\n")]


def _until(stream: Iterator[str], lines: int) -> Iterator[str]:
    for _, line in zip(range(lines), stream, strict=False):
        yield line


@pytest.mark.parametrize("lines", [60, 151])
def test_nothing_acknowledged_is_lost_and_nothing_counts_twice(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "ledger.db"
    acknowledged = [
        line for life in range(2) for line in write_until_killed(path, 1_000_000 * life, lines)
    ]
    served = {
        int(number) + step
        for kind, number, *_ in acknowledged
        if kind == "served"
        for step in range(8)
    }
    labeled = {
        int(number) + step
        for kind, number, *_ in acknowledged
        if kind == "labeled"
        for step in range(8)
    }
    assert {status for kind, _, *rest in acknowledged if kind == "labeled" for status in rest} == {
        "accepted"
    }
    assert labeled
    with MonitoredModel(path, Clock()) as monitored:
        check(monitored, served=served, labeled=labeled)
        monitored.serve(make_row(99_000_000))  # and it goes on
        assert_same_state(*monitored.detectors())


def check(monitored: MonitoredModel, *, served: set[int], labeled: set[int]) -> None:
    with monitored.ledger.read() as connection:
        answers = set(connection.scalars(select(prediction.c.prediction_id)))
        current = connection.execute(select(prediction).where(IS_LABELED)).all()
        revisions = connection.execute(select(feedback)).all()
    assert {prediction_id(number) for number in served} <= answers
    assert {prediction_id(number) for number in labeled} <= {row.prediction_id for row in current}
    assert len(revisions) == len(current)  # each label once, none corrected
    assert monitored.sums().served.sum() == len(answers)
    assert_same_sums(
        monitored.sums().labeled, [(row.confidence, row.label == row.predicted) for row in current]
    )
    stored, replayed = monitored.detectors()
    assert_same_state(stored, replayed)
    assert stored.labels == len(current)
    assert monitored.rows("PRAGMA integrity_check") == [("ok",)]
