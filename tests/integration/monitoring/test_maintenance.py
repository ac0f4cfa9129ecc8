"""A ledger is recounted, pruned, erased, exported, copied, and led by one process."""

import contextlib
import csv
import errno
import io
import json
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import psycopg
import pyarrow.parquet as pq
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select

from calibration.drift.state import DriftSettings
from hosting.auth import AccessControl
from hosting.tokens import read_grants
from monitoring.drift import watch
from monitoring.errors import ClockDoubtful, LedgerCopyRefused, ModelNotInLedger
from monitoring.feedback import FeedbackItem
from monitoring.ledger import Ledger
from monitoring.ledger.ended_sessions import EndedSessions
from monitoring.ledger.pictures import (
    Picture,
    drop_expired,
    keep_pictures,
    read_picture,
)
from monitoring.ledger.predictions import set_pruned_before
from monitoring.ledger.schema import picture
from monitoring.ledger.sum_tables import VALUE_LIMIT
from monitoring.maintenance.backup import backup
from monitoring.maintenance.clock import ClockWatch
from monitoring.maintenance.erasure import forget
from monitoring.maintenance.export import COLUMNS, export
from monitoring.maintenance.recount import check, repair
from monitoring.maintenance.retention import prune
from monitoring.maintenance.worker import MaintenanceWorker, leadership
from monitoring.recording.picture_keeper import PictureKeeper, as_png
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
from tests.builders.processes import PATIENCE_S, candor_here, wait_until

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


def test_after_a_prune_labels_expire_and_a_wrong_total_is_repaired(full: MonitoredModel) -> None:
    prune(full.ledger, older_than_s=2 * DAY_S)
    old, kept = NOW_NS - 4 * DAY_NS, NOW_NS - DAY_NS
    late = [label(5, at_ns=old), label(30, at_ns=kept), label(77, at_ns=old)]
    assert full.label(*late) == ["expired", "accepted", "expired"]
    with full.ledger.write() as connection:
        wrong = "UPDATE bin_total SET served = served - 1 WHERE slice = '' AND bin = 12"
        connection.exec_driver_sql(wrong)
    for find in (check, repair):
        assert find(full.ledger).differing == {"bin_total": 1}
    assert agrees(full)


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


def test_forgetting_takes_one_answer_of_a_request_and_labels_that_wait(
    monitored: MonitoredModel,
) -> None:
    monitored.label(FeedbackItem("normal", None, "pneumonia", "anna"))
    assert forget(monitored.ledger, request_id="anna").waiting == 1
    monitored.serve(*(make_row(number, request_id="anna") for number in (1, 2)))
    assert monitored.sums().labeled.total == 0
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


def tables(file: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }


def test_the_log_of_a_ledger_whose_file_is_gone_is_set_aside(tmp_path: Path) -> None:
    file, copy = tmp_path / "candor.db", tmp_path / "copy.db"
    log = file.with_name("candor.db-wal")
    with Ledger(f"sqlite:///{file}") as ledger:
        backup(ledger, copy)
    before = tables(copy)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE after_the_backup (x)")
        connection.executemany("INSERT INTO after_the_backup VALUES (?)", [("x" * 2_000,)] * 50)
        connection.commit()
        shutil.copy(log, tmp_path / "kept-wal")  # closing would write it into the file
    file.unlink()
    (tmp_path / "kept-wal").rename(log)
    done = candor_here("ledger", "restore", copy, "--ledger", f"sqlite:///{file}")
    assert done.exit_code == 0, done.output
    assert tables(file) == before
    assert (tmp_path / "candor.db.replaced-1-wal").exists()
    assert "candor.db.replaced-1-wal" in done.output.replace("\n", "")


def test_restoring_a_ledger_from_itself_keeps_what_it_held(tmp_path: Path) -> None:
    file = tmp_path / "candor.db"
    with Ledger(f"sqlite:///{file}"):
        pass
    before = tables(file)
    done = candor_here("ledger", "restore", file, "--ledger", f"sqlite:///{file}", "--replace")
    assert done.exit_code == 0, done.output
    assert tables(file) == before == tables(tmp_path / "candor.db.replaced-1")
    assert {each.name for each in tmp_path.iterdir()} <= {
        "candor.db",
        "candor.db.replaced-1",
        "candor.db.lead",
    }


def test_one_leads_and_the_next_takes_over(ledger_url: str) -> None:
    with (
        Ledger(ledger_url) as one,
        Ledger(ledger_url) as other,
        closing(leadership(one)) as first,
        closing(leadership(other)) as second,
    ):
        assert [first.held(), second.held(), first.held()] == [True, False, True]
        first.close()
        wait_until(second.held)  # PostgreSQL ends a session a little after its client
        assert not first.held()


