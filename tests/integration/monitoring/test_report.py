"""Reports of a real ledger: figures against a count by hand, windows, history, what is read."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from threading import Event, get_ident
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import event

from calibration.bins import BinSums
from calibration.drift.state import DriftSettings
from calibration.measures import metrics
from calibration.measures.summary import Measures
from console.report_document import report_page
from monitoring.diagnosis.answer_record import find_answer_record
from monitoring.diagnosis.audit import find_audit
from monitoring.diagnosis.facts import State
from monitoring.drift import events
from monitoring.drift.source_change import change_sources
from monitoring.errors import ModelNeeded, ModelNotInLedger
from monitoring.http.json_body import plain
from monitoring.ledger import PredictionRow
from monitoring.ledger.day_sums import read_day_sums
from monitoring.ledger.days import read_days
from monitoring.ledger.schema import EVERYTHING
from monitoring.ledger.sum_tables import AUDIT, VALUE_LIMIT
from monitoring.ledger.versions import choose
from monitoring.maintenance.retention import prune
from monitoring.metrics.ledger_gauges import LedgerGauges
from monitoring.reports import every_model
from monitoring.reports.every_model import EveryModel
from monitoring.reports.findings import findings_report
from monitoring.reports.page_data import read_page_data
from monitoring.reports.report import Coverage, Delay, Report, calibration_report, only_model
from monitoring.reports.timeline import read_timeline
from monitoring.sources import LabelPolicy
from tests.builders.answers import CLASSES, DAY_NS, NOW_NS, SECOND_NS, label, make_card, make_row
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel
from tests.builders.processes import PATIENCE_S

DATABASES = BOTH_DATABASES
TODAY = NOW_NS // DAY_NS


def fill(
    monitored: MonitoredModel,
    right: list[bool],
    *,
    confidence: float = 0.8,
    start: int = 0,
    days_ago: int = 0,
    unlabeled: int = 0,
) -> None:
    """Answers of "pneumonia", labeled but for the last `unlabeled`."""
    at_ns, numbers = NOW_NS - days_ago * DAY_NS, range(start, start + len(right))
    more = range(numbers.stop, numbers.stop + unlabeled)
    monitored.serve(
        *(make_row(n, confidence=confidence, served_at_ns=at_ns) for n in (*numbers, *more))
    )
    named = zip(numbers, right, strict=True)
    monitored.label(*(label(n, CLASSES[ok], at_ns=at_ns) for n, ok in named))


def report_of(monitored: MonitoredModel, **which: Any) -> Report:
    return calibration_report(monitored.ledger, "pneumonia", **which)


def test_the_report_measures_what_was_labeled(monitored: MonitoredModel, clock: Clock) -> None:
    clock.now_ns += 60 * SECOND_NS
    right = [True] * 30 + [False] * 20
    fill(monitored, right)
    fill(monitored, [], confidence=0.6, start=900, unlabeled=2)
    report = report_of(monitored)
    expected = Measures.from_sums(BinSums.from_predictions([0.8] * 50, right))
    scores = {
        "nll": -0.6 * math.log(0.8) - 0.4 * math.log(0.2),
        "brier": 0.6 * 2 * 0.2**2 + 0.4 * 2 * 0.8**2,
    }
    assert report.measures.as_dict() == pytest.approx(expected.as_dict() | scores, nan_ok=True)
    assert report.measures.signed_gap == pytest.approx(0.2)
    assert report.expected_accuracy == pytest.approx((50 * 0.8 + 2 * 0.6) / 52)
    assert report.coverage == Coverage(52, 50, 50 / 52)
    assert report.delay == Delay(60, 60)
    which = (report.model, report.version, report.versions, report.window)
    assert which == ("pneumonia", 1, (1,), "now")
    assert report.reference == make_card().calibration.measures
    assert [row.n for row in report.bins] == [50 if number == 11 else 0 for number in range(15)]
    assert report.drift.labels == 50
    page = read_page_data(monitored.ledger, "pneumonia")
    assert [each for each in leaves(page) if isinstance(each, Decimal)] == []
    assert "52" in report_page(page)


def leaves(value: Any) -> Iterator[Any]:
    """What a structure of data classes, mappings and sequences holds, all the way down."""
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        value = [*value.values()]
    if isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def test_scores_are_of_the_current_labels(monitored: MonitoredModel) -> None:
    rng = np.random.default_rng(3)
    confidence, predicted, true = rng.uniform(0.5, 1, 60), *rng.integers(0, 2, (2, 60))
    pairs = zip(confidence.tolist(), predicted.tolist(), strict=True)
    rows = [make_row(n, confidence=p, predicted=k) for n, (p, k) in enumerate(pairs)]
    monitored.serve(*rows)
    for names in (1 - true, true):  # labels, and corrections
        monitored.label(*(label(n, CLASSES[k]) for n, k in enumerate(names)))
    probabilities = np.array([np.frombuffer(row.probabilities, dtype="<f4") for row in rows])
    measures = report_of(monitored, window="all").measures
    expected = Measures.from_probabilities(probabilities, true)
    assert (measures.nll, measures.brier) == pytest.approx((expected.nll, expected.brier))


def test_windows_and_days_count_answers_by_the_day_they_were_served(
    monitored: MonitoredModel,
) -> None:
    for days_ago, right in ((2, False), (1, True), (0, True)):
        fill(monitored, [right] * 3, days_ago=days_ago, start=10 * days_ago, unlabeled=1)
    for days, accuracy in ((1, 1.0), (2, 1.0), (3, 2 / 3)):
        found = report_of(monitored, window=f"days:{days}")
        assert (found.measures.n, found.coverage.served) == (3 * days, 4 * days)
        assert found.measures.accuracy == pytest.approx(accuracy)
    with monitored.ledger.read() as connection:
        first, _, last = read_days(connection, monitored.watched_version_id)
        (today,) = read_days(connection, monitored.watched_version_id, since_day=TODAY)
    assert (first.first, first.last, first.served, first.labeled.total) == (
        *(TODAY - 2, TODAY - 2, 4, 3),
    )
    assert metrics.ece(first.labeled) == pytest.approx(0.8)
    assert (str(last), today.served) == ("2026-09-21", 4)


def test_an_audit_weighs_days_by_the_inverse_of_their_share(monitored: MonitoredModel) -> None:
    """Day one: 2 of 4 drawn, right; day two: 2 of 40, wrong; so 4 right against 40 wrong."""
    for day, (served, right) in enumerate(((4, True), (40, False))):
        at_ns = NOW_NS + day * DAY_NS
        rows = [make_row(100 * day + i, confidence=0.75, served_at_ns=at_ns) for i in range(served)]
        monitored.serve(*(row._replace(audit=0.05) for row in rows[:2]), *rows[2:])
        monitored.label(*(label(100 * day + i, CLASSES[right], at_ns=at_ns) for i in range(2)))
    with monitored.ledger.read() as connection:
        days = read_day_sums(connection, monitored.watched_version_id, EVERYTHING, AUDIT)
    sums, later_sums = find_audit(days), find_audit(days, TODAY + 1)
    assert (sums.labeled, later_sums.labeled) == (4, 2)
    assert metrics.signed_gap(sums.as_bins()) == pytest.approx(0.75 - 4 / 44, abs=0.2)
    assert metrics.signed_gap(later_sums.as_bins()) == pytest.approx(0.75)


def test_under_an_alarm_answers_have_the_record_since_its_error_began(
    monitored: MonitoredModel,
) -> None:
    for day in range(2):
        at_ns, numbers = NOW_NS + day * DAY_NS, range(100 * day, 100 * day + 100)
        monitored.serve(*(make_row(n, confidence=0.8, served_at_ns=at_ns + n) for n in numbers))
        monitored.label(*(label(n, CLASSES[day == 0 and n % 5 > 0], at_ns=at_ns) for n in numbers))
    with monitored.ledger.read() as connection:
        row = choose(connection, "pneumonia")
        how: dict[str, Any] = {"predicted": "pneumonia", "confidence": 0.8}
        found = find_answer_record(monitored.ledger, connection, row, **how)
    assert (found.alarm, found.labeled, found.right) == (True, 100, 0)


def test_without_labels_or_a_watch_everything_is_there_and_empty(
    monitored: MonitoredModel,
) -> None:
    for window in ("all", "days:5"):
        report = report_of(monitored, window=window)
        assert report.diagnosis.state is State.UNKNOWN
        assert math.isnan(report.measures.ece)
        found = json.loads(json.dumps(report.as_dict(), allow_nan=False))
        assert (found["measures"]["ece"], found["drift"]["log_evalue"]) == (None, None)
        assert found["coverage"] == {"served": 0, "labeled": 0, "ratio": None}
    with monitored.ledger.write() as connection:
        connection.exec_driver_sql("DELETE FROM monitor_state")
    assert report_of(monitored).as_dict()["drift"] is None


def test_a_version_is_chosen_by_number_or_is_the_one_in_production(
    monitored: MonitoredModel, clock: Clock
) -> None:
    assert only_model(monitored.ledger) == "pneumonia"
    clock.now_ns += 1
    monitored.recorder.register(make_card(version=2, temperature=1.3))
    latest = report_of(monitored)
    assert (latest.version, latest.temperature) == (2, 1.3)
    assert report_of(monitored, version=1).versions == (1, 2)
    monitored.recorder.promote(monitored.watched_version_id).result(timeout=PATIENCE_S)
    assert report_of(monitored).version == 1  # 2 is a canary
    with pytest.raises(ModelNotInLedger):
        report_of(monitored, version=3)
    monitored.recorder.register(make_card("retina"))
    with pytest.raises(ModelNeeded, match="pneumonia, retina"):
        only_model(monitored.ledger)
    with monitored.ledger.write() as connection:
        connection.exec_driver_sql("DELETE FROM watched_versions")
    with pytest.raises(ModelNeeded):
        only_model(monitored.ledger)


def test_page_data_holds_what_belongs_together(monitored: MonitoredModel, clock: Clock) -> None:
    monitored.recorder.promote(monitored.watched_version_id).result()
    fill(monitored, [True])
    for version in range(2, 9):
        clock.now_ns += DAY_NS
        monitored.recorder.register(make_card(version=version))
    found = read_page_data(monitored.ledger, "pneumonia", version=1)
    assert [each.report.version for each in found.versions] == [8, 7, 6, 5, 4, 1]
    assert [entry["kind"] for entry in found.of_this_version] == ["started", "promoted"]
    assert len(found.entries) == 9
    assert [each.labeled.total for each in found.days] == [1]
    assert found.since_day is None
    recent = read_page_data(monitored.ledger, "pneumonia", version=1, window="days:3")
    assert recent.since_day == clock.now_ns // DAY_NS - 2
    assert (recent.days, len(recent.entries), recent.report.measures.n) == ((), 3, 0)
    with pytest.raises(ModelNotInLedger):
        read_page_data(monitored.ledger, "pneumonia", version=99)


# History


@pytest.mark.world(settings=DriftSettings(average_run_length=100))
def test_the_timeline_has_the_events_of_all_versions_however_often_it_is_pruned(
    monitored: MonitoredModel, clock: Clock
) -> None:
    fill(monitored, [False] * 30, confidence=0.95)
    report = report_of(monitored)
    assert (report.diagnosis.state, report.drift.direction) == (State.ALARM, "over")
    for act in (
        lambda: monitored.recorder.acknowledge("pneumonia", note="lamp replaced"),
        lambda: monitored.recorder.acknowledge("pneumonia", kind="reset"),
        lambda: monitored.recorder.promote(*monitored.recorder.register(make_card(version=2))),
    ):
        clock.now_ns += SECOND_NS
        act().result(timeout=PATIENCE_S)
    for night in range(25):
        clock.now_ns += DAY_NS
        monitored.answer(range(100 * night + 2_000, 100 * night + 2_010), confidence=0.95)
        prune(monitored.ledger, older_than_s=DAY_NS / 1e9)
    with monitored.ledger.read() as connection:
        entries = read_timeline(connection, "pneumonia")
        of_second = read_timeline(connection, "pneumonia", version=2)
        with pytest.raises(ModelNotInLedger):
            read_timeline(connection, "pneumonia", version=7)
    assert [(entry["version"], entry["kind"]) for entry in entries] == [
        *((1, kind) for kind in ("started", "alarm", "acknowledged", "reset")),
        *((2, kind) for kind in ("started", "promoted")),
    ]
    assert of_second == entries[4:]
    assert "lamp replaced" in entries[2]["sentence"]
    assert entries[0]["at"] == "2026-09-21T14:13:20+00:00"


DETAIL = {
    **{"actor": "tom", "note": "seen", "labels": 3, "was_active": True, "keys": ["site"]},
    **{"average_run_length": 1_000, "tolerance": 0.01, "policies": {"pacs": "proxy"}},
    **{"answers": 3, "direction": "over", "outcome": "refused", "reason": "too few labels."},
    "model": "pneumonia",
}


def test_every_kind_of_event_has_a_sentence_or_is_left_out(monitored: MonitoredModel) -> None:
    named = vars(events).items()
    kinds = {value for name, value in named if name.isupper() and type(value) is str} - {""}
    assert {"shadowed", "checkpoint", "alarm"} <= kinds
    with monitored.ledger.write() as connection:
        for kind in kinds:
            key = monitored.watched_version_id
            events.record(connection, key, kind, DETAIL, feedback_id=0, now_ns=NOW_NS)
    with monitored.ledger.read() as connection:
        found = read_timeline(connection, "pneumonia")
    assert {each["kind"] for each in found} == kinds - {"checkpoint"}
    assert all(each["sentence"].endswith((".", "seen")) for each in found), found


# What is read, and how often

ANSWERS, DELAYS = "prediction.probabilities", "feedback.received_at_ns - prediction.served_at_ns"


@contextmanager
def statements(monitored: MonitoredModel) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(*given: Any) -> None:
        seen.append(given[2])

    event.listen(monitored.ledger._engine, "before_cursor_execute", note)
    yield seen
    event.remove(monitored.ledger._engine, "before_cursor_execute", note)


def count(seen: list[str], part: str) -> int:
    return sum(part in sql for sql in seen)


def test_what_a_page_a_report_and_gauges_need_is_read_once(monitored: MonitoredModel) -> None:
    monitored.answer(range(200), wrong=5, audit=0.5)
    with statements(monitored) as seen:
        found = read_page_data(monitored.ledger, "pneumonia")
    assert [each.report for each in found.versions] == [found.report]
    assert count(seen, DELAYS) == 1
    for slices, most in ((False, 14), (True, 18)):
        report_of(monitored, slices=slices)  # which infers
        with statements(monitored) as seen:
            report_of(monitored, slices=slices)
        assert len(seen) <= most, seen
        assert count(seen, "FROM bin_day") == 3  # all; by slice; predictions by class
    asked = report_of(monitored, gap=0.1).diagnosis.open
    with statements(monitored) as seen:
        smaller = report_of(monitored, slices=False, gap=0.03).diagnosis.open
    assert count(seen, ANSWERS) == 0  # another gap is not inferred again
    assert smaller[0].labels > asked[0].labels
    gauges = LedgerGauges(monitored.ledger)
    assert list(gauges.collect())
    monitored.answer(range(200, 220), audit=0.5)
    with statements(monitored) as seen:
        assert list(gauges.collect())
    assert count(seen, "FROM bin_day") <= 6, seen  # one for all windows; the others diagnose


def test_readers_that_come_together_infer_once(monitored: MonitoredModel) -> None:
    monitored.answer(range(3_000), wrong=5)
    with statements(monitored) as seen, ThreadPoolExecutor(4) as readers:
        found = [readers.submit(report_of, monitored, slices=False) for _ in range(4)]
        assert {each.result().measures.n for each in found} == {3_000}
    assert count(seen, ANSWERS) == 1


def test_tags_of_their_own_cost_no_read_for_each_answer(monitored: MonitoredModel) -> None:
    def row(n: int) -> PredictionRow:
        return make_row(n)._replace(tags=json.dumps({"site": f"s{n}", "device": f"d{n}"}))

    monitored.serve(*map(row, range(VALUE_LIMIT)))  # as many as have slices of their own
    with statements(monitored) as seen:
        monitored.serve(*map(row, range(1_000, 1_300)))
    assert count(seen, "FROM tag_value") <= 1


CHANGES: dict[str, Callable[[MonitoredModel], object]] = {
    "an answer": lambda one: one.serve(make_row(50)),
    "a label": lambda one: one.label(label(5)),
    "a correction": lambda one: one.label(label(1, "normal")),
    "a second reading": lambda one: one.label(label(1, source="b")._replace(reader="b")),
    "a reset": lambda one: one.recorder.acknowledge("pneumonia", kind=events.RESET).result(),
    "a policy": lambda one: change_sources(one.ledger, "pneumonia", {"lab": LabelPolicy.PROXY}),
    "a version": lambda one: one.recorder.register(make_card(version=2)),
    "a promotion": lambda one: one.recorder.promote(one.watched_version_id).result(),
}


def of_all(monitored: MonitoredModel) -> EveryModel:
    return EveryModel(monitored.ledger, lambda _: None, lambda _: None)


@pytest.fixture
def labeled(monitored: MonitoredModel) -> MonitoredModel:
    monitored.serve(*(make_row(number, confidence=0.8) for number in range(10)))
    monitored.label(*(label(number, source="lab")._replace(reader="a") for number in range(4)))
    return monitored


def test_of_all_models_only_what_changed_is_read_again(
    labeled: MonitoredModel, clock: Clock
) -> None:
    every = of_all(labeled)
    for change in CHANGES.values():
        before = every.read()
        with statements(labeled) as seen:
            assert every.read().reports == before.reports
        assert count(seen, "SELECT") == 1
        change(labeled)
        after = every.read()
        assert after.mark != before.mark
        assert plain(after.reports) == plain(of_all(labeled).read().reports)
    clock.now_ns += 600 * SECOND_NS  # as time alone changes a report
    assert every.read().reports[0].generated_at_ns == clock.now_ns


def test_who_cannot_wait_sees_what_was_known_while_one_thread_reads(
    labeled: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 24 models and a million answers, the index waited for twenty seconds."""
    every, goes_on, readers = of_all(labeled), Event(), list[int]()

    def slowly(*asked: Any, **more: Any) -> Any:
        readers.append(get_ident())
        assert goes_on.wait(PATIENCE_S)
        return findings_report(*asked, **more)

    monkeypatch.setattr(every_model, "findings_report", slowly)
    first = every.read(limit_s=0.01)
    assert (first.reports, first.unread) == ((), ["pneumonia"])
    goes_on.set()
    known = every.read()
    assert (known.unread, len(known.reports)) == ([], 1)
    goes_on.clear()
    labeled.label(label(5))
    for _ in range(3):
        meanwhile = every.read(limit_s=0.01)
        assert (meanwhile.reports, meanwhile.unread) == (known.reports, ["pneumonia"])
        assert meanwhile.mark not in (first.mark, known.mark)
    goes_on.set()
    assert every.read().reports[0].coverage.labeled == 5
    assert len(readers) == 2


