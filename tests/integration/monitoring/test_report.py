import json
import math
from pathlib import Path

import numpy as np
import pytest

from calibration.bins import BinSums
from calibration.drift.state import DriftSettings
from calibration.measures.summary import Measures
from monitoring.diagnosis.answer_record import find_answer_record
from monitoring.diagnosis.facts import State
from monitoring.errors import ModelNeeded, ModelNotInLedger
from monitoring.ledger.versions import choose
from monitoring.reports.report import Coverage, Delay, calibration_report, only_model
from monitoring.reports.timeline import read_timeline
from tests.builders.answers import CLASSES, DAY_NS, NOW_NS, SECOND_NS, label, make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.processes import PATIENCE_S


def fill(
    monitored: MonitoredModel, correct: list[bool], *, confidence: float = 0.8, start: int = 0
) -> None:
    numbers = range(start, start + len(correct))
    monitored.serve(*(make_row(number, confidence=confidence) for number in numbers))
    names = ("pneumonia" if right else "normal" for right in correct)
    monitored.label(*(label(number, name) for number, name in zip(numbers, names, strict=True)))


def test_the_report_measures_what_was_labeled(monitored: MonitoredModel, clock: Clock) -> None:
    clock.now_ns += 60 * SECOND_NS
    fill(monitored, [True] * 30 + [False] * 20)
    monitored.serve(make_row(900, confidence=0.6), make_row(901, confidence=0.6))
    report = calibration_report(monitored.ledger, "pneumonia")
    expected = Measures.from_sums(BinSums.from_predictions([0.8] * 50, [True] * 30 + [False] * 20))
    scores = {
        "nll": -0.6 * math.log(0.8) - 0.4 * math.log(0.2),
        "brier": 0.6 * 2 * 0.2**2 + 0.4 * 2 * 0.8**2,
    }
    assert report.measures.as_dict() == pytest.approx(expected.as_dict() | scores, nan_ok=True)
    assert report.measures.signed_gap == pytest.approx(0.2)
    assert report.expected_accuracy == pytest.approx((50 * 0.8 + 2 * 0.6) / 52)
    assert report.coverage == Coverage(52, 50, 50 / 52)
    assert report.delay == Delay(60, 60)
    assert (report.model, report.version, report.versions, report.window) == (
        "pneumonia",
        1,
        (1,),
        "now",
    )
    assert report.reference == make_card().calibration.measures
    assert [row.n for row in report.bins] == [50 if number == 11 else 0 for number in range(15)]
    assert report.drift.labels == 50


def test_under_an_alarm_answers_have_the_record_since_its_error_began(
    monitored: MonitoredModel,
) -> None:
    for day in range(2):
        numbers = range(100 * day, 100 * day + 100)
        at_ns = NOW_NS + day * DAY_NS
        monitored.serve(*(make_row(n, confidence=0.8, served_at_ns=at_ns + n) for n in numbers))
        monitored.label(*(label(n, CLASSES[day == 0 and n % 5 > 0], at_ns=at_ns) for n in numbers))
    with monitored.ledger.read() as connection:
        row = choose(connection, "pneumonia")
        found = find_answer_record(
            monitored.ledger, connection, row, predicted="pneumonia", confidence=0.8
        )
    assert (found.alarm, found.labeled, found.right) == (True, 100, 0)


def test_without_labels_everything_is_there_and_empty(monitored: MonitoredModel) -> None:
    for window in ("all", "days:5"):
        report = calibration_report(monitored.ledger, "pneumonia", window=window)
        assert report.diagnosis.state is State.UNKNOWN
        assert math.isnan(report.measures.ece)
        plain = json.loads(json.dumps(report.as_dict(), allow_nan=False))
        assert plain["measures"]["ece"] is None
        assert plain["coverage"] == {"served": 0, "labeled": 0, "ratio": None}
        assert plain["drift"]["log_evalue"] is None


def test_a_ledger_without_a_watch_still_reports(monitored: MonitoredModel) -> None:
    with monitored.ledger.write() as connection:
        connection.exec_driver_sql("DELETE FROM monitor_state")
    assert calibration_report(monitored.ledger, "pneumonia").as_dict()["drift"] is None


