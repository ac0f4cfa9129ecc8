"""A long list of labels ends, to the bit, in the state of labels one by one."""

import json
from pathlib import Path

import numpy as np

from calibration.drift.state import DriftSettings
from monitoring.feedback import FeedbackItem
from monitoring.ledger.predictions import PredictionRow
from tests.builders.answers import CLASSES, DAY_NS, NOW_NS, label, make_row
from tests.builders.monitored import Clock, MonitoredModel, assert_same_state

TABLES = (
    "feedback",
    "prediction",
    "bin_day",
    "bin_total",
    "monitor_event",
    "tag_value",
    "feedback_pending",
)


def answers(count: int) -> list[PredictionRow]:
    rng = np.random.default_rng(0)
    return [
        make_row(
            number,
            confidence=float(np.float32(rng.uniform(0.5, 1.0))),
            predicted=number % 2,
            served_at_ns=NOW_NS - (number % 3) * DAY_NS,
            request_id=f"scan-{number}",
        )._replace(
            tags=json.dumps({"site": "ABC"[number % 3]}) if number % 2 else None,
            audit=0.5 if number % 5 == 0 else None,
        )
        for number in range(count)
    ]


def words(count: int) -> list[FeedbackItem]:
    """Labels, repeats, corrections, unknown classes and answers, request ids, mixed."""
    rng = np.random.default_rng(1)
    items = []
    for _ in range(2 * count):
        number = int(rng.integers(0, count + 5))
        name = CLASSES[int(rng.integers(0, 2))] if rng.random() < 0.95 else "cat"
        if rng.random() < 0.2:
            items.append(FeedbackItem(name, None, "pneumonia", f"scan-{number}"))
        else:
            items.append(
                label(
                    number,
                    name,
                    at_ns=NOW_NS - (number % 3) * DAY_NS,
                    source="ward" if number % 4 else None,
                )
            )
    return items


def test_a_list_ends_where_single_labels_end(tmp_path: Path, clock: Clock) -> None:
    quick = DriftSettings(average_run_length=20, tolerance=0.0)
    with (
        MonitoredModel(tmp_path / "one.db", clock, settings=quick) as one,
        MonitoredModel(tmp_path / "list.db", clock, settings=quick) as many,
    ):
        for monitored in (one, many):
            monitored.serve(*answers(150))
        items = words(150)
        assert [status for item in items for status in one.label(item)] == many.label(*items)
        for table in TABLES:
            # a label that a list corrects again leaves no row, and alone one of zeros
            counted = "WHERE served > 0 OR n > 0" if table.startswith("bin_") else ""
            everything = f"SELECT * FROM {table} {counted} ORDER BY 1, 2, 3"
            detail = "kind, feedback_id, watched_version_id" if table == "monitor_event" else "*"
            everything = everything.replace("*", detail)
            assert one.rows(everything) == many.rows(everything), table
        assert one.rows("SELECT count(*) FROM monitor_event WHERE kind = 'alarm'") == [(1,)]
        assert_same_state(one.detectors()[0], many.detectors()[0])
        assert_same_state(*many.detectors())
