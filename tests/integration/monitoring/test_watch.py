from dataclasses import replace
from pathlib import Path

import pytest

from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings
from monitoring.drift import acknowledgment, events
from monitoring.drift.replay import replay
from tests.builders.answers import CLASSES, NOW_NS, SECOND_NS, label, make_row
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel, assert_same_state

QUICK = DriftSettings(average_run_length=1_000)

DATABASES = BOTH_DATABASES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def recorded(monitored: MonitoredModel) -> list[tuple[str, int]]:
    with monitored.ledger.read() as connection:
        return [
            (event.kind, event.feedback_id)
            for event in events.read(connection, monitored.watched_version_id)
        ]


def test_the_stored_state_is_that_of_a_detector_that_saw_the_labels_in_order(
    monitored: MonitoredModel,
) -> None:
    monitored.serve(*(make_row(number, confidence=0.5 + number / 50) for number in range(20)))
    names = ["normal" if number % 3 else "pneumonia" for number in range(20)]
    monitored.label(*(label(number, name) for number, name in enumerate(names)))
    expected = DriftDetector(DriftSettings(class_count=2))
    for number, name in enumerate(names):
        expected.update(0.5 + number / 50, name == "pneumonia", 1)
    for detector in monitored.detectors():
        assert_same_state(detector, expected)


def test_the_alarm_is_an_event_at_the_label_that_raised_it(path: Path, clock: Clock) -> None:
    with MonitoredModel(path, clock, settings=QUICK) as monitored:
        monitored.answer(range(20), confidence=0.95, wrong=1)
        expected = DriftDetector(replace(QUICK, class_count=2))
        raised_at = expected.update_many([0.95] * 20, [False] * 20, [1] * 20)
        assert raised_at is not None
        # feedback ids count from 1
        assert recorded(monitored) == [("started", 0), ("alarm", raised_at + 1)]
        assert monitored.metric("calibration_drift_alarms_total") == 1
        assert monitored.metric("calibration_drift_active") == 1
        monitored.answer(range(20, 30), confidence=0.95, wrong=1)  # latched: no second alarm
        assert len(recorded(monitored)) == 2
        stored, replayed = monitored.detectors()
        assert_same_state(stored, replayed)
        assert (stored.active, stored.direction, stored.alarm_label) == (
            True,
            "over",
            raised_at + 1,
        )


def test_acknowledging_begins_anew_and_the_replay_honors_it(path: Path, clock: Clock) -> None:
    with MonitoredModel(path, clock, settings=QUICK) as monitored:
        monitored.answer(range(20), confidence=0.95, wrong=1)
        row, [(watched, _)] = monitored.recorder.acknowledge(
            "pneumonia", note="scanner replaced"
        ).result()
        assert (row.version, watched.detector.active, watched.detector.labels) == (1, False, 0)
        assert monitored.metric("calibration_drift_active") == 0
        monitored.answer(range(20, 22), confidence=0.95, wrong=1)
        stored, replayed = monitored.detectors()
        assert_same_state(stored, replayed)
        assert stored.labels == 2
        with monitored.ledger.read() as connection:
            acknowledged = events.read(connection, monitored.watched_version_id)[-1]
        assert acknowledged.detail == {"note": "scanner replaced", "was_active": True, "labels": 20}


def test_an_alarm_stands_after_a_restart(path: Path, clock: Clock) -> None:
    with MonitoredModel(path, clock, settings=QUICK) as monitored:
        monitored.answer(range(20), confidence=0.95, wrong=1)
        before = monitored.detectors()[0]
    with MonitoredModel(path, clock, settings=QUICK) as monitored:
        assert_same_state(monitored.detectors()[0], before)
        assert monitored.metric("calibration_drift_active") == 1
        # this process's own increments
        assert monitored.metric("calibration_drift_alarms_total") == 0
        assert monitored.metric("calibration_drift_log_evalue") == before.log_evalue


def test_other_settings_hold_for_the_labels_to_come(path: Path, clock: Clock) -> None:
    with MonitoredModel(path, clock, settings=DriftSettings(tolerance=0.05)) as monitored:
        monitored.answer(range(3), confidence=0.95, wrong=1)
    with MonitoredModel(path, clock, settings=DriftSettings(tolerance=0.0)) as monitored:
        monitored.answer(range(3, 5), confidence=0.95, wrong=1)
        assert recorded(monitored) == [("started", 0), ("settings", 3)]
        stored, replayed = monitored.detectors()
        assert_same_state(stored, replayed)
        assert stored.labels == 5
        monitored.recorder.acknowledge("pneumonia", 1, kind=events.RESET).result()
        monitored.answer(range(5, 7), confidence=0.95, wrong=1)
        assert_same_state(*monitored.detectors())


def test_one_setting_leaves_the_classes_out_and_the_replay_honors_it(
    path: Path, clock: Clock
) -> None:
    top_label = DriftSettings(class_wise=False)
    with MonitoredModel(path, clock) as monitored:
        monitored.answer(range(3), confidence=0.95, wrong=1)
        assert monitored.detectors()[0].settings.class_count == 2
    with MonitoredModel(path, clock, settings=top_label) as monitored:
        monitored.answer(range(3, 5), confidence=0.95, wrong=1)
        assert recorded(monitored) == [("started", 0), ("settings", 3)]
        stored, replayed = monitored.detectors()
        assert_same_state(stored, replayed)
        assert (stored.settings.class_count, stored.labels) == (0, 5)
        alone = DriftDetector(top_label)
        alone.update_many([0.95] * 5, [False] * 5)
        assert_same_state(stored, alone)
    with MonitoredModel(path, clock) as monitored:
        monitored.answer(range(5, 7), confidence=0.95, wrong=1)
        assert recorded(monitored)[-1] == ("settings", 5)
        stored, replayed = monitored.detectors()
        assert_same_state(stored, replayed)
        assert (stored.settings.class_count, stored.labels) == (2, 7)


