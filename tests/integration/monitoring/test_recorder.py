"""Answers and labels on their way into a real ledger: each once, in order, whatever happens."""

import hashlib
import json
import math
import sqlite3
import time
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError, OperationalError
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from calibration.drift.state import DriftSettings, DriftState
from monitoring.drift.tag_settings import TagSettings
from monitoring.errors import (
    LabelUnknown,
    LedgerError,
    ModelNotInLedger,
    NotRegistered,
    PendingFull,
    RecorderClosed,
)
from monitoring.feedback import FeedbackItem, FeedbackPolicy
from monitoring.feedback.labeling import CORRECTIONS_LIMIT
from monitoring.ledger import Ledger, PredictionRow
from monitoring.ledger.dialects import read_url
from monitoring.ledger.schema import SCHEMA_VERSION, metadata
from monitoring.ledger.versions import card_sha256, choose, of_model
from monitoring.metrics.counters import MonitorMetrics
from monitoring.metrics.ledger_gauges import LedgerGauges
from monitoring.recording.queue import LABELS_AT_ONCE
from monitoring.recording.spool import CardKey, Frame, Spool
from monitoring.routes.exposition import MetricsRoute
from serving.inference.admission import QueueEstimate
from serving.inference.metrics import ServingMetrics
from tests.builders.answers import (
    CLASSES,
    DAY_NS,
    NOW_NS,
    SECOND_NS,
    label,
    make_card,
    make_row,
    prediction_id,
)
from tests.builders.monitored import (
    BOTH_DATABASES,
    Clock,
    MonitoredModel,
    assert_same_state,
    assert_same_sums,
)
from tests.builders.processes import PATIENCE_S, wait_until

DATABASES = BOTH_DATABASES
Heard = SimpleQueue[BaseException | None]


def by_request(request_id: str, name: str = "pneumonia", model: str = "pneumonia") -> FeedbackItem:
    return FeedbackItem(name, None, model, request_id)


def rejected(monitored: MonitoredModel, reason: str) -> float | None:
    name = "candor_feedback_rejected_total"
    return monitored.registry.get_sample_value(name, {"reason": reason})


# Labels


