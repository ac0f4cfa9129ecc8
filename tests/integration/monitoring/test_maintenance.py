"""Recounting, pruning, erasing, exporting and copying a ledger, on both databases."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from calibration.drift.state import DriftSettings
from monitoring.drift import watch
from monitoring.errors import LedgerCopyRefused, ModelNotInLedger
from monitoring.feedback import FeedbackItem
from monitoring.ledger.sum_tables import VALUE_LIMIT
from monitoring.maintenance.backup import backup
from monitoring.maintenance.erasure import forget
from monitoring.maintenance.export import COLUMNS, export
from monitoring.maintenance.recount import check, repair
from monitoring.maintenance.retention import prune
from tests.builders.answers import (
    CLASSES,
    DAY_NS,
    NOW_NS,
    label,
    make_card,
    make_row,
    prediction_id,
)
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel, assert_same_state

DATABASES = BOTH_DATABASES
QUICK = DriftSettings(average_run_length=20, tolerance=0.0)
DAY_S = 86_400.0


def fill(monitored: MonitoredModel, days: int = 5, *, per_day: int = 8) -> None:
    """Answers of some days, oldest first: most labeled, some corrected, tagged, audited."""
    for day in range(days):
        at_ns = NOW_NS - (days - 1 - day) * DAY_NS
        numbers = range(day * per_day, (day + 1) * per_day)
        rows = [
            make_row(
                number,
                confidence=0.5 + (number % 7) / 14,
                predicted=number % 2,
                served_at_ns=at_ns,
                request_id=f"scan-{number}",
            )._replace(
                tags=json.dumps({"site": "AB"[number % 2]}) if number % 3 else None,
                audit=0.1 if number % 4 == 0 else None,
            )
            for number in numbers
        ]
        monitored.serve(*rows)
        truth = {number: number % 3 % 2 for number in numbers}
        labeled = [number for number in numbers if number % 5]
        corrected = [number for number in numbers if number % 6 == 1]
        monitored.label(*(label(n, CLASSES[truth[n]], at_ns=at_ns) for n in labeled))
        monitored.label(*(label(n, CLASSES[1 - truth[n]], at_ns=at_ns) for n in corrected))


@pytest.fixture
def full(monitored: MonitoredModel) -> MonitoredModel:
    fill(monitored)
    return monitored


def agrees(monitored: MonitoredModel) -> bool:
    found = check(monitored.ledger)
    assert found.agrees, found.differences
    return True


def test_a_ledger_agrees_with_its_recount(full: MonitoredModel) -> None:
    found = check(full.ledger)
    assert (found.agrees, found.answers, found.labels, found.detectors) == (True, 40, 33, 1)
    assert found.day_sums > 40


def test_corrections_leave_no_row_that_counts_nothing(full: MonitoredModel) -> None:
    for table in ("bin_day", "bin_total"):
        counted = full.rows(f"SELECT SUM(served), SUM(n) FROM {table} GROUP BY slice, bin")
        assert (0, 0) not in counted
    assert (0, 0) not in full.rows("SELECT served, n FROM bin_day")


def test_damage_is_found_and_repaired(full: MonitoredModel) -> None:
    tables = (
        "SELECT * FROM prediction ORDER BY 1",
        "SELECT * FROM bin_day ORDER BY 1, 2, 3, 4",
        "SELECT * FROM bin_total ORDER BY 1, 2, 3",
    )
    before = [full.rows(table) for table in tables]
    for damage, table in (
        ("UPDATE bin_day SET n = n + 1 WHERE slice = 'audit'", "bin_day"),
        ("UPDATE bin_day SET confidence = confidence + 4", "bin_day"),
        ("DELETE FROM bin_day WHERE slice = 'tag:site=A'", "bin_day"),
        ("UPDATE bin_total SET n = n + 1 WHERE slice = 'audit'", "bin_total"),
        ("UPDATE bin_total SET confidence = confidence + 4", "bin_total"),
        ("DELETE FROM bin_total WHERE slice = 'tag:site=A'", "bin_total"),
        ("UPDATE prediction SET label = 1 - label", "prediction"),
        ("UPDATE prediction SET label = NULL, first_feedback_id = NULL", "prediction"),
        ("UPDATE prediction SET first_feedback_id = first_feedback_id + 1", "prediction"),
        ("UPDATE prediction SET revision = 7", "prediction"),
    ):
        with full.ledger.write() as connection:
            connection.exec_driver_sql(damage)
        found = check(full.ledger)
        assert table in found.differing, damage
        assert table in {difference.table for difference in found.differences}, damage
        assert repair(full.ledger).differing.keys() >= {table}, damage
        assert agrees(full)
        if not full.ledger.dialect.many_writers:  # PostgreSQL's shard may be another
            assert [full.rows(table) for table in tables] == before, damage


def test_a_wrong_total_is_found_and_repaired_after_a_prune(full: MonitoredModel) -> None:
    prune(full.ledger, older_than_s=2 * DAY_S)
    assert agrees(full)
    with full.ledger.write() as connection:
        wrong = "UPDATE bin_total SET served = served - 1 WHERE slice = '' AND bin = 12"
        connection.exec_driver_sql(wrong)
    assert check(full.ledger).differing == {"bin_total": 1}
    assert repair(full.ledger).differing == {"bin_total": 1}
    assert agrees(full)


def test_a_wrong_detector_is_found_and_replayed(full: MonitoredModel) -> None:
    right = full.detectors()[1]
    with full.ledger.write() as connection:
        watched = watch.load(connection, full.watched_version_id)
        watched.detector.update(0.9, False, 1)
        watched.save(connection)
    assert check(full.ledger).differing == {"monitor_state": 1}
    repair(full.ledger)
    assert agrees(full)
    assert_same_state(full.detectors()[0], right)


def test_pruning_keeps_day_sums_and_detectors(full: MonitoredModel) -> None:
    days = "SELECT watched_version_id, slice, day, bin, served, n FROM bin_day ORDER BY 1, 2, 3, 4"
    sums, detector = full.rows(days), full.detectors()[0].state.as_dict()
    pruned = prune(full.ledger, older_than_s=2 * DAY_S)
    assert pruned.before_ns == (NOW_NS - 2 * DAY_NS) // DAY_NS * DAY_NS
    assert (pruned.answers, pruned.labels) == (16, 12 + 3)
    assert full.rows("SELECT count(*) FROM prediction") == [(24,)]
    assert full.rows("SELECT count(label) FROM prediction") == [(21,)]
    assert full.rows(days) == sums
    assert full.detectors()[0].state.as_dict() == detector
    assert agrees(full)
    assert prune(full.ledger, older_than_s=2 * DAY_S).answers == 0
    full.label(label(35))  # and the watch goes on, and can be replayed
    full.serve(make_row(900))
    full.label(label(900))
    assert_same_state(*full.detectors())
    assert agrees(full)


def test_labels_of_pruned_answers_expire(full: MonitoredModel) -> None:
    prune(full.ledger, older_than_s=2 * DAY_S)
    old, kept = NOW_NS - 4 * DAY_NS, NOW_NS - DAY_NS
    late = [label(5, at_ns=old), label(30, at_ns=kept), label(77, at_ns=old)]
    assert full.label(*late) == ["expired", "accepted", "expired"]


def test_a_label_expires_while_a_prune_has_only_begun(
    full: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # killed after the watermark
    monkeypatch.setattr("monitoring.maintenance.retention._next_portion", lambda *_: None)
    monkeypatch.setattr("monitoring.maintenance.retention._delete_feedback", lambda *_: None)
    prune(full.ledger, older_than_s=2 * DAY_S)
    assert full.label(label(5, at_ns=NOW_NS - 4 * DAY_NS)) == ["expired"]
    assert agrees(full)
    monkeypatch.undo()
    assert prune(full.ledger, older_than_s=2 * DAY_S).answers == 16
    assert agrees(full)


def test_feedback_numbers_are_not_given_twice_after_a_prune(
    full: MonitoredModel, clock: Clock
) -> None:
    (last,) = full.rows("SELECT max(feedback_id) FROM feedback")[0]
    clock.now_ns += 10 * DAY_NS
    prune(full.ledger, older_than_s=DAY_S)
    assert full.rows("SELECT count(*) FROM feedback") == [(0,)]
    full.serve(make_row(900, served_at_ns=clock.now_ns))
    full.label(label(900, at_ns=clock.now_ns))
    assert full.rows("SELECT min(feedback_id) FROM feedback")[0][0] > last
    assert agrees(full)


def test_forgetting_a_request_leaves_what_was_there_without_it(
    ledger_url: str, clock: Clock
) -> None:
    added = "sum(served), sum(served_confidence), sum(n), sum(confidence), sum(squared_error)"
    sums = (
        f"SELECT watched_version_id, slice, day, bin, {added} FROM bin_day "
        "GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
        f"SELECT watched_version_id, slice, bin, {added} FROM bin_total GROUP BY 1, 2, 3 "
        "HAVING sum(served) > 0 OR sum(n) > 0 ORDER BY 1, 2, 3",
    )
    with MonitoredModel(ledger_url, clock, settings=QUICK) as monitored:
        fill(monitored)
        before, detector = [monitored.rows(each) for each in sums], monitored.detectors()[0]
        extra = make_row(99, request_id="anna", confidence=0.77)._replace(tags='{"ward": "7 East"}')
        monitored.serve(extra)
        by_request = FeedbackItem("normal", None, "pneumonia", "anna")
        monitored.label(label(99, "normal"), label(99), by_request)
        assert [monitored.rows(each) for each in sums] != before
        erased = forget(monitored.ledger, request_id="anna")
        assert (erased.answers, erased.labels) == (1, 3)
        assert [monitored.rows(each) for each in sums] == before  # to the bit
        assert monitored.rows("SELECT count(*) FROM prediction WHERE request_id = 'anna'") == [(0,)]
        assert monitored.rows("SELECT value FROM tag_value WHERE key = 'ward'") == [("(erased) 1",)]
        # its evidence stays, and replays agree
        assert monitored.detectors()[0].state.as_dict() != detector.state.as_dict()
        assert agrees(monitored)
        assert forget(monitored.ledger, request_id="anna") == type(erased)(0, 0, 0)


def test_nothing_of_an_erased_answer_is_in_the_file(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
        monitored.serve(
            make_row(1, request_id="anna-karenina")._replace(tags='{"ward": "7 East"}'), make_row(2)
        )
        monitored.label(label(1, source="tolstoy-report"))
        forget(monitored.ledger, prediction_id=prediction_id(1))
        for path in tmp_path.glob("ledger.db*"):
            for secret in (b"anna-karenina", b"7 East", b"tolstoy-report"):
                assert secret not in path.read_bytes(), (path, secret)


def test_forgetting_by_prediction_id_leaves_the_other_answers_of_a_request(
    monitored: MonitoredModel,
) -> None:
    monitored.serve(make_row(1, request_id="scan-1"), make_row(2, request_id="scan-1"))
    assert forget(monitored.ledger, prediction_id=prediction_id(1)).answers == 1
    assert monitored.rows("SELECT count(*) FROM prediction") == [(1,)]
    assert monitored.label(label(1), label(2)) == ["unknown", "accepted"]
    assert agrees(monitored)


def test_an_erased_tag_value_keeps_its_place(monitored: MonitoredModel) -> None:
    rows = [
        make_row(number)._replace(tags=json.dumps({"site": f"s{number:03}"}))
        for number in range(VALUE_LIMIT + 1)
    ]
    monitored.serve(*rows)
    forget(monitored.ledger, prediction_id=prediction_id(0))
    monitored.serve(make_row(100)._replace(tags='{"site": "late"}'))
    # no room, as before
    assert monitored.rows("SELECT count(*) FROM tag_value WHERE value = 'late'") == [(0,)]
    assert agrees(monitored)


def test_a_label_that_waits_is_forgotten_too(monitored: MonitoredModel) -> None:
    monitored.label(FeedbackItem("normal", None, "pneumonia", "anna"))
    assert forget(monitored.ledger, request_id="anna").waiting == 1
    monitored.serve(make_row(1, request_id="anna"))
    assert monitored.sums().labeled.total == 0


def test_export_to_csv_and_parquet_says_the_same(full: MonitoredModel, tmp_path: Path) -> None:
    full.recorder.register(make_card("retina"))
    files = tmp_path / "all.csv", tmp_path / "all.parquet"
    assert [export(full.ledger, file) for file in files] == [40, 40]
    table = pq.read_table(files[1]).to_pylist()
    with files[0].open() as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == tuple(table[0]) == COLUMNS
    for name in ("prediction_id", "label"):
        assert [row[name] or None for row in rows] == [row[name] for row in table]
    corrected = table[1]
    expected = {
        "request_id": "scan-1",
        "model": "pneumonia",
        "version": 1,
        "predicted": "pneumonia",
        "label": "normal",
        "correct": False,
        "revision": 1,
    }
    assert {name: corrected[name] for name in expected} == expected
    assert {row["revision"] for row in table} == {None, 0, 1}
    assert corrected["confidence"] == pytest.approx(0.5 + 1 / 14)
    assert corrected["probabilities"] == pytest.approx([0.5 - 1 / 14, 0.5 + 1 / 14], abs=1e-6)
    assert corrected["served_at"].timestamp() == (NOW_NS - 4 * DAY_NS) / 1e9
    assert json.loads(rows[1]["probabilities"]) == corrected["probabilities"]
    assert sum(row["audit"] is not None for row in table) == 10
    assert export(full.ledger, tmp_path / "none.csv", model="retina") == 0
    with pytest.raises(ModelNotInLedger):
        export(full.ledger, tmp_path / "out.csv", model="nowhere")
    with pytest.raises(LedgerCopyRefused):
        export(full.ledger, tmp_path / "out.xlsx")
    assert not list(tmp_path.glob("*out*"))  # nothing is left behind


def test_the_latest_source_of_a_corrected_label_is_exported(
    monitored: MonitoredModel, tmp_path: Path
) -> None:
    monitored.serve(make_row(1), make_row(2))
    monitored.label(
        label(1, "normal", source="resident"),
        label(2, source="resident"),
        label(1, source="biopsy"),
    )
    export(monitored.ledger, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as stream:
        assert [row["source"] for row in csv.DictReader(stream)] == ["biopsy", "resident"]


def test_a_backup_is_one_whole_ledger(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
        fill(monitored)
        with monitored.ledger.write():  # a server is writing
            size_bytes = backup(monitored.ledger, tmp_path / "copy.db")
        assert size_bytes == (tmp_path / "copy.db").stat().st_size
        for suffix in ("-wal", "-journal"):  # SQLite would write it into the copy
            (tmp_path / f"other.db{suffix}").touch()
            with pytest.raises(LedgerCopyRefused):
                backup(monitored.ledger, tmp_path / "other.db")
            (tmp_path / f"other.db{suffix}").unlink()
        for file in (tmp_path / "copy.db", tmp_path / "nowhere" / "c.db", Path("/proc/copy.db")):
            with pytest.raises(LedgerCopyRefused):
                backup(monitored.ledger, file)
    assert not list(tmp_path.glob("*.part*"))
    with MonitoredModel(tmp_path / "copy.db", clock) as again:
        assert again.rows("SELECT count(*) FROM prediction") == [(40,)]
        assert agrees(again)


def test_a_backup_of_postgresql_is_left_to_its_own_tools(
    monitored: MonitoredModel, tmp_path: Path
) -> None:
    if monitored.ledger.file is None:
        with pytest.raises(LedgerCopyRefused):
            backup(monitored.ledger, tmp_path / "copy.db")
