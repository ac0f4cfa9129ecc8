import math
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import OperationalError

from calibration.drift import DriftSettings
from monitoring.metrics.drift_gauges import DriftGauges
from monitoring.metrics.text_format import Exposition
from tests.unit.monitoring.builders import label, make_card, make_row
from tests.unit.monitoring.desk import Clock, Desk

SOON = DriftSettings(average_run_length=50)


def alarm(desk: Desk) -> None:
    desk.serve(*(make_row(number, confidence=0.95) for number in range(40)))
    desk.label(*(label(number, "normal") for number in range(40)))


def test_replicas_of_one_ledger_agree_and_those_of_another_are_told_apart(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "ledger.db"
    with Desk(path, clock, settings=SOON) as one, Desk(path, clock, settings=SOON) as other:
        assert other.metric("calibration_drift_active") == 0
        alarm(one)
        assert one.metric("calibration_drift_active") == other.metric("calibration_drift_active") == 1
        evidence = one.metric("calibration_drift_log_evalue")
        assert evidence == other.metric("calibration_drift_log_evalue")
        assert evidence is not None
        assert evidence >= math.log(50)
        other.recorder.acknowledge("pneumonia").result()
        assert one.metric("calibration_drift_active") == 0
        assert names(one) == names(other)
        clock.now_ns += 1
        with Desk(tmp_path / "another.db", clock) as stranger:
            assert names(stranger) != names(one)


def names(desk: Desk) -> set[str]:
    return {sample.labels["ledger"] for family in DriftGauges(desk.ledger).collect() for sample in family.samples}


def test_a_version_that_another_one_replaced_calls_nobody(tmp_path: Path, clock: Clock) -> None:
    with Desk(tmp_path / "ledger.db", clock, settings=SOON) as desk:
        desk.recorder.promote(desk.calibration_id).result()
        alarm(desk)
        assert desk.metric("calibration_drift_active") == 1
        clock.now_ns += 1
        second = desk.recorder.register(make_card(version=2))  # loaded, not promoted: a canary answers nothing
        assert desk.metric("calibration_drift_active") == 1
        desk.recorder.promote(second).result()
        assert desk.metric("calibration_drift_active") == 0
        assert desk.metric("calibration_drift_log_evalue") == -math.inf
        desk.recorder.promote(desk.calibration_id).result()  # rolled back: the alarm was never acknowledged
        assert desk.metric("calibration_drift_active") == 1


def test_a_canary_that_was_never_in_production_does_call(tmp_path: Path, clock: Clock) -> None:
    with Desk(tmp_path / "ledger.db", clock, settings=SOON) as desk:
        desk.recorder.promote(desk.recorder.register(make_card(version=2))).result()
        alarm(desk)
        assert desk.metric("calibration_drift_active") == 1


def test_a_state_that_stayed_is_not_decoded_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    gauges = DriftGauges(desk.ledger)
    assert list(gauges.collect())
    monkeypatch.setattr("monitoring.drift.watch.decode", lambda connection, row: 1 / 0)
    assert list(gauges.collect())
    desk.serve(make_row(1))
    with desk.ledger.write() as connection:
        connection.exec_driver_sql("UPDATE monitor_state SET last_feedback_id = 7")
    with pytest.raises(ZeroDivisionError):
        list(gauges.collect())


def test_an_unreadable_ledger_costs_its_gauges_only(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    desk.registry.register(DriftGauges(desk.ledger))

    def locked() -> None:
        raise OperationalError("SELECT", {}, Exception("database is locked"))

    monkeypatch.setattr(desk.ledger, "read", locked)
    text = Exposition(desk.registry).render("")[0].decode()
    assert "candor_predictions_total" in text
    assert "candor_calibration_drift_active{" not in text
    assert "could not be read for /metrics" in caplog.text


def test_a_ledger_without_history_has_no_detectors(tmp_path: Path, clock: Clock) -> None:
    from monitoring.ledger.database import Ledger

    with Ledger(f"sqlite:///{tmp_path}/new.db", clock=clock) as ledger:
        registry = CollectorRegistry()
        registry.register(DriftGauges(ledger))
        assert [family.samples for family in registry.collect()] == [[], [], []]
