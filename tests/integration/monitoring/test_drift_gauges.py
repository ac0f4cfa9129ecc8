import math
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy.exc import OperationalError

from calibration.drift.state import DriftSettings
from monitoring.metrics.drift_gauges import DriftGauges
from tests.builders.answers import label, make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel

SOON = DriftSettings(average_run_length=50)


def alarm(monitored: MonitoredModel) -> None:
    monitored.serve(*(make_row(number, confidence=0.95) for number in range(40)))
    monitored.label(*(label(number, "normal") for number in range(40)))


def test_replicas_of_one_ledger_agree_and_those_of_another_are_told_apart(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "ledger.db"
    with (
        MonitoredModel(path, clock, settings=SOON) as one,
        MonitoredModel(path, clock, settings=SOON) as other,
    ):
        assert other.metric("calibration_drift_active") == 0
        alarm(one)
        assert (
            one.metric("calibration_drift_active") == other.metric("calibration_drift_active") == 1
        )
        evidence = one.metric("calibration_drift_log_evalue")
        assert evidence == other.metric("calibration_drift_log_evalue")
        assert evidence is not None
        assert evidence >= math.log(50)
        other.recorder.acknowledge("pneumonia").result()
        assert one.metric("calibration_drift_active") == 0
        assert names(one) == names(other)
        clock.now_ns += 1
        with MonitoredModel(tmp_path / "another.db", clock) as stranger:
            assert names(stranger) != names(one)


def names(monitored: MonitoredModel) -> set[str]:
    return {
        sample.labels["ledger"]
        for family in DriftGauges(monitored.ledger).collect()
        for sample in family.samples
    }


def test_a_version_that_another_one_replaced_calls_nobody(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock, settings=SOON) as monitored:
        monitored.recorder.promote(monitored.watched_version_id).result()
        alarm(monitored)
        assert monitored.metric("calibration_drift_active") == 1
        clock.now_ns += 1
        second = monitored.recorder.register(
            make_card(version=2)
        )  # loaded, not promoted: a canary answers nothing
        assert monitored.metric("calibration_drift_active") == 1
        monitored.recorder.promote(second).result()
        assert monitored.metric("calibration_drift_active") == 0
        assert monitored.metric("calibration_drift_log_evalue") == -math.inf
        monitored.recorder.promote(
            monitored.watched_version_id
        ).result()  # rolled back: the alarm was never acknowledged
        assert monitored.metric("calibration_drift_active") == 1


def test_a_canary_that_was_never_in_production_does_call(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock, settings=SOON) as monitored:
        monitored.recorder.promote(monitored.recorder.register(make_card(version=2))).result()
        alarm(monitored)
        assert monitored.metric("calibration_drift_active") == 1


def test_a_state_that_stayed_is_not_decoded_again(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gauges = DriftGauges(monitored.ledger)
    assert list(gauges.collect())
    monkeypatch.setattr("monitoring.drift.watch.decode", lambda row: 1 / 0)
    assert list(gauges.collect())
    monitored.serve(make_row(1))
    with monitored.ledger.write() as connection:
        connection.exec_driver_sql("UPDATE monitor_state SET last_feedback_id = 7")
    with pytest.raises(ZeroDivisionError):
        list(gauges.collect())


def test_an_unreadable_ledger_costs_its_gauges_only(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monitored.registry.register(DriftGauges(monitored.ledger))

    def locked() -> None:
        raise OperationalError("SELECT", {}, Exception("database is locked"))

    monkeypatch.setattr(monitored.ledger, "read", locked)
    text = generate_latest(monitored.registry).decode()
    assert "candor_predictions_total" in text
    assert "candor_calibration_drift_active{" not in text
    assert "could not be read for /metrics" in caplog.text


def test_a_ledger_without_history_has_no_detectors(tmp_path: Path, clock: Clock) -> None:
    from monitoring.ledger.database import Ledger

    with Ledger(f"sqlite:///{tmp_path}/new.db", clock=clock) as ledger:
        registry = CollectorRegistry()
        registry.register(DriftGauges(ledger))
        assert [family.samples for family in registry.collect()] == [[]] * 6
