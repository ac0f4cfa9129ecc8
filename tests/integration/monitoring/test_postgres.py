"""A ledger in PostgreSQL: several writers, a restart, a password that nobody sees."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from monitoring.errors import LedgerError
from monitoring.feedback import FeedbackItem
from monitoring.ledger import Ledger
from monitoring.recording import fallback
from monitoring.recording.fallback import LedgerAway
from tests.builders.answers import label, make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel, assert_same_state, assert_same_sums
from tests.builders.postgres import Cluster
from tests.builders.processes import wait_until

WRITERS, BATCHES = 4, 30


@pytest.fixture
def url(postgres: Cluster) -> str:
    return postgres.make_database()


def by_request(number: int) -> FeedbackItem:
    return FeedbackItem("pneumonia", None, "pneumonia", f"scan-{number}")


@pytest.mark.nightly
@pytest.mark.parametrize("named_by", ["prediction id", "request id"])
def test_many_replicas_answer_and_label_at_once(url: str, named_by: str) -> None:
    """Two replicas send every label; one by request id may come before its answer."""
    name = by_request if named_by == "request id" else label
    desks = [MonitoredModel(url, Clock()) for _ in range(WRITERS)]

    def work(replica: int) -> list[str]:
        got = []
        for batch in range(BATCHES):
            numbers = range(1000 * replica + 4 * batch, 1000 * replica + 4 * batch + 4)
            desks[replica].serve(
                *(make_row(number, request_id=f"scan-{number}") for number in numbers)
            )
            neighbor = (replica + 1) % WRITERS
            theirs = [1000 * neighbor + 4 * batch + step for step in range(4)]
            items = [label(number) for number in numbers] + [name(number) for number in theirs]
            got += desks[replica].label(*items)
        return got

    with ThreadPoolExecutor(WRITERS) as pool:
        statuses = Counter(status for each in pool.map(work, range(WRITERS)) for status in each)
    answers = 4 * BATCHES * WRITERS
    assert statuses.total() == 2 * answers
    assert set(statuses) <= {
        "accepted",
        "unchanged",
        "pending" if name is by_request else "unknown",
    }
    # none was missed, none waits for ever
    assert desks[0].rows("SELECT count(*) FROM feedback_pending") == [(0,)]
    assert_same_sums(desks[0].sums().labeled, [(0.9, True)] * answers)
    assert desks[0].rows("SELECT count(*), count(DISTINCT prediction_id) FROM feedback") == [
        (answers, answers)
    ]
    assert_same_state(*desks[0].detectors())
    for monitored in desks:
        monitored.close()


def test_postgresql_is_told_when_to_give_up_a_lost_machine(url: str) -> None:
    """That it does: tests/e2e/test_ledger_cut_off.py."""
    with Ledger(url) as ledger, ledger.read() as connection:
        told = connection.exec_driver_sql("SHOW tcp_user_timeout").scalar()
    assert told in ("11000", "11s")


def test_a_database_without_an_encoding_is_a_ledger_too(postgres: Cluster, url: str) -> None:
    """As `initdb` makes it where no locale is set."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE DATABASE bare ENCODING 'SQL_ASCII' TEMPLATE template0")
    with MonitoredModel(f"{url.rpartition('/')[0]}/bare", Clock()) as monitored:
        monitored.serve(make_row(1, request_id="Aufnahme-größer"))
        assert monitored.rows("SELECT request_id FROM prediction") == [("Aufnahme-größer",)]


def test_replicas_that_start_at_once_make_the_tables_once(url: str) -> None:
    def start(_: int) -> int:
        with MonitoredModel(url, Clock()) as monitored:
            return monitored.watched_version_id

    with ThreadPoolExecutor(6) as pool:
        ids = set(pool.map(start, range(6)))
    # One row for all. Its id need not be 1: PostgreSQL's sequence also counts the inserts that
    # found the row there.
    with MonitoredModel(url, Clock()) as monitored:
        assert ids == {monitored.watched_version_id}
        assert monitored.rows("SELECT count(*) FROM watched_versions") == [(1,)]


def test_a_connection_that_was_lost_between_commits_is_not_noticed(
    postgres: Cluster, url: str
) -> None:
    with MonitoredModel(url, Clock()) as monitored:
        monitored.serve(make_row(1))
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as other:
            mine = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
                "'candor'"
            )
            assert other.execute(mine).rowcount >= 1
        monitored.serve(make_row(2))
        assert monitored.label(label(1), label(2)) == ["accepted"] * 2
        assert_same_state(*monitored.detectors())


