"""A long list of labels ends in the very state of labels one by one: tables, sums and detector, to the bit."""

import json
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.drift import DriftSettings
from monitoring.feedback import FeedbackItem
from monitoring.ledger.predictions import PredictionRow
from monitoring.ledger.slices import SliceKeys
from monitoring.ledger.sums import Counted, DayBin, LabelKey, SumChanges
from tests.unit.monitoring.builders import CLASSES, DAY_NS, NOW_NS, label, make_row
from tests.unit.monitoring.desk import Clock, Desk, assert_same_state

TABLES = ("feedback", "label_current", "bin_day", "bin_total", "monitor_event", "tag_value", "feedback_pending")


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
            tags=json.dumps({"site": "ABC"[number % 3]}) if number % 2 else None, audit=0.5 if number % 5 == 0 else None
        )
        for number in range(count)
    ]


def words(count: int) -> list[FeedbackItem]:
    """Labels, repeats, corrections, unknown classes, unknown answers, and labels by request id, all mixed."""
    rng = np.random.default_rng(1)
    items = []
    for _ in range(2 * count):
        number = int(rng.integers(0, count + 5))
        name = CLASSES[int(rng.integers(0, 2))] if rng.random() < 0.95 else "cat"
        if rng.random() < 0.2:
            items.append(FeedbackItem(name, None, "pneumonia", f"scan-{number}"))
        else:
            items.append(
                label(number, name, at_ns=NOW_NS - (number % 3) * DAY_NS, source="ward" if number % 4 else None)
            )
    return items


def test_a_list_ends_where_single_labels_end(tmp_path: Path, clock: Clock) -> None:
    quick = DriftSettings(average_run_length=20, tolerance=0.0)
    with (
        Desk(tmp_path / "one.db", clock, settings=quick) as one,
        Desk(tmp_path / "list.db", clock, settings=quick) as many,
    ):
        for desk in (one, many):
            desk.serve(*answers(150))
        items = words(150)
        assert [status for item in items for status in one.label(item)] == many.label(*items)
        for table in TABLES:
            everything = f"SELECT * FROM {table} ORDER BY 1, 2, 3"
            detail = "kind, feedback_id, calibration_id" if table == "monitor_event" else "*"
            everything = everything.replace("*", detail)
            assert one.rows(everything) == many.rows(everything), table
        assert one.rows("SELECT count(*) FROM monitor_event WHERE kind = 'alarm'") == [(1,)]
        assert_same_state(one.detectors()[0], many.detectors()[0])
        assert_same_state(*many.detectors())


_labels = st.lists(
    st.tuples(st.floats(0, 1, width=32), st.integers(0, 1), st.integers(0, 1), st.sampled_from([None, '{"a": "b"}'])),
    min_size=1,
    max_size=30,
)


@settings(max_examples=50)
@given(_labels)
def test_sums_by_column_are_sums_one_by_one(labels: list[tuple[float, int, int, str | None]]) -> None:
    single, many = SumChanges(), SumChanges()
    keys: list[LabelKey] = []
    for p, predicted, true, tags in labels:
        bin_number = min(int(p * 15), 14)
        single.label(Counted(DayBin(1, 7, bin_number), p, SliceKeys(predicted, tags, False)), true)
        keys.append((1, 7, bin_number, predicted, tags, False, true))
    correct = np.array([predicted == true for _, predicted, true, _ in labels])
    many.label_many(keys, np.array([p for p, *_ in labels]), correct)
    assert many.labeled == single.labeled
    assert many._labeled == single._labeled
