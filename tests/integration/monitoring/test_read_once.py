"""What a page or a report needs from the ledger is read once, however many ask for it."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from monitoring.ledger import PredictionRow
from monitoring.ledger.sum_tables import VALUE_LIMIT
from monitoring.metrics.ledger_gauges import LedgerGauges
from monitoring.reports.page_data import read_page_data
from monitoring.reports.report import calibration_report
from tests.builders.answers import make_row
from tests.builders.monitored import MonitoredModel

ANSWERS, DELAYS = "prediction.probabilities", "feedback.received_at_ns - prediction.served_at_ns"


@contextmanager
def statements(monitored: MonitoredModel) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, sql: str, *_: Any) -> None:
        seen.append(sql)

    event.listen(monitored.ledger._engine, "before_cursor_execute", note)
    yield seen
    event.remove(monitored.ledger._engine, "before_cursor_execute", note)


def count(seen: list[str], part: str) -> int:
    return sum(part in sql for sql in seen)


def test_a_page_reports_once_on_the_version_that_it_is_about(monitored: MonitoredModel) -> None:
    monitored.answer(range(200), wrong=5)
    with statements(monitored) as seen:
        found = read_page_data(monitored.ledger, "pneumonia")
    assert [each.report for each in found.versions] == [found.report]
    assert count(seen, DELAYS) == 1


def test_a_report_asks_the_day_sums_of_a_version_once(monitored: MonitoredModel) -> None:
    monitored.answer(range(200), wrong=5, audit=0.5)
    for slices, most in ((False, 14), (True, 18)):
        calibration_report(monitored.ledger, "pneumonia", slices=slices)  # which infers
        with statements(monitored) as seen:
            calibration_report(monitored.ledger, "pneumonia", slices=slices)
        assert len(seen) <= most, seen
        assert count(seen, "FROM bin_day") == 3  # all; by slice; predictions by class


def test_windows_of_gauges_rest_on_one_read(monitored: MonitoredModel) -> None:
    monitored.answer(range(200), wrong=5, audit=0.5)
    gauges = LedgerGauges(monitored.ledger)
    assert list(gauges.collect())
    monitored.answer(range(200, 220), audit=0.5)
    with statements(monitored) as seen:
        assert list(gauges.collect())
    assert count(seen, "FROM bin_day") <= 6, seen  # one for all windows; the others diagnose


def test_a_question_about_another_gap_reads_no_answers(monitored: MonitoredModel) -> None:
    monitored.answer(range(200), wrong=5)
    asked = calibration_report(monitored.ledger, "pneumonia", gap=0.1).diagnosis.open
    with statements(monitored) as seen:
        smaller = calibration_report(
            monitored.ledger, "pneumonia", slices=False, gap=0.03
        ).diagnosis.open
    assert count(seen, ANSWERS) == 0
    assert smaller[0].labels > asked[0].labels


def test_readers_that_come_together_infer_once(monitored: MonitoredModel) -> None:
    monitored.answer(range(3_000), wrong=5)
    with statements(monitored) as seen, ThreadPoolExecutor(4) as readers:
        found = [
            readers.submit(calibration_report, monitored.ledger, "pneumonia", slices=False)
            for _ in range(4)
        ]
        reports = [each.result() for each in found]
    assert count(seen, ANSWERS) == 1
    assert len({each.measures.n for each in reports}) == 1


def test_tags_of_their_own_cost_no_read_for_each_answer(monitored: MonitoredModel) -> None:
    def rows(numbers: range) -> list[PredictionRow]:
        return [
            make_row(n)._replace(tags=json.dumps({"site": f"s{n}", "device": f"d{n}"}))
            for n in numbers
        ]

    monitored.serve(*rows(range(VALUE_LIMIT)))  # as many as have slices of their own
    with statements(monitored) as seen:
        monitored.serve(*rows(range(1_000, 1_300)))
    assert count(seen, "FROM tag_value") <= 1