def test_while_the_database_is_away_answers_fail_and_then_they_do_not(
    postgres: Cluster, url: str
) -> None:
    with MonitoredModel(url, Clock()) as monitored:
        monitored.serve(make_row(1))
        postgres.kill()
        try:
            with pytest.raises(OperationalError):
                monitored.serve(make_row(2))
            with pytest.raises(OperationalError):
                monitored.label(label(1))
        finally:
            postgres.start()
        monitored.serve(make_row(2))
        assert monitored.label(label(1), label(2)) == ["accepted"] * 2
        assert monitored.sums().served.sum() == 2


def test_a_database_that_does_not_answer_is_named_without_the_password(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    where = url.replace("candor@", "candor:geheim@").rsplit(":", 1)[0] + ":1/ledger"
    with pytest.raises(LedgerError) as refused:
        Ledger(where)
    assert "***" in str(refused.value)
    assert "geheim" not in str(refused.value) + repr(refused.value.__cause__) + caplog.text
    with pytest.raises(LedgerError) as refused:
        Ledger("postgresql//candor:geheim@host/ledger")
    assert "geheim" not in str(refused.value)
    with Ledger(url.replace("candor@", "candor:geheim@")) as ledger:
        assert "geheim" not in ledger.name + repr(ledger.url)


def test_days_of_several_processes_add_up(url: str) -> None:
    with MonitoredModel(url, Clock()) as one, MonitoredModel(url, Clock()) as other:
        one.recorder._commit.__dict__["shard"] = 1  # as two processes may draw them
        other.recorder._commit.__dict__["shard"] = 2
        one.serve(make_row(1, confidence=0.75))
        other.serve(make_row(2, confidence=0.75))
        assert one.rows("SELECT count(*) FROM bin_day WHERE slice = ''") == [(2,)]
        assert one.sums().served.tolist()[11] == 2
        assert one.sums().served_confidence.sum() == 1.5
        assert one.recorder.register(make_card()) == (one.watched_version_id,)


@pytest.mark.parametrize(
    "way", [Cluster.stopped, pytest.param(Cluster.without_standby, marks=pytest.mark.nightly)]
)
def test_a_commit_that_gets_no_answer_fails_in_time_and_later_ones_succeed(
    postgres: Cluster,
    url: str,
    way: Callable[[Cluster], AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()  # a second is slow
    monkeypatch.setattr(fallback, "LONGEST_PAUSE_S", 0.1)
    probes: list[int] = []
    with MonitoredModel(url, Clock(), timeout_s=1.0) as monitored:
        probe = monitored.recorder._thread.outage._probe
        monitored.recorder._thread.outage._probe = lambda: (probes.append(1), probe())
        monitored.serve(make_row(1))
        with way(postgres):
            with pytest.raises(OperationalError):
                monitored.serve(make_row(2))
            for number in range(3, 6):  # nobody waits for it again
                with pytest.raises(LedgerAway):
                    monitored.serve(make_row(number))
                with pytest.raises(LedgerAway):
                    monitored.label(label(1))
            assert monitored.registry.get_sample_value("candor_ledger_away") == 1
            if way is Cluster.without_standby:
                wait_until(lambda: len(probes) > 3)  # all leave one session, not one each
                with psycopg.connect(url.replace("+psycopg", "")) as other:
                    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                    assert other.execute(waiting).fetchone() == (2,)
        wait_until(lambda: not monitored.recorder.ledger_is_away)
        monitored.serve(make_row(4))
        assert monitored.label(label(4)) == ["accepted"]


def test_a_look_for_an_answer_waits_for_the_commit_that_was_given_up(
    postgres: Cluster, url: str
) -> None:
    """The database goes on with it: a retry that did not see it would be a second answer."""

    def somebody_waits() -> bool:
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            row = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
        return bool(row and row[0])

    impatient, other = MonitoredModel(url, Clock(), timeout_s=2), MonitoredModel(url, Clock())
    with closing(impatient), closing(other):
        with postgres.without_standby():
            with pytest.raises(OperationalError):
                impatient.serve(make_row(1, request_id="scan-1"))
            asked = other.recorder.recorded(other.watched_version_ids, ["scan-1"])
            wait_until(lambda: asked.done() or somebody_waits())
        assert list(asked.result()) == [make_row(1).prediction_id]


def test_a_commit_of_many_slow_statements_has_one_limit(url: str) -> None:
    def slowly(connection: Connection) -> None:
        for _ in range(10):
            connection.exec_driver_sql("SELECT pg_sleep(0.4)")

    with (
        Ledger(url, timeout_s=1.0) as ledger,
        closing(ledger.writer()) as writer,
        pytest.raises(OperationalError),
    ):
        writer.run(slowly)
