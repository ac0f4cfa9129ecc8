"""A clock that jumps deletes nothing, in one run or between two; and the way back."""

import shutil
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from hosting.auth import AccessControl
from hosting.tokens import read_grants
from monitoring.errors import ClockDoubtful
from monitoring.ledger.ended_sessions import EndedSessions
from monitoring.ledger.predictions import set_pruned_before
from monitoring.maintenance import clock as ledger_clock
from monitoring.maintenance.clock import ClockWatch
from monitoring.maintenance.retention import prune
from monitoring.maintenance.worker import MaintenanceWorker
from tests.builders.answers import DAY_NS, NOW_NS, label, make_row
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.processes import candor_here, wait_until

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


def test_a_person_who_knows_that_the_clock_is_right_is_believed(tmp_path: Path) -> None:
    clock, steady = Clock(), Clock()
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
        watch = ClockWatch(monitored.ledger, steady_ns=steady)
        watch.check()
        clock.now_ns += YEAR_NS
        with pytest.raises(ClockDoubtful):
            watch.check()
        ledger_clock.trust(monitored.ledger, clock())
        watch.check()
        steady.now_ns += HOUR_NS
        clock.now_ns += HOUR_NS
        watch.check()


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
