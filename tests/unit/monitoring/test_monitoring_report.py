import json
import math
from pathlib import Path

import numpy as np
import pytest

from calibration.bins import BinSums
from calibration.drift import DriftSettings
from calibration.measures import Measures
from monitoring.errors import ModelNeeded, ModelUnknown, QueryInvalid
from monitoring.findings.status import Status, assess
from monitoring.findings.windows import read_window
from monitoring.reports.report import calibration_report, only_model
from tests.unit.monitoring.builders import SECOND_NS, label, make_card, make_row
from tests.unit.monitoring.desk import Clock, Desk


def fill(desk: Desk, correct: list[bool], *, confidence: float = 0.8, start: int = 0) -> None:
    numbers = range(start, start + len(correct))
    desk.serve(*(make_row(number, confidence=confidence) for number in numbers))
    names = ("pneumonia" if right else "normal" for right in correct)
    desk.label(*(label(number, name) for number, name in zip(numbers, names, strict=True)))


def measures(n: int, accuracy: float, confidence: float) -> Measures:
    correct = np.arange(n) < round(n * accuracy)
    return Measures.from_sums(BinSums.from_predictions(np.full(n, confidence), correct))


def test_the_report_measures_what_was_labeled(desk: Desk, clock: Clock) -> None:
    clock.now_ns += 60 * SECOND_NS
    fill(desk, [True] * 30 + [False] * 20)
    desk.serve(make_row(900, confidence=0.6), make_row(901, confidence=0.6))
    report = calibration_report(desk.ledger, "pneumonia")
    expected = Measures.from_sums(BinSums.from_predictions([0.8] * 50, [True] * 30 + [False] * 20))
    assert report.measures.as_dict() == pytest.approx(expected.as_dict(), nan_ok=True)
    assert report.measures.signed_gap == pytest.approx(0.2)
    assert report.expected_accuracy == pytest.approx((50 * 0.8 + 2 * 0.6) / 52)
    assert report.coverage == (52, 50, 50 / 52)
    assert report.delay == (60, 60)
    assert (report.model, report.version, report.versions, report.window) == ("pneumonia", 1, (1,), "all")
    assert report.reference == make_card().calibration.measures
    assert [row.n for row in report.bins] == [50 if number == 11 else 0 for number in range(15)]
    assert report.served_bins[8] == 2  # 0.6 = 9/15 is the upper edge of bin 8
    assert report.drift is not None
    assert report.drift.labels == 50


def test_a_window_takes_the_answers_labeled_last(desk: Desk) -> None:
    fill(desk, [True] * 10)
    fill(desk, [False] * 5, start=100)
    assert calibration_report(desk.ledger, "pneumonia", window="last:5").measures.accuracy == 0
    assert calibration_report(desk.ledger, "pneumonia", window="last:15").measures.accuracy == pytest.approx(2 / 3)
    assert calibration_report(desk.ledger, "pneumonia", window="last:9999").measures.n == 15
    desk.label(label(100))  # a correction changes the answer where it stands
    assert calibration_report(desk.ledger, "pneumonia", window="last:5").measures.accuracy == pytest.approx(0.2)


def test_without_labels_everything_is_there_and_empty(desk: Desk) -> None:
    for window in ("all", "last:5"):
        report = calibration_report(desk.ledger, "pneumonia", window=window)
        assert report.status is Status.NO_LABELS
        assert math.isnan(report.measures.ece)
        plain = json.loads(json.dumps(report.as_dict(), allow_nan=False))
        assert plain["measures"]["ece"] is None
        assert plain["coverage"] == {"served": 0, "labeled": 0, "ratio": None}
        assert plain["drift"]["log_evalue"] is None


def test_a_ledger_without_a_watch_still_reports(desk: Desk) -> None:
    with desk.ledger.write() as connection:
        connection.exec_driver_sql("DELETE FROM monitor_state")
    assert calibration_report(desk.ledger, "pneumonia").as_dict()["drift"] is None


def test_a_version_is_chosen_by_number_or_is_the_one_registered_last(desk: Desk, clock: Clock) -> None:
    clock.now_ns += 1
    desk.recorder.register(make_card(version=2, temperature=1.3))
    assert calibration_report(desk.ledger, "pneumonia").version == 2
    assert calibration_report(desk.ledger, "pneumonia").temperature == 1.3
    assert calibration_report(desk.ledger, "pneumonia", version=1).versions == (1, 2)
    with pytest.raises(ModelUnknown):
        calibration_report(desk.ledger, "pneumonia", version=3)


def test_the_only_model_need_not_be_named(desk: Desk) -> None:
    assert only_model(desk.ledger) == "pneumonia"
    desk.recorder.register(make_card("retina"))
    with pytest.raises(ModelNeeded, match=r"several models \(pneumonia, retina\)"):
        only_model(desk.ledger)
    with desk.ledger.write() as connection:
        connection.exec_driver_sql("DELETE FROM calibration")
    with pytest.raises(ModelNeeded, match="no model yet"):
        only_model(desk.ledger)


@pytest.mark.parametrize(
    "window", ["", "last", "last:0", "last:-1", "last:100001", "last:1e3", "last:" + "9" * 99, "day"]
)
def test_other_windows_are_refused(window: str) -> None:
    with pytest.raises(QueryInvalid, match="'all', 'promotion', 'days:N' or 'last:N'"):
        read_window(window)


def test_an_alarm_is_the_verdict(tmp_path: Path, clock: Clock) -> None:
    with Desk(tmp_path / "ledger.db", clock, settings=DriftSettings(average_run_length=100)) as desk:
        fill(desk, [False] * 30, confidence=0.95)
        report = calibration_report(desk.ledger, "pneumonia")
    assert report.status is Status.ALARM
    assert report.drift is not None
    assert report.drift.direction == "over"
    assert f"stands since label {report.drift.alarm_label}" in report.verdict


def test_the_verdict_says_how_much_and_which_way() -> None:
    status, sentence = assess(measures(624, 0.75, 0.85))
    assert status is Status.OFF
    assert sentence.startswith(
        "In 624 labeled answers confidence exceeds accuracy by 10.0 percentage points (95 % interval "
    )
    assert "sure of 85.0 %, right in 75.0 %" in sentence
    status, sentence = assess(measures(1000, 0.9, 0.8))
    assert status is Status.OFF
    assert "confidence falls short of accuracy by 10.0 percentage points (95 % interval 8." in sentence


def test_chance_is_no_finding_and_few_labels_are_early() -> None:
    assert assess(measures(1000, 0.8, 0.81)).status is Status.OK
    assert assess(measures(99, 0.8, 0.99)).status is Status.EARLY
    assert assess(measures(1, 1.0, 0.99)).sentence.startswith("In 1 labeled answer confidence")


def test_gaps_that_cancel_are_found_by_ece() -> None:
    confidence = np.repeat([0.6, 0.9], 500)
    correct = np.concatenate([np.arange(500) < 400, np.arange(500) < 350])  # +0.2 and -0.2
    found = Measures.from_sums(BinSums.from_predictions(confidence, correct))
    assert found.signed_gap == pytest.approx(0)
    status, sentence = assess(found)
    assert status is Status.OFF
    assert "bin by bin, confidence and accuracy are 20.0 points apart (ECE), where chance would make it 1.4" in sentence
    assert "cancel" not in assess(measures(624, 0.75, 0.85)).sentence
