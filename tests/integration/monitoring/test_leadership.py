"""One of several processes leads and prunes; the next one takes over, on both databases."""

import errno
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from monitoring.ledger import Ledger
from monitoring.maintenance.worker import MaintenanceWorker, leadership
from tests.builders.answers import DAY_NS, NOW_NS, label, make_card, make_row
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel
from tests.builders.processes import PATIENCE_S, wait_until

DATABASES = BOTH_DATABASES


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