def test_corrections_are_no_evidence_but_are_known_to_have_come(monitored: MonitoredModel) -> None:
    monitored.answer(range(3), confidence=0.95, wrong=1)
    monitored.label(label(0), label(1))
    stored, replayed = monitored.detectors()
    assert_same_state(stored, replayed)
    assert stored.labels == 3
    assert monitored.rows("SELECT last_feedback_id FROM monitor_state") == [(5,)]


def test_what_was_never_watched_cannot_be_replayed(monitored: MonitoredModel) -> None:
    with monitored.ledger.read() as connection, pytest.raises(LookupError):
        replay(connection, 77)


def test_a_calibration_without_a_watch_gets_one_with_its_first_label(
    monitored: MonitoredModel,
) -> None:
    monitored.serve(make_row(1))
    with monitored.ledger.write() as connection:
        connection.exec_driver_sql("DELETE FROM monitor_state")
        connection.exec_driver_sql("DELETE FROM monitor_event")
    with pytest.raises(LookupError):
        monitored.recorder.acknowledge("pneumonia").result()
    monitored.label(label(1))
    assert_same_state(*monitored.detectors())


def test_the_alarm_names_the_stream_and_the_direction(path: Path, clock: Clock) -> None:
    """Answers 'pneumonia' go wrong after 60 labels, answers 'normal' stay right."""
    with MonitoredModel(path, clock, settings=QUICK) as monitored:
        for number in range(200):
            clock.now_ns += SECOND_NS
            said = number % 2
            monitored.serve(
                make_row(number, confidence=0.9, predicted=said, served_at_ns=NOW_NS + number)
            )
            wrong = number % 20 in (10, 11) or (number > 60 and said == 1 and number % 3 > 0)
            monitored.label(label(number, CLASSES[said != wrong], at_ns=NOW_NS + number))
        with monitored.ledger.read() as connection:
            raised = events.latest(
                events.read(connection, monitored.watched_version_id), events.ALARM
            )
        detail = raised.detail
        assert (detail["stream"], detail["index"], detail["name"]) == ("class", 1, "pneumonia")
        assert (detail["direction"], detail["labels"]) == ("over", raised.feedback_id)


def test_after_a_reset_labels_are_counted_anew(path: Path, clock: Clock) -> None:
    with MonitoredModel(path, clock, settings=QUICK) as monitored:
        monitored.answer(range(5), confidence=0.95, wrong=1)
        with monitored.ledger.write() as connection:
            acknowledgment.acknowledge(
                connection, 1, note="lens cleaned", now_ns=7, kind=events.RESET
            )
        monitored.answer(range(5, 40), confidence=0.95, wrong=1)
        assert [kind for kind, _ in recorded(monitored)] == ["started", "reset", "alarm"]
        assert_same_state(*monitored.detectors())


def test_where_audits_are_drawn_only_their_labels_are_evidence(path: Path, clock: Clock) -> None:
    with MonitoredModel(path, clock, settings=replace(QUICK, audit=True)) as monitored:
        monitored.answer(range(30), confidence=0.95, wrong=1)
        assert monitored.detectors()[0].labels == 0
        monitored.answer(range(100, 130), confidence=0.95, wrong=1, audit=0.1)
        stored, replayed = monitored.detectors()
        assert_same_state(stored, replayed)
        assert (stored.labels, stored.active) == (30, True)


def test_a_process_without_the_audit_setting_joins_the_watch_as_it_is(
    path: Path, clock: Clock
) -> None:
    with MonitoredModel(path, clock, settings=replace(QUICK, audit=True)) as drawing:
        with MonitoredModel(path, clock, settings=QUICK) as replica:
            replica.answer(range(30), confidence=0.95, wrong=1)
            assert recorded(replica) == [("started", 0)]
            assert replica.detectors()[0].settings.audit
            assert replica.detectors()[0].labels == 0
        drawing.answer(range(30, 60), confidence=0.95, wrong=1)
        assert_same_state(*drawing.detectors())
        assert drawing.detectors()[0].labels == 0


def test_a_process_that_draws_turns_the_watch_to_audited_answers(path: Path, clock: Clock) -> None:
    with MonitoredModel(path, clock, settings=QUICK) as first:
        with MonitoredModel(path, clock, settings=replace(QUICK, audit=True)):
            pass
        first.answer(range(30), confidence=0.95, wrong=1)
        assert recorded(first) == [("started", 0), ("settings", 0)]
        assert first.detectors()[0].labels == 0


def test_only_an_explicit_reset_makes_all_labels_count_again(path: Path, clock: Clock) -> None:
    with MonitoredModel(path, clock, settings=replace(QUICK, audit=True)) as monitored:
        monitored.answer(range(5), confidence=0.95, wrong=1)
        monitored.recorder.acknowledge("pneumonia", kind=events.RESET).result()
        assert monitored.detectors()[0].settings.audit
        monitored.recorder.acknowledge("pneumonia", kind=events.RESET, audit=False).result()
        assert [kind for kind, _ in recorded(monitored)] == [
            "started",
            "reset",
            "settings",
            "reset",
        ]
        monitored.answer(range(5, 10), confidence=0.95, wrong=1)
        stored, replayed = monitored.detectors()
        assert_same_state(stored, replayed)
        assert (stored.labels, stored.settings.audit) == (5, False)