def test_a_leader_that_lost_its_session_leads_no_more(ledger_url: str) -> None:
    if not ledger_url.startswith("postgresql"):
        return  # a file's lock cannot be taken from a process that lives
    with (
        Ledger(ledger_url) as one,
        Ledger(ledger_url) as other,
        closing(leadership(one)) as first,
        closing(leadership(other)) as second,
    ):
        assert first.held()
        with psycopg.connect(ledger_url.replace("+psycopg", ""), autocommit=True) as database:
            holders = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            assert database.execute(holders).rowcount == 1
        wait_until(second.held)
        assert not first.held()
        second.close()
        wait_until(first.held)


def test_the_leader_prunes_and_nobody_else(ledger_url: str) -> None:
    clock = Clock()
    with MonitoredModel(ledger_url, clock) as monitored, Ledger(ledger_url, clock=clock) as other:
        monitored.serve(
            make_row(1, served_at_ns=NOW_NS - 40 * DAY_NS),
            make_row(2, served_at_ns=NOW_NS - 5 * DAY_NS),
        )
        with closing(leadership(other)) as claim:
            assert claim.held()
            with worker(monitored) as idle:
                wait_until(lambda: idle._thread.is_alive())
                assert not idle.leads
        assert monitored.rows("SELECT count(*) FROM prediction") == [(2,)]
        with worker(monitored):
            wait_until(lambda: monitored.rows("SELECT count(*) FROM prediction") == [(1,)])
            for _ in range(5):  # it goes on leading: new days, new looks
                clock.now_ns += 6 * DAY_NS
                wait_until(
                    lambda: (
                        monitored.rows("SELECT at_ns FROM watermark WHERE name = 'used'")
                        == [(clock(),)]
                    )
                )
            wait_until(lambda: monitored.rows("SELECT count(*) FROM prediction") == [(0,)])
        assert monitored.label(label(2, at_ns=NOW_NS - 5 * DAY_NS)) == ["expired"]
        with closing(leadership(other)) as claim:
            wait_until(claim.held)  # it was given up at the end


def worker(monitored: MonitoredModel) -> MaintenanceWorker:
    return MaintenanceWorker(
        monitored.ledger,
        monitored.recorder,
        CollectorRegistry(),
        retention_s=30 * 86_400.0,
        look_s=0.01,
        steady_ns=monitored.ledger.clock,
    )


def test_a_monitor_shows_at_zero_what_others_register(ledger_url: str) -> None:
    with MonitoredModel(ledger_url, Clock()) as one, MonitoredModel(ledger_url, Clock()) as other:
        other.recorder.register(make_card(version=2))
        assert one.metric("feedback_total", version="2") is None
        one.recorder.look_up().result(timeout=PATIENCE_S)
        assert one.metric("feedback_total", version="2") == 0


def test_a_file_system_without_locks_costs_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger,
        closing(leadership(ledger)) as claim,
    ):
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(5):
            with pytest.raises(OSError, match="No locks available"):
                claim.held()
        assert len(list(Path("/proc/self/fd").iterdir())) == before


YEAR_NS = 365 * DAY_NS


HOUR_NS = DAY_NS // 24


