import sqlite3
import time
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from calibration.bins import BinSums
from monitoring.errors import LabelUnknown, NotRegistered, PendingFull, RecorderClosed
from monitoring.feedback import FeedbackItem, FeedbackPolicy
from monitoring.feedback.labeling import CORRECTIONS_LIMIT
from monitoring.recording.queue import LABELS_AT_ONCE
from tests.builders.answers import (
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
from tests.builders.processes import PATIENCE_S

DATABASES = BOTH_DATABASES


def by_request(request_id: str, name: str = "pneumonia", model: str = "pneumonia") -> FeedbackItem:
    return FeedbackItem(name, None, model, request_id)


def test_an_answer_may_be_corrected_a_thousand_times(monitored: MonitoredModel) -> None:
    monitored.serve(make_row(1, confidence=0.8))
    right, wrong = label(1), label(1)._replace(label="normal")
    statuses = monitored.label(*[right, wrong] * (CORRECTIONS_LIMIT // 2), *[right, wrong] * 3)
    assert statuses == ["accepted"] + ["corrected"] * CORRECTIONS_LIMIT + [
        *("rejected", "unchanged") * 2,
        "rejected",
    ]
    assert_same_sums(monitored.sums().labeled, [(0.8, True)])


def test_the_life_of_a_label(monitored: MonitoredModel) -> None:
    at_ns = NOW_NS - 3 * DAY_NS
    monitored.serve(
        make_row(1, confidence=0.8, served_at_ns=at_ns),
        make_row(2, request_id="scan-1"),
        make_row(3, request_id="scan-1"),
    )
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
    assert monitored.metric("feedback_corrections_total", to="incorrect") == 1
    day = "SELECT day FROM bin_day WHERE slice = '' AND n = 1"
    assert monitored.rows(day) == [(at_ns // DAY_NS,)]  # the day of the answer
    assert monitored.metric("feedback_delay_seconds_sum") == pytest.approx(3 * 86_400)
    (latest,) = monitored.recorder.feedback([by_request("scan-1")]).result()
    assert (latest.status, latest.prediction_id) == ("accepted", prediction_id(3))
    for cat in (label(2, "cat"), by_request("scan-1", "cat"), by_request("scan-2", "cat")):
        (result,) = monitored.recorder.feedback([cat]).result()
        assert (result.status, result.cause) == ("rejected", LabelUnknown)


def test_a_label_waits_for_its_answer(monitored: MonitoredModel) -> None:
    early = [by_request("scan-1", "normal"), by_request("scan-1"), by_request("scan-2")]
    assert monitored.label(*early) == ["pending"] * 3
    monitored.serve(make_row(1, request_id="scan-1"), make_row(2))
    assert_same_sums(monitored.sums().labeled, [(0.9, True)])  # the last word
    assert monitored.rows("SELECT request_id FROM feedback_pending") == [("scan-2",)]
    assert monitored.label(by_request("scan-1")) == ["unchanged"]
    assert monitored.label(by_request("scan-1", model="skin")) == ["rejected"]


def test_the_counters_follow_the_squared_error_through_corrections(
    monitored: MonitoredModel,
) -> None:
    """Q as labels stand = Q of first labels + (n - 2S) to correct - (n - 2S) to incorrect."""
    confidence = [0.8, 0.75, 0.76, 0.79]
    monitored.serve(*(make_row(number, confidence=p) for number, p in enumerate(confidence)))
    monitored.label(
        *(label(number, "normal" if number == 1 else "pneumonia") for number in range(4))
    )
    monitored.label(label(0, "normal"), label(1), label(2, "normal"))
    monitored.label(label(2), label(3, "normal"))
    expected = BinSums.from_predictions(confidence, [False, True, True, False])
    assert monitored.sums().labeled.squared_error == pytest.approx(expected.squared_error)
    counts = [
        monitored.metric("feedback_corrections_total", to=to) for to in ("correct", "incorrect")
    ]
    assert counts == [2, 3]


def test_an_unknown_prediction_is_unknown_and_an_old_one_expired(
    ledger_url: str, clock: Clock
) -> None:
    with MonitoredModel(ledger_url, clock, policy=FeedbackPolicy(retention_s=86_400)) as monitored:
        old = label(1, at_ns=NOW_NS - DAY_NS - SECOND_NS)
        assert monitored.label(label(1), old) == ["unknown", "expired"]
        rejected = "candor_feedback_rejected_total"
        assert monitored.registry.get_sample_value(rejected, {"reason": "unknown_prediction"}) == 1
        assert monitored.registry.get_sample_value(rejected, {"reason": "expired"}) == 1


def test_a_held_label_waits_for_its_own_model(monitored: MonitoredModel) -> None:
    (retina,) = monitored.recorder.register(make_card("retina"))
    monitored.label(by_request("scan-1", model="retina"))
    monitored.serve(make_row(1, request_id="scan-1"))
    assert monitored.sums().labeled.total == 0
    monitored.serve(make_row(2, request_id="scan-1", watched_version_id=retina))
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


def test_held_labels_are_bounded(ledger_url: str, clock: Clock) -> None:
    with MonitoredModel(ledger_url, clock, policy=FeedbackPolicy(pending_limit=2)) as monitored:
        assert monitored.label(*map(by_request, "abc")) == ["pending", "pending", "rejected"]
        (again, full) = monitored.recorder.feedback([by_request("a"), by_request("d")]).result()
        assert again.status == "pending"
        assert full.cause is PendingFull


def test_a_long_list_is_recorded_in_portions_and_answered_in_order(
    monitored: MonitoredModel,
) -> None:
    n = 2 * LABELS_AT_ONCE + 10
    monitored.serve(*(make_row(number) for number in range(0, n, 2)))
    assert monitored.label(*map(label, range(n))) == ["accepted", "unknown"] * (n // 2)
    assert monitored.recorder.feedback([]).result() == []


def test_an_answer_waits_for_a_part_of_many_labels(tmp_path: Path, clock: Clock) -> None:
    many = [label(1), label(1)._replace(label="normal")] * 1_000
    ended: SimpleQueue[str] = SimpleQueue()
    with MonitoredModel(f"sqlite:///{tmp_path}/ledger.db", clock) as monitored:
        monitored.serve(make_row(1))
        with monitored.ledger.write():  # the recorder has taken labels, and waits for the lock
            labels = monitored.recorder.feedback(many)
            labels.add_done_callback(lambda _: ended.put("labels"))
            time.sleep(0.2)
            monitored.recorder.record([make_row(2)], lambda _: ended.put("answer"))
        assert [ended.get(timeout=PATIENCE_S) for _ in range(2)] == ["answer", "labels"]


def test_labels_of_versions_served_before_this_process(ledger_url: str, clock: Clock) -> None:
    with MonitoredModel(ledger_url, clock) as monitored:
        monitored.serve(make_row(1))
    clock.now_ns += 200 * DAY_NS  # too long ago to be remembered at the start
    with MonitoredModel(ledger_url, clock, card=make_card(version=2)) as monitored:
        assert monitored.label(label(1)) == ["accepted"]
        assert monitored.sums(1).labeled.total == 1
        assert monitored.registry.get_sample_value(
            "candor_feedback_total",
            {"model": "pneumonia", "version": "1", "finding": ""},
        )


def test_a_bad_batch_does_not_harm_its_neighbors(
    monitored: MonitoredModel, caplog: pytest.LogCaptureFixture
) -> None:
    monitored.serve(make_row(1))
    heard: SimpleQueue[tuple[str, BaseException | None]] = SimpleQueue()
    batches = {
        "good": [make_row(2)],
        "twice": [make_row(1)],
        "stranger": [make_row(3, watched_version_id=77)],
        "impossible": [make_row(5)._replace(confidence=1.5)],
        "fine": [make_row(4)],
    }

    def hear(name: str, error: BaseException | None) -> None:
        heard.put((name, error))

    with monitored.ledger.write():  # keep the writer waiting, so that all of them share one commit
        for name, rows in batches.items():
            monitored.recorder.record(rows, partial(hear, name))
        future = monitored.recorder.feedback([label(1)])
    got = dict(heard.get(timeout=PATIENCE_S) for _ in batches)
    assert future.result(timeout=PATIENCE_S)[0].status == "accepted"
    kinds = {name: type(error) for name, error in got.items()}
    assert kinds == {
        "good": type(None),
        "twice": IntegrityError,
        "stranger": NotRegistered,
        "impossible": ValueError,
        "fine": type(None),
    }
    assert monitored.sums().served.sum() == 3
    assert monitored.metric("predictions_total") == 3


def test_a_locked_database_fails_those_who_wait_and_no_one_later(
    tmp_path: Path, clock: Clock
) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock, timeout_s=0.02) as monitored:
        monitored.serve(make_row(1))
        other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="locked"):
            monitored.serve(make_row(2))
        with pytest.raises(OperationalError, match="locked"):
            monitored.label(label(1))
        other.execute("ROLLBACK")
        other.close()
        monitored.serve(make_row(2))
        assert monitored.label(label(1), label(2)) == ["accepted", "accepted"]
        assert_same_state(*monitored.detectors())


def test_a_callback_that_raises_does_not_stop_the_writer(
    monitored: MonitoredModel, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(error: BaseException | None) -> None:
        raise ZeroDivisionError

    monitored.recorder.record([make_row(1)], explode)
    monitored.serve(make_row(2))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert monitored.sums().served.sum() == 2


def test_a_fault_in_counting_neither_hides_the_commit_nor_stops_the_writer(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(type(monitored.metrics), "count", lambda *_: 1 / 0)
        monitored.serve(make_row(1))
        assert monitored.label(label(1)) == ["accepted"]
    monitored.serve(make_row(2))
    assert {record.levelname for record in caplog.records} == {"ERROR"}


def test_nothing_is_counted_before_it_is_committed(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.ledger.sum_changes.SumChanges.save", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        monitored.serve(make_row(1))
    assert monitored.rows("SELECT count(*) FROM prediction") == [(0,)]
    assert monitored.metric("predictions_total") == 0


def test_a_joined_label_and_another_in_one_commit_are_not_confused(
    monitored: MonitoredModel,
) -> None:
    monitored.label(by_request("scan-1"))
    heard: SimpleQueue[BaseException | None] = SimpleQueue()
    with monitored.ledger.write():  # keep the writer waiting, so that both share one commit
        monitored.recorder.record([make_row(1, request_id="scan-1")], heard.put)
        future = monitored.recorder.feedback([label(77)])
    assert heard.get(timeout=PATIENCE_S) is None
    assert [result.status.value for result in future.result(timeout=PATIENCE_S)] == ["unknown"]
    assert monitored.sums().labeled.total == 1


def test_two_recorders_on_one_ledger_count_every_label_once(ledger_url: str, clock: Clock) -> None:
    with MonitoredModel(ledger_url, clock) as one, MonitoredModel(ledger_url, clock) as other:
        one.serve(*(make_row(number) for number in range(60)))
        futures = [
            monitored.recorder.feedback([label(number)])
            for number in range(60)
            for monitored in (one, other)
        ]
        statuses = [future.result(timeout=PATIENCE_S)[0].status.value for future in futures]
        assert (statuses.count("accepted"), statuses.count("unchanged")) == (60, 60)
        assert one.sums().labeled.total == 60
        assert_same_state(*one.detectors())


def test_closing_writes_what_waits_and_then_refuses(ledger_url: str, clock: Clock) -> None:
    monitored = MonitoredModel(ledger_url, clock)
    heard: SimpleQueue[BaseException | None] = SimpleQueue()
    for number in range(100):
        monitored.recorder.record([make_row(number)], heard.put)
    monitored.recorder.close()
    assert [heard.get_nowait() for _ in range(100)] == [None] * 100
    assert monitored.sums().served.sum() == 100
    with pytest.raises(RecorderClosed):
        monitored.serve(make_row(200))
    with pytest.raises(RecorderClosed):
        monitored.recorder.feedback([label(1)])
    monitored.close()