def test_a_reading_that_fails_while_nobody_waits_is_told_to_who_asks_next(
    labeled: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a model that cannot be read would be "being read" forever."""
    every, may_fail, fails = of_all(labeled), Event(), Event()

    def fail(*_: Any, **__: Any) -> Any:
        assert may_fail.wait(PATIENCE_S)
        may_fail.clear()  # another reading would not fail
        fails.set()
        raise ArithmeticError

    with monkeypatch.context() as broken:
        broken.setattr(every_model, "findings_report", fail)
        assert every.read(limit_s=0.2).unread == ["pneumonia"]
        may_fail.set()
        assert fails.wait(PATIENCE_S)
        with pytest.raises(ArithmeticError):
            [every.read(limit_s=0.2) for _ in range(5)]
    assert every.read().unread == []


@pytest.mark.anyio
async def test_who_has_the_page_gets_it_again_once_it_changed(
    labeled: MonitoredModel, client: httpx.AsyncClient
) -> None:
    first = await client.get("/", headers={"accept": "text/html"})
    had = {"accept": "text/html", "if-none-match": first.headers["etag"]}
    for path, status in (("/", 304), ("/?sort=gap", 200)):
        assert (await client.get(path, headers=had)).status_code == status
    labeled.label(label(7))
    assert (await client.get("/", headers=had)).status_code == 200
