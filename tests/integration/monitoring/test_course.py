"""The course of the evidence is what the detector had after each label."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.drift.state import DriftSettings
from monitoring.drift import course, watch
from monitoring.drift.course import CourseReader, EvidenceCourse
from monitoring.ledger.schema import DAY_NS
from tests.builders.answers import NOW_NS, label, make_row
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.scenes import DRAWING, Answer, answers, calibrated, sure_and_wrong


def tell_one_by_one(monitored: MonitoredModel, given: list[Answer]) -> list[float]:
    """Label answers one at a time; what the saved detector has after each."""
    found = []
    for each in given:
        monitored.label(label(each.number, "pneumonia" if each.right else "normal"))
        with monitored.ledger.read() as connection:
            watched = watch.load(connection, monitored.watched_version_id)
        found.append(watched.detector.log_evalue)
    return found


def same(had: list[float]) -> Any:
    """The same values, whose sums are added in another order."""
    return pytest.approx(had, rel=1e-12)


def served(monitored: MonitoredModel, n: int, *, audit: bool = False) -> list[Answer]:
    given = [each._replace(predicted=1) for each in answers(n, sure_and_wrong)]
    rows = [make_row(each.number, confidence=each.confidence) for each in given]
    monitored.serve(
        *(
            row._replace(audit=0.25 if audit and each.drawn else None)
            for row, each in zip(rows, given, strict=True)
        )
    )
    return given


def read(monitored: MonitoredModel, reader: CourseReader | None = None) -> EvidenceCourse:
    with monitored.ledger.read() as connection:
        found = (reader or CourseReader()).read(connection, monitored.watched_version_id)
    assert found is not None
    return found


def test_it_is_what_the_detector_had_after_each_label(
    monitored: MonitoredModel, clock: Clock
) -> None:
    given, reader = served(monitored, 60), CourseReader()
    had = tell_one_by_one(monitored, given[:30])
    assert read(monitored, reader).log_evalue.tolist() == same(had)
    clock.now_ns += DAY_NS
    monitored.recorder.acknowledge("pneumonia", note="known", kind="reset").result()
    had += tell_one_by_one(monitored, given[30:45])
    afterwards = read(monitored, reader)
    clock.now_ns += DAY_NS
    had += tell_one_by_one(monitored, given[45:])
    for found in (read(monitored, reader), read(monitored)):  # continued, and from the beginning
        assert found.log_evalue.tolist() == same(had)
        assert found.labels.tolist() == [*range(1, 31), *range(1, 31)]
        assert (found.day - NOW_NS // DAY_NS).tolist() == [0] * 30 + [1] * 15 + [2] * 15
    assert len(afterwards) == 45  # what was read before has not changed
    assert len(found.between(NOW_NS // DAY_NS + 1, NOW_NS // DAY_NS + 1)) == 15


def test_settings_that_change_apply_to_the_labels_after_them(monitored: MonitoredModel) -> None:
    given = served(monitored, 40)
    had = tell_one_by_one(monitored, given[:20])
    with monitored.ledger.write() as connection:
        watch.start(
            connection,
            monitored.watched_version_id,
            DriftSettings(average_run_length=2e5, tolerance=0.05),
            now_ns=NOW_NS,
        )
    had += tell_one_by_one(monitored, given[20:])
    found = read(monitored)
    assert found.log_evalue.tolist() == same(had)
    assert np.exp(found.log_threshold[[0, -1]]).tolist() == pytest.approx([1e5, 2e5])


def test_it_begins_at_a_checkpoint_because_labels_before_may_be_deleted(
    monitored: MonitoredModel,
) -> None:
    given = served(monitored, 40)
    tell_one_by_one(monitored, given[:20])
    with monitored.ledger.write() as connection:
        watch.checkpoint(connection, monitored.watched_version_id, "pruned", now_ns=NOW_NS)
    had = tell_one_by_one(monitored, given[20:])
    found = read(monitored)
    assert found.log_evalue.tolist() == same(had)
    assert found.labels.tolist() == list(range(21, 41))


def test_a_watch_of_the_audit_has_a_course_of_audited_labels(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock, settings=DRAWING) as monitored:
        given = served(monitored, 60, audit=True)
        had = tell_one_by_one(monitored, given)
        assert read(monitored).log_evalue.tolist() == same(
            [had[each.number] for each in given if each.drawn]
        )


def test_too_many_labels_have_a_course_since_a_later_start_or_none(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "LABELS_LIMIT", 25)
    given, reader = served(monitored, 60), CourseReader()
    tell_one_by_one(monitored, given[:20])
    assert len(read(monitored, reader)) == 20
    monitored.recorder.acknowledge("pneumonia", note="known", kind="reset").result()
    had = tell_one_by_one(monitored, given[20:40])
    assert read(monitored, reader).log_evalue.tolist() == same(had)
    tell_one_by_one(monitored, given[40:])
    with monitored.ledger.read() as connection:
        assert reader.read(connection, monitored.watched_version_id) is None
        assert reader.read(connection, 99) is None


def test_a_calibrated_model_stays_near_what_is_usual(monitored: MonitoredModel) -> None:
    given = [each._replace(predicted=1) for each in answers(300, calibrated, seed=1)]
    monitored.serve(*(make_row(each.number, confidence=each.confidence) for each in given))
    monitored.label(
        *(label(each.number, "pneumonia" if each.right else "normal") for each in given)
    )
    found = read(monitored)
    assert (found.log_evalue < found.log_threshold).all()