@pytest.mark.parametrize("jump_ns", [YEAR_NS, 2 * HOUR_NS, -2 * HOUR_NS])
def test_a_leader_whose_clock_is_set_deletes_nothing_and_shows_it(
    tmp_path: Path, jump_ns: int, caplog: pytest.LogCaptureFixture
) -> None:
    clock, steady, registry = Clock(), Clock(), CollectorRegistry()
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
        monitored.serve(make_row(1, served_at_ns=NOW_NS - HOUR_NS))
        worker = MaintenanceWorker(
            monitored.ledger,
            monitored.recorder,
            registry,
            retention_s=30 * 86_400,
            look_s=0.01,
            steady_ns=steady,
        )
        with worker:
            wait_until(
                lambda: (
                    monitored.rows("SELECT count(*) FROM watermark WHERE name = 'used'") == [(1,)]
                )
            )
            clock.now_ns += jump_ns
            wait_until(lambda: registry.get_sample_value("candor_clock_doubtful") == 1)
            assert monitored.rows("SELECT count(*) FROM prediction") == [(1,)]
            clock.now_ns -= jump_ns
            wait_until(lambda: registry.get_sample_value("candor_clock_doubtful") == 0)
        assert monitored.label(label(1, at_ns=NOW_NS - HOUR_NS)) == ["accepted"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_nothing_is_deleted_by_a_time_that_was_not_checked(tmp_path: Path) -> None:
    """During each of the first looks of the leader somebody may set the clock, or set it back."""
    before = tmp_path / "before.db"
    with MonitoredModel(before, Clock()) as monitored:
        monitored.serve(make_row(1, served_at_ns=NOW_NS - HOUR_NS))
        EndedSessions(monitored.ledger).end("signed out", until_ns=NOW_NS + HOUR_NS)
    for wrong_look in range(1, 20):
        clock, registry = _SetForOneLook(wrong_look), CollectorRegistry()
        with MonitoredModel(shutil.copy(before, tmp_path / "ledger.db"), clock) as monitored:
            with MaintenanceWorker(
                monitored.ledger,
                monitored.recorder,
                registry,
                retention_s=30 * 86_400,
                look_s=0.001,
                models_s=0.001,
                steady_ns=Clock(),
            ):
                clock.counts = True
                wait_until(lambda: clock.looks > 20)  # noqa: B023 within this turn of the loop
            clock.counts = False
            assert monitored.label(label(1, at_ns=NOW_NS - HOUR_NS)) == ["accepted"], wrong_look
            assert "signed out" in EndedSessions(monitored.ledger), wrong_look


def test_a_clock_that_was_ahead_brings_no_ended_session_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else signs out while the clock is a day ahead; then it is set right."""
    token, now_ns = "a-token-for-reading", time.time_ns()
    with MonitoredModel(tmp_path / "ledger.db", Clock()) as monitored:

        def access() -> AccessControl:  # as after a restart, or in another server
            grants = read_grants(f"{token} read", None)
            return AccessControl(grants, ended=EndedSessions(monitored.ledger))

        def sign_in_and_out(at_ns: int) -> bytes:
            monkeypatch.setattr(time, "time", lambda: at_ns / 1e9)
            monkeypatch.setattr(time, "time_ns", lambda: at_ns)
            cookies = f"candor_session={kept.sign_in(token)}".encode()
            assert kept.signed_in(cookies)
            kept.sign_out(cookies)
            return cookies

        kept = access()
        first = sign_in_and_out(now_ns)
        sign_in_and_out(now_ns + DAY_NS)
        monkeypatch.undo()
        assert (kept.signed_in(first), access().signed_in(first)) == (None, None)


def test_sessions_that_were_ended_are_forgotten_once_they_are_over(tmp_path: Path) -> None:
    with MonitoredModel(tmp_path / "ledger.db", Clock()) as monitored:
        ended = EndedSessions(monitored.ledger)
        ended.end("over", until_ns=NOW_NS)
        ended.end("lasts", until_ns=NOW_NS + 1)
        with MaintenanceWorker(
            monitored.ledger, monitored.recorder, CollectorRegistry(), models_s=0.01, look_s=0.01
        ):
            wait_until(lambda: "over" not in EndedSessions(monitored.ledger))
        ended.look()
        assert ("over" in ended, "lasts" in ended) == (False, True)


class _SetForOneLook(Clock):
    """A year ahead when it is looked at for the `wrong`th time."""

    def __init__(self, wrong: int) -> None:
        super().__init__()
        self.wrong, self.looks, self.counts = wrong, 0, False

    def __call__(self) -> int:
        self.looks += self.counts
        return self.now_ns + YEAR_NS * (self.counts and self.looks == self.wrong)


def test_a_jump_between_two_runs_is_noticed(tmp_path: Path) -> None:
    """The ledger knows its last use: as a leader noted it, or by its newest answer."""
    clock = Clock()
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
        monitored.serve(make_row(1, served_at_ns=NOW_NS - HOUR_NS))
        for _ in range(2):  # by the answer, and then by the note
            for wrong_ns in (YEAR_NS, -YEAR_NS):
                clock.now_ns = NOW_NS + wrong_ns
                with pytest.raises(ClockDoubtful):
                    ClockWatch(monitored.ledger).check()
            clock.now_ns = NOW_NS
            ClockWatch(monitored.ledger).check()


def test_labels_are_taken_again_after_a_wrong_clock_pruned_the_future(tmp_path: Path) -> None:
    clock = Clock()
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
        with monitored.ledger.write() as connection:
            set_pruned_before(connection, NOW_NS + YEAR_NS)
        prune(monitored.ledger, older_than_s=30 * 86_400)
        clock.now_ns += DAY_NS
        monitored.serve(make_row(1, served_at_ns=clock.now_ns))
        assert monitored.label(label(1, at_ns=clock.now_ns)) == ["accepted"]


def test_the_command_deletes_by_a_doubtful_clock_only_when_told(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with MonitoredModel(path, Clock()) as monitored:
        monitored.serve(make_row(1, served_at_ns=NOW_NS))  # long before the clock of the command
    command = ("ledger", "prune", "--older-than", "30d", "--ledger", f"sqlite:///{path}")
    assert isinstance(candor_here(*command).exception, ClockDoubtful)
    assert "Deleted 1 answer" in candor_here(*command, "--trust-clock").output


ROWS = [make_row(number, request_id=f"scan-{number}") for number in range(5)]


PIXELS = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)


def pictures_of(monitored: MonitoredModel) -> list[bytes]:
    with monitored.ledger.read() as connection:
        return [
            bytes(each)
            for each in connection.scalars(
                select(picture.c.prediction_id).order_by(picture.c.prediction_id)
            )
        ]


def keep(
    monitored: MonitoredModel,
    *ids: bytes,
    size: int = 100,
    expires_at_ns: int = NOW_NS,
    limit: int = 10**6,
) -> int:
    with monitored.ledger.write() as connection:
        found = [Picture(each, bytes(size)) for each in ids]
        return keep_pictures(connection, found, expires_at_ns=expires_at_ns, limit_bytes=limit)


def test_pictures_end_by_size_by_time_and_with_their_answers(
    monitored: MonitoredModel, clock: Clock
) -> None:
    monitored.serve(*ROWS)
    ids = [row.prediction_id for row in ROWS]
    assert keep(monitored, ids[0], make_row(99).prediction_id) == 1  # answers of the ledger alone
    for place, each in enumerate(ids[1:], start=1):
        keep(monitored, each, expires_at_ns=NOW_NS + place, limit=300)
    assert pictures_of(monitored) == ids[2:]
    keep(monitored, limit=200)
    assert pictures_of(monitored) == ids[3:]
    with monitored.ledger.write() as connection:
        assert drop_expired(connection, now_ns=NOW_NS + 3) == 1
    assert pictures_of(monitored) == ids[4:]
    keep(monitored, *ids[:4], expires_at_ns=NOW_NS + 99 * DAY_NS)
    assert forget(monitored.ledger, request_id="scan-2").answers == 1
    assert forget(monitored.ledger, prediction_id=ids[3]).answers == 1
    assert pictures_of(monitored) == [*ids[:2], ids[4]]
    clock.now_ns += 3 * DAY_NS
    assert prune(monitored.ledger, older_than_s=86_400).answers == 3
    assert pictures_of(monitored) == []


def test_a_keeper_keeps_what_the_model_saw(monitored: MonitoredModel) -> None:
    monitored.serve(*ROWS)
    with PictureKeeper(monitored.ledger, days=2, limit_bytes=10**6) as keeper:
        keeper.offer(ROWS[0].prediction_id, PIXELS)
        wait_until(lambda: pictures_of(monitored) == [ROWS[0].prediction_id])
        for _ in range(200):
            # more than wait: some are left out, nobody waits
            keeper.offer(make_row(99).prediction_id, PIXELS)
        keeper.offer(ROWS[1].prediction_id, PIXELS)
    with monitored.ledger.read() as connection:
        png = read_picture(connection, ROWS[0].prediction_id)
        expires_at_ns = connection.scalar(select(func.min(picture.c.expires_at_ns)))
    assert png is not None
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), PIXELS[0])
    assert expires_at_ns == NOW_NS + 2 * DAY_NS


def test_a_ledger_that_fails_costs_pictures_only(
    monitored: MonitoredModel, caplog: pytest.LogCaptureFixture
) -> None:
    monitored.serve(*ROWS)
    with monitored.ledger.write() as connection:
        picture.drop(connection)
    with PictureKeeper(monitored.ledger, days=2, limit_bytes=10**6) as keeper:
        keeper.offer(ROWS[0].prediction_id, PIXELS)
        wait_until(lambda: bool(caplog.records))
    monitored.serve(make_row(50))
    with monitored.ledger.write() as connection:
        picture.create(connection)


def test_a_picture_in_color_stays_in_color_and_a_gray_one_is_small() -> None:
    color = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(as_png(color)))), color.transpose(1, 2, 0)
    )
    assert Image.open(io.BytesIO(as_png(np.repeat(PIXELS, 3, axis=0)))).mode == "L"