def test_a_version_is_chosen_by_number_or_is_the_one_in_production(
    monitored: MonitoredModel, clock: Clock
) -> None:
    clock.now_ns += 1
    monitored.recorder.register(make_card(version=2, temperature=1.3))
    assert calibration_report(monitored.ledger, "pneumonia").version == 2
    assert calibration_report(monitored.ledger, "pneumonia").temperature == 1.3
    assert calibration_report(monitored.ledger, "pneumonia", version=1).versions == (1, 2)
    with pytest.raises(ModelNotInLedger):
        calibration_report(monitored.ledger, "pneumonia", version=3)
    monitored.recorder.promote(monitored.watched_version_id).result(timeout=PATIENCE_S)
    assert calibration_report(monitored.ledger, "pneumonia").version == 1  # 2 is a canary


def test_the_only_model_need_not_be_named(monitored: MonitoredModel) -> None:
    assert only_model(monitored.ledger) == "pneumonia"
    monitored.recorder.register(make_card("retina"))
    with pytest.raises(ModelNeeded, match="pneumonia, retina"):
        only_model(monitored.ledger)
    with monitored.ledger.write() as connection:
        connection.exec_driver_sql("DELETE FROM watched_versions")
    with pytest.raises(ModelNeeded):
        only_model(monitored.ledger)


def test_scores_are_of_the_current_labels(monitored: MonitoredModel) -> None:
    rng = np.random.default_rng(3)
    confidence, predicted, true = (
        rng.uniform(0.5, 1, 60),
        rng.integers(0, 2, 60),
        rng.integers(0, 2, 60),
    )
    rows = [
        make_row(n, confidence=p, predicted=k)
        for n, (p, k) in enumerate(zip(confidence.tolist(), predicted.tolist(), strict=True))
    ]
    monitored.serve(*rows)
    monitored.label(*(label(n, CLASSES[1 - k]) for n, k in enumerate(true)))
    monitored.label(*(label(n, CLASSES[k]) for n, k in enumerate(true)))  # corrections
    probabilities = np.array([np.frombuffer(row.probabilities, dtype="<f4") for row in rows])
    measures = calibration_report(monitored.ledger, "pneumonia", window="all").measures
    expected = Measures.from_probabilities(probabilities, true)
    assert (measures.nll, measures.brier) == pytest.approx((expected.nll, expected.brier))


def test_the_timeline_has_the_events_of_all_versions(tmp_path: Path, clock: Clock) -> None:
    settings = DriftSettings(average_run_length=100)
    with MonitoredModel(tmp_path / "ledger.db", clock, settings=settings) as monitored:
        fill(monitored, [False] * 30, confidence=0.95)
        report = calibration_report(monitored.ledger, "pneumonia")
        assert report.diagnosis.state is State.ALARM
        assert report.drift.direction == "over"
        for act in (
            lambda: monitored.recorder.acknowledge("pneumonia", note="lamp replaced"),
            lambda: monitored.recorder.acknowledge("pneumonia", kind="reset"),
            lambda: monitored.recorder.promote(*monitored.recorder.register(make_card(version=2))),
        ):
            clock.now_ns += SECOND_NS
            act().result(timeout=PATIENCE_S)
        with monitored.ledger.read() as connection:
            entries = read_timeline(connection, "pneumonia")
            of_second = read_timeline(connection, "pneumonia", version=2)
            with pytest.raises(ModelNotInLedger):
                read_timeline(connection, "pneumonia", version=7)
    kinds = [(entry["version"], entry["kind"]) for entry in entries]
    assert kinds == [
        *((1, kind) for kind in ("started", "alarm", "acknowledged", "reset")),
        *((2, kind) for kind in ("started", "promoted")),
    ]
    assert of_second == entries[4:]
    assert "lamp replaced" in entries[2]["sentence"]
    assert entries[0]["at"] == "2026-09-21T14:13:20+00:00"