def test_the_life_of_a_label(monitored: MonitoredModel) -> None:
    at_ns = NOW_NS - 3 * DAY_NS
    same = (make_row(number, request_id="scan-1") for number in (2, 3))
    monitored.serve(make_row(1, confidence=0.8, served_at_ns=at_ns), *same)
    first = label(1, at_ns=at_ns)
    wrong = first._replace(label="normal")
    assert monitored.label(first) == ["accepted"]
    before = monitored.detectors()[0]
    assert monitored.label(first, wrong) == ["unchanged", "corrected"]
    assert monitored.label(first) == ["corrected"]
    assert_same_state(monitored.detectors()[0], before)
    assert_same_sums(monitored.sums().labeled, [(0.8, True)])
    revisions = "SELECT label, correct FROM feedback ORDER BY feedback_id"
    assert monitored.rows(revisions) == [(1, 1), (0, 0), (1, 1)]
    assert monitored.metric("feedback_duplicates_total") == 1
    to = (monitored.metric("feedback_corrections_total", to=it) for it in ("correct", "incorrect"))
    assert [*to] == [1, 1]
    day = "SELECT day FROM bin_day WHERE slice = '' AND n = 1"
    assert monitored.rows(day) == [(at_ns // DAY_NS,)]  # the day of the answer
    assert monitored.metric("feedback_delay_seconds_sum") == pytest.approx(3 * 86_400)
    (latest,) = monitored.recorder.feedback([by_request("scan-1")]).result()
    assert (latest.status, latest.prediction_id) == ("accepted", prediction_id(3))
    for cat in (label(2, "cat"), by_request("scan-1", "cat"), by_request("scan-2", "cat")):
        (result,) = monitored.recorder.feedback([cat]).result()
        assert (result.status, result.cause) == ("rejected", LabelUnknown)


def test_an_answer_may_be_corrected_a_thousand_times(monitored: MonitoredModel) -> None:
    monitored.serve(make_row(1, confidence=0.8))
    right, wrong = label(1), label(1)._replace(label="normal")
    statuses = monitored.label(*[right, wrong] * (CORRECTIONS_LIMIT // 2), *[right, wrong] * 3)
    ended = ["rejected", "unchanged", "rejected", "unchanged", "rejected"]
    assert statuses == ["accepted", *["corrected"] * CORRECTIONS_LIMIT, *ended]
    assert_same_sums(monitored.sums().labeled, [(0.8, True)])


def test_a_label_waits_for_its_answer_of_its_own_model(monitored: MonitoredModel) -> None:
    (retina,) = monitored.recorder.register(make_card("retina"))
    early = [by_request("scan-1", "normal"), by_request("scan-1"), by_request("scan-2")]
    assert monitored.label(*early, by_request("scan-1", model="retina")) == ["pending"] * 4
    heard: Heard = SimpleQueue()
    with monitored.ledger.write():  # keep the writer waiting, so that both share one commit
        rows = [make_row(1, request_id="scan-1"), make_row(2)]
        monitored.recorder.record(rows, heard.put)
        future = monitored.recorder.feedback([label(77)])
    assert heard.get(timeout=PATIENCE_S) is None
    assert [result.status.value for result in future.result(timeout=PATIENCE_S)] == ["unknown"]
    assert_same_sums(monitored.sums().labeled, [(0.9, True)])  # the last word
    waiting = "SELECT request_id FROM feedback_pending ORDER BY 1"
    assert monitored.rows(waiting) == [("scan-1",), ("scan-2",)]
    assert monitored.label(by_request("scan-1")) == ["unchanged"]
    assert monitored.label(by_request("scan-1", model="skin")) == ["rejected"]
    monitored.serve(make_row(3, request_id="scan-1", watched_version_id=retina))
    assert monitored.sums(retina).labeled.total == 1


def test_a_held_label_that_its_version_does_not_know_is_dropped(
    monitored: MonitoredModel, clock: Clock
) -> None:
    clock.now_ns += 1
    monitored.recorder.register(make_card(version=2, classes=("normal", "pneumonia", "covid")))
    assert monitored.label(by_request("scan-1", "covid")) == ["pending"]
    monitored.serve(make_row(1, request_id="scan-1"))  # by version 1, which has two classes
    assert monitored.sums().labeled.total == 0
    assert monitored.rows("SELECT count(*) FROM feedback_pending") == [(0,)]


@pytest.mark.world(policy=FeedbackPolicy(pending_limit=2, retention_s=86_400))
def test_held_labels_are_bounded_and_old_ones_expire(monitored: MonitoredModel) -> None:
    assert monitored.label(*map(by_request, "abc")) == ["pending", "pending", "rejected"]
    again, full = monitored.recorder.feedback([by_request("a"), by_request("d")]).result()
    assert (again.status, full.cause) == ("pending", PendingFull)
    old = label(1, at_ns=NOW_NS - DAY_NS - SECOND_NS)
    assert monitored.label(label(1), old) == ["unknown", "expired"]
    reasons = ("unknown_prediction", "expired", "pending_full", "unknown_label", "invalid")
    assert [rejected(monitored, each) for each in reasons] == [1, 1, 2, 0, 0]


def test_a_long_list_is_recorded_in_portions_and_answered_in_order(
    monitored: MonitoredModel,
) -> None:
    n = 2 * LABELS_AT_ONCE + 10
    monitored.serve(*(make_row(number) for number in range(0, n, 2)))
    assert monitored.label(*map(label, range(n))) == ["accepted", "unknown"] * (n // 2)
    assert monitored.recorder.feedback([]).result() == []


def some_answers(count: int) -> list[PredictionRow]:
    rng = np.random.default_rng(0)
    return [
        make_row(
            number,
            confidence=float(np.float32(rng.uniform(0.5, 1.0))),
            predicted=number % 2,
            served_at_ns=NOW_NS - (number % 3) * DAY_NS,
            request_id=f"scan-{number}",
        )._replace(
            tags=json.dumps({"site": "ABC"[number % 3]}) if number % 2 else None,
            audit=0.5 if number % 5 == 0 else None,
        )
        for number in range(count)
    ]


def some_labels(count: int) -> list[FeedbackItem]:
    """Labels, repeats, corrections, unknown classes and answers, request ids, mixed."""
    rng, items = np.random.default_rng(1), []
    for _ in range(2 * count):
        number = int(rng.integers(0, count + 5))
        name = CLASSES[int(rng.integers(0, 2))] if rng.random() < 0.95 else "cat"
        at_ns, source = NOW_NS - (number % 3) * DAY_NS, "ward" if number % 4 else None
        if rng.random() < 0.2:
            items.append(by_request(f"scan-{number}", name))
        else:
            items.append(label(number, name, at_ns=at_ns, source=source))
    return items


def test_a_list_of_labels_ends_to_the_bit_where_single_labels_end(
    tmp_path: Path, clock: Clock
) -> None:
    quick = DriftSettings(average_run_length=20, tolerance=0.0)
    with (
        MonitoredModel(tmp_path / "one.db", clock, settings=quick) as one,
        MonitoredModel(tmp_path / "list.db", clock, settings=quick) as many,
    ):
        for monitored in (one, many):
            monitored.serve(*some_answers(150))
        items = some_labels(150)
        assert [status for item in items for status in one.label(item)] == many.label(*items)
        tables = ("feedback", "prediction", "tag_value", "bin_day", "bin_total", "feedback_pending")
        for table, columns in (
            *((name, "*") for name in tables),
            ("monitor_event", "kind, feedback_id, watched_version_id"),
        ):
            everything = f"SELECT {columns} FROM {table} ORDER BY 1, 2, 3"
            assert one.rows(everything) == many.rows(everything), table
        assert one.rows("SELECT count(*) FROM monitor_event WHERE kind = 'alarm'") == [(1,)]
        assert_same_state(one.detectors()[0], many.replayed())


def test_two_recorders_on_one_ledger_count_every_label_once(
    monitored: MonitoredModel, ledger_url: str, clock: Clock
) -> None:
    with MonitoredModel(ledger_url, clock) as other:
        monitored.serve(*(make_row(number) for number in range(60)))
        futures = [
            each.recorder.feedback([label(number)])
            for number in range(60)
            for each in (monitored, other)
        ]
        statuses = [future.result(timeout=PATIENCE_S)[0].status.value for future in futures]
    assert (statuses.count("accepted"), statuses.count("unchanged")) == (60, 60)
    assert monitored.sums().labeled.total == 60
    assert monitored.replayed().labels == 60


def test_labels_of_versions_served_before_this_process(
    monitored: MonitoredModel, reopen: Callable[..., MonitoredModel], clock: Clock
) -> None:
    monitored.serve(make_row(1))
    clock.now_ns += 200 * DAY_NS  # too long ago to be remembered at the start
    later = reopen(card=make_card(version=2))
    assert later.label(label(1)) == ["accepted"]
    assert later.sums(1).labeled.total == 1
    assert later.metric("feedback_total", version="1")


# Faults


def test_a_bad_batch_does_not_harm_its_neighbors(monitored: MonitoredModel) -> None:
    monitored.serve(make_row(1))
    heard: SimpleQueue[tuple[str, BaseException | None]] = SimpleQueue()
    batches = {
        "good": ([make_row(2)], type(None)),
        "twice": ([make_row(1)], IntegrityError),
        "stranger": ([make_row(3, watched_version_id=77)], NotRegistered),
        "impossible": ([make_row(5)._replace(confidence=1.5)], ValueError),
        "fine": ([make_row(4)], type(None)),
    }

    def hear(name: str, error: BaseException | None) -> None:
        heard.put((name, error))

    with monitored.ledger.write():  # keep the writer waiting, so that all of them share one commit
        for name, (rows, _) in batches.items():
            monitored.recorder.record(rows, partial(hear, name))
        future = monitored.recorder.feedback([label(1)])
    got = dict(heard.get(timeout=PATIENCE_S) for _ in batches)
    assert future.result(timeout=PATIENCE_S)[0].status == "accepted"
    kinds = {name: type(error) for name, error in got.items()}
    assert kinds == {name: kind for name, (_, kind) in batches.items()}
    assert monitored.sums().served.sum() == monitored.metric("predictions_total") == 3


def test_an_answer_waits_for_a_part_of_many_labels(tmp_path: Path, clock: Clock) -> None:
    many = [label(1), label(1)._replace(label="normal")] * 1_000
    ended: SimpleQueue[str] = SimpleQueue()
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
        monitored.serve(make_row(1))
        with monitored.ledger.write():  # the recorder has taken labels, and waits for the lock
            labels = monitored.recorder.feedback(many)
            labels.add_done_callback(lambda _: ended.put("labels"))
            time.sleep(0.2)  # until the recorder has taken them
            monitored.recorder.record([make_row(2)], lambda _: ended.put("answer"))
        assert [ended.get(timeout=PATIENCE_S) for _ in range(2)] == ["answer", "labels"]


def test_a_locked_database_fails_those_who_wait_and_no_one_later(
    tmp_path: Path, clock: Clock
) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock, timeout_s=0.02) as monitored:
        monitored.serve(make_row(1))
        other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for use in (lambda: monitored.serve(make_row(2)), lambda: monitored.label(label(1))):
            with pytest.raises(OperationalError, match="locked"):
                use()
        other.execute("ROLLBACK")
        other.close()
        monitored.serve(make_row(2))
        assert monitored.label(label(1), label(2)) == ["accepted", "accepted"]
        assert monitored.replayed().labels == 2


def test_faults_of_callbacks_and_counters_neither_hide_a_commit_nor_stop_the_writer(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(error: BaseException | None) -> None:
        raise ZeroDivisionError

    monitored.recorder.record([make_row(1)], explode)
    with monkeypatch.context() as broken:
        broken.setattr(type(monitored.metrics), "count", lambda *_: 1 / 0)
        monitored.serve(make_row(2))
        assert monitored.label(label(2)) == ["accepted"]
    monitored.serve(make_row(3))
    assert {record.levelname for record in caplog.records} == {"ERROR"}
    assert monitored.sums().served.sum() == 3
    before = monitored.metric("predictions_total")
    monkeypatch.setattr("monitoring.ledger.sum_changes.SumChanges.save", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        monitored.serve(make_row(4))
    # nothing is counted before it is committed
    assert monitored.rows("SELECT count(*) FROM prediction") == [(3,)]
    assert monitored.metric("predictions_total") == before


def test_closing_writes_what_waits_and_then_refuses(monitored: MonitoredModel) -> None:
    heard: Heard = SimpleQueue()
    for number in range(100):
        monitored.recorder.record([make_row(number)], heard.put)
    monitored.recorder.close()
    assert [heard.get_nowait() for _ in range(100)] == [None] * 100
    assert monitored.sums().served.sum() == 100
    for use in (
        lambda: monitored.serve(make_row(200)),
        lambda: monitored.recorder.feedback([label(1)]),
    ):
        with pytest.raises(RecorderClosed):
            use()


# Answers that come by the spool


def spooled(path: Path, *frames: Frame) -> Spool:
    with Spool(path, limit_bytes=2**16) as spool:
        for frame in frames:
            spool.append(frame)
    return Spool(path, limit_bytes=0)


def await_empty(monitored: MonitoredModel) -> None:
    rows = "candor_spool_rows"
    wait_until(lambda: monitored.registry.get_sample_value(rows) == 0, "an empty spool")


def test_what_is_there_already_is_not_joined_again_and_labels_find_the_rest(
    monitored: MonitoredModel, reopen: Callable[..., MonitoredModel], tmp_path: Path
) -> None:
    """Spooled under another ledger's number; one answer was committed unheard."""
    monitored.serve(make_row(1, request_id="scan-1"))
    assert monitored.label(by_request("scan-2")) == ["pending"]
    rows = [make_row(n, watched_version_id=77, request_id=f"scan-{n}") for n in (1, 2, 3)]
    cards = {77: CardKey("pneumonia", 1, card_sha256(make_card()))}
    strange = Frame({1: CardKey("other", 1, "0" * 64)}, [make_row(1)])
    frames = (Frame(cards, rows[:2]), Frame(cards, rows[2:]), strange)
    with spooled(tmp_path / "s", *frames) as spool:
        again = reopen(spool=spool)
        await_empty(again)
        assert again.sums().served.sum() == 3
        stored = "SELECT count(*), max(watched_version_id) FROM prediction"
        assert again.rows(stored) == [(3, again.watched_version_id)]
        # the first was served before this process
        assert again.metric("predictions_total") == 2
        # the label that came first
        assert again.rows("SELECT count(*) FROM feedback") == [(1,)]
        assert again.label(*map(label, (1, 2, 3))) == ["accepted", "unchanged", "accepted"]
        # answers of a ledger that is not this one are kept beside it
        assert (tmp_path / "s.refused").read_bytes() == strange.as_line()
        again.close()
    assert not (tmp_path / "s").exists()


# The ledger


def test_it_survives_power_loss_and_never_blocks_readers(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
        assert monitored.rows("PRAGMA journal_mode") == [("wal",)]
        assert monitored.rows("PRAGMA synchronous") == [(2,)]  # FULL
        monitored.serve(make_row(1))
        with monitored.ledger.write():  # the lock is taken, and a reader does not wait
            assert monitored.rows("SELECT count(*) FROM prediction") == [(1,)]


def test_what_cannot_hold_a_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("patient,label\n" * 100)
    for url in (
        *(f"sqlite:///{tmp_path}/ledger.db", "sqlite://", "sqlite:///:memory:"),
        *("ledger.db", "mysql://localhost/candor", "sqlite:////no/such/folder/ledger.db"),
    ):
        with pytest.raises(LedgerError):
            Ledger(url)


@pytest.mark.parametrize("schema", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_a_ledger_of_another_schema_is_refused_and_stays_as_it_is(
    ledger_url: str, schema: int
) -> None:
    engine = create_engine(read_url(ledger_url)[1])
    Ledger(ledger_url).close()
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE ledger_schema SET version = {schema}")
    for writable in (True, False):
        with pytest.raises(LedgerError, match=f"schema {schema}"):
            Ledger(ledger_url, writable=writable)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version FROM ledger_schema").scalar() == schema
    engine.dispose()


def test_what_a_ledger_keeps_is_that_of_its_schema() -> None:
    """After a change: raise SCHEMA_VERSION, so that older ledgers are refused by name."""
    kept = [str(column) for table in metadata.sorted_tables for column in table.columns]
    for each in (DriftSettings(), DriftState(), TagSettings()):
        kept += [f"{type(each).__name__}.{field.name}" for field in fields(each)]
    digest = hashlib.sha256("\n".join(sorted(kept)).encode()).hexdigest()[:12]
    assert (SCHEMA_VERSION, digest) == (8, "c596973a6d08")


def test_a_card_is_registered_once_and_another_card_is_another_calibration(
    monitored: MonitoredModel, clock: Clock
) -> None:
    def chosen() -> list[int]:
        with monitored.ledger.read() as connection:
            rows = [choose(connection, "pneumonia"), *of_model(connection, "pneumonia")]
        return [row.watched_version_id for row in rows]

    first = monitored.watched_version_id
    assert monitored.recorder.register(make_card()) == (first,)
    (other,) = monitored.recorder.register(make_card(temperature=2.0))
    # the later id, at the same moment
    assert chosen()[0] == other != first
    clock.now_ns += 1
    monitored.recorder.register(make_card())  # a rollback: the older one serves again
    assert chosen() == [first, first, other]
    with monitored.ledger.read() as connection:
        for asked in (("retina",), ("pneumonia", 7)):
            with pytest.raises(ModelNotInLedger):
                choose(connection, *asked)
    for watched_version_id in (first, first, other, other, first):  # by all replicas
        monitored.recorder.promote(watched_version_id).result()
    noted = "SELECT watched_version_id FROM monitor_event WHERE kind = 'promoted' ORDER BY event_id"
    assert monitored.rows(noted) == [(first,), (other,), (first,)]


def replace_by_another_ledger(path: Path) -> None:
    other = path.with_name("other.db")
    with MonitoredModel(other, Clock()):
        pass
    other.replace(path)


def delete_all(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def move_away(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def empty(path: Path) -> None:
    path.unlink()
    path.touch()


@pytest.mark.parametrize(
    "lose", [Path.unlink, delete_all, empty, replace_by_another_ledger, move_away]
)
def test_a_lost_ledger_takes_nothing_says_so_and_goes_on_once_it_is_put_back(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    path = tmp_path / "ledger.db"
    with MonitoredModel(path, Clock()) as monitored:
        monitored.serve(make_row(1))
        lose(path)
        for _ in range(2):  # also on a new connection
            for use in (
                lambda: monitored.serve(make_row(2)),
                lambda: monitored.label(FeedbackItem("normal", prediction_id(1))),
                lambda: monitored.rows("SELECT 1"),
            ):
                with pytest.raises(OperationalError):
                    use()
        # it is not made again
        assert path.exists() == (lose in (empty, replace_by_another_ledger))
        if lose is move_away:
            path.with_name("moved.db").rename(path)
            monitored.serve(make_row(2))
            assert monitored.label(label(2)) == ["accepted"]


# Metrics


def test_every_series_is_born_at_zero(monitored: MonitoredModel) -> None:
    names = ("predictions", "feedback", "feedback_duplicates", "calibration_drift_alarms")
    values = [monitored.metric(f"{name}_total") for name in names]
    to = ("correct", "incorrect")
    values += [monitored.metric("feedback_corrections_total", to=each) for each in to]
    reasons = ("unknown_prediction", "expired", "unknown_label", "unknown_model", "invalid")
    values += [rejected(monitored, reason) for reason in (*reasons, "pending_full")]
    values += [monitored.metric(each) for each in ("feedback_delay_seconds_count",)]
    assert values == [0] * 13
    assert monitored.metric("calibration_drift_active") == 0
    assert monitored.metric("calibration_drift_log_threshold") == pytest.approx(math.log(1e5))
    assert monitored.metric("calibration_drift_log_evalue") == -math.inf
    with pytest.raises(ValueError, match="Duplicated"):  # no two sets share a registry
        MonitorMetrics(monitored.registry)


OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def test_both_formats_of_metrics_can_be_read(monitored: MonitoredModel) -> None:
    registry: CollectorRegistry = monitored.registry
    ServingMetrics(registry).of_version("pneumonia", 1, QueueEstimate(service_s=0.1))
    registry.register(LedgerGauges(monitored.ledger, clock_s=lambda: 0.0))
    monitored.answer(range(90), wrong=4)
    client = TestClient(Starlette(routes=[Route("/metrics", MetricsRoute(registry).get)]))
    for accept, kind in (("", "text/plain; version=0.0.4"), (OPENMETRICS, OPENMETRICS)):
        answer = client.get("/metrics", headers={"accept": accept})
        assert answer.headers["content-type"].startswith(kind)
        assert answer.text.count("\n") > 250
        assert "_created" not in answer.text
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert families["candor_feedback"].type == "counter"
    assert sum(sample.value for sample in families["candor_feedback"].samples) == 90
