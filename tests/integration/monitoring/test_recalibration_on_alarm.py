"""What a process does about a drift alarm: within limits, once, in plain words."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from calibration.drift.state import DriftSettings
from model_store.store.canary import start_canary
from model_store.store.store import Store
from monitoring.feedback import FeedbackItem
from monitoring.ledger.database import Ledger
from monitoring.maintenance.worker import MaintenanceWorker
from monitoring.recalibration import AnswerFilter, on_alarm, recalibrate
from monitoring.recalibration.answers import read_since
from monitoring.recalibration.limits import AlarmPolicy, RecalibrationLimits
from monitoring.recalibration.on_alarm import AlarmResponder
from monitoring.reports.report import calibration_report
from monitoring.reports.timeline import read_timeline
from tests.builders.answers import DAY_NS, SECOND_NS
from tests.builders.bundles import build_bundle
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel, answer
from tests.builders.processes import wait_until

DAY_S = 86_400.0


@pytest.fixture(scope="module")
def place(published_once: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `store` and `drifted` copy."""
    folder = tmp_path_factory.mktemp("drifted")
    store = Store(Path(shutil.copytree(published_once.root, folder / "store")))
    store.promote("tiny", store.publish("tiny", build_bundle))
    with MonitoredModel(folder / "ledger.db", Clock(), card=store.read("tiny").card) as monitored:
        answer(monitored, 900, sharp=1.6)
    return folder


@pytest.fixture
def store(place: Path, tmp_path: Path) -> Store:
    """Version 2 in production; version 1 can be rolled back to."""
    return Store(Path(shutil.copytree(place / "store", tmp_path / "store")))


@pytest.fixture
def drifted(
    ledger_url: str, clock: Clock, store: Store, place: Path, tmp_path: Path
) -> Iterator[MonitoredModel]:
    """Version 2 in alarm, honest at 1.6 times its temperature. All answers have labels."""
    shutil.copy(place / "ledger.db", tmp_path)
    with MonitoredModel(ledger_url, clock, card=store.read("tiny").card) as monitored:
        if ledger_url.startswith("postgresql"):
            answer(monitored, 900, sharp=1.6)
        assert monitored.metric("calibration_drift_active") == 1
        yield monitored


def responder(
    monitored: MonitoredModel, store: Store, action: Any, **policy: Any
) -> AlarmResponder:
    return AlarmResponder(
        monitored.ledger,
        store,
        AlarmPolicy(action, **policy),
        counter=monitored.metrics.recalibrations,
    )


def history(monitored: MonitoredModel, kind: str = "recalibrated") -> list[Any]:
    with monitored.ledger.read() as connection:
        return [entry for entry in read_timeline(connection, "tiny") if entry["kind"] == kind]


def counted(monitored: MonitoredModel, outcome: str) -> float | None:
    return monitored.registry.get_sample_value(
        "candor_recalibrations_total", {"model": "tiny", "outcome": outcome}
    )


def test_a_proposal_is_seen_everywhere_and_publishes_nothing(
    drifted: MonitoredModel, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    acting = responder(drifted, store, "propose")
    acting.look()
    assert store.versions("tiny") == [1, 2]
    (entry,) = history(drifted)
    detail = entry["detail"]
    assert (detail["outcome"], detail["by"], detail["changed"]) == ("proposed", "alarm", 0)
    assert "`candor recalibrate tiny" in entry["sentence"]
    assert len(history(drifted, "recalibrating")) == 1
    assert (counted(drifted, "proposed"), counted(drifted, "published")) == (1, 0)
    (told,) = [
        record for record in caplog.records if record.message == "recalibration on a drift alarm"
    ]
    assert told.fields["outcome"] == "proposed"


def test_it_proposes_what_the_command_proposes(tmp_path: Path, clock: Clock, store: Store) -> None:
    """On the labels since the error began, as the report advises."""
    with MonitoredModel(tmp_path / "l.db", clock, card=store.read("tiny").card) as monitored:
        answer(monitored, 900, sharp=1, seed=1)
        clock.now_ns += DAY_NS
        began_ns = clock.now_ns
        answer(monitored, 900, sharp=2, seed=2)
        responder(monitored, store, "propose").look()
        (entry,) = history(monitored)
        (since,) = entry["detail"]["options"].values()
        assert f"--since {since}" in entry["sentence"]
        assert abs(read_since(since) - began_ns) < 300 * SECOND_NS  # of 900
        answers = AnswerFilter(since_ns=read_since(since))
        by_hand = recalibrate(monitored.ledger, store, "tiny", answer_filter=answers, publish=False)
    assert entry["detail"]["temperature"] == [by_hand.old_temperature, by_hand.new_temperature]
    assert entry["detail"]["ece"] == [by_hand.before.ece, by_hand.after.ece]


def test_published_and_promoted_and_rolled_back_for_good(
    drifted: MonitoredModel, store: Store, clock: Clock
) -> None:
    acting = responder(drifted, store, "promote")
    acting.look()
    assert (store.versions("tiny"), store.production("tiny")) == ([1, 2, 3], 3)
    made = store.read("tiny", 3).card.provenance
    assert (made.parent_version, made.recalibrated_by) == (2, "alarm")
    published, promoted = history(drifted)
    assert [each["detail"]["outcome"] for each in (published, promoted)] == [
        "published",
        "promoted",
    ]
    assert "`candor promote tiny 2`" in promoted["sentence"]  # rolls back
    store.promote("tiny", 2)  # somebody rolls back; the old alarm is still active
    clock.now_ns += 30 * DAY_NS
    answer(drifted, 300, sharp=1.6, seed=1)
    acting.look()
    assert (store.versions("tiny"), store.production("tiny")) == ([1, 2, 3], 2)


def test_publish_waits_for_a_person_however_long(
    drifted: MonitoredModel, store: Store, clock: Clock
) -> None:
    acting = responder(drifted, store, "publish")
    for day in range(3):
        acting.look()
        clock.now_ns += 2 * DAY_NS
        answer(drifted, 200, sharp=1.6, seed=day)
    assert (store.versions("tiny"), store.production("tiny")) == ([1, 2, 3], 2)
    (entry,) = history(drifted)
    assert "`candor promote tiny 3`" in entry["sentence"]
    first, *others = calibration_report(drifted.ledger, "tiny", version=2).diagnosis.actions
    assert (first.code, first.version) == ("promote", 3)
    assert "recalibrate" not in {each.code for each in others}  # it is done
    store.promote("tiny", first.version)
    (followed,) = drifted.recorder.register(store.read("tiny").card)
    drifted.recorder.promote(followed).result()
    served = calibration_report(drifted.ledger, "tiny").diagnosis
    assert (served.version, served.state) == (3, "unknown")  # has no labels yet
    assert {each.code for each in served.actions} == {"label"}


def test_a_person_came_first(drifted: MonitoredModel, store: Store) -> None:
    recalibrate(drifted.ledger, store, "tiny")
    responder(drifted, store, "promote").look()
    assert (store.versions("tiny"), store.production("tiny")) == ([1, 2, 3], 2)
    (entry,) = history(drifted)
    assert (entry["detail"]["outcome"], entry["detail"]["by"]) == ("published", "person")


@pytest.mark.parametrize("action", ["publish", "promote"])
def test_labels_that_may_be_chosen_are_not_enough_to_publish(
    ledger_url: str, clock: Clock, store: Store, action: Literal["publish", "promote"]
) -> None:
    with MonitoredModel(ledger_url, clock, card=store.read("tiny").card) as monitored:
        answer(monitored, 2_000, sharp=1.6, labeled=0.5)
        responder(monitored, store, action).look()
        assert (store.versions("tiny"), store.production("tiny")) == ([1, 2], 2)
        (entry,) = history(monitored)
        assert entry["detail"]["outcome"] == "proposed"
        assert not entry["detail"]["fair_labels"]


def test_audited_labels_are_enough_and_are_counted_as_the_watch_counts_them(
    ledger_url: str, clock: Clock, store: Store
) -> None:
    settings = DriftSettings(audit=True)
    with MonitoredModel(
        ledger_url, clock, card=store.read("tiny").card, settings=settings
    ) as monitored:
        answer(monitored, 900, sharp=1.6, audit=0.1)
        answer(monitored, 3_000, sharp=1.6, labeled=0.9, seed=1)  # later, and no audit
        responder(monitored, store, "promote").look()
        assert store.production("tiny") == 3
        published = history(monitored)[0]["detail"]
        assert published["audited"]
        # not those of the audit among the last few hundred of all, which are none
        assert published["labels"] > 300


def test_a_change_beyond_the_limits_is_shown_and_not_made(
    drifted: MonitoredModel, store: Store
) -> None:
    responder(drifted, store, "promote", limits=RecalibrationLimits(factor=1.2)).look()
    assert store.versions("tiny") == [1, 2]
    (entry,) = history(drifted)
    assert entry["detail"]["outcome"] == "limited"
    assert "1.20" in entry["sentence"]


def test_limits_count_from_what_a_person_published(
    drifted: MonitoredModel, store: Store, tmp_path: Path, clock: Clock
) -> None:
    acting = responder(drifted, store, "promote", limits=RecalibrationLimits(factor=2.0))
    acting.look()
    card = store.read("tiny").card
    assert card.version == 3
    with MonitoredModel(tmp_path / "next.db", clock, card=card) as monitored:
        answer(monitored, 900, sharp=1.6, seed=3)  # once more: 1.6 each, but 2.56 in all
        responder(monitored, store, "promote", limits=RecalibrationLimits(factor=2.0)).look()
        (entry,) = history(monitored)
    assert entry["detail"]["outcome"] == "limited"
    assert store.versions("tiny") == [1, 2, 3]


@pytest.mark.parametrize("changes", [False, True])
def test_predicted_classes_change_only_if_the_setting_says_so(
    ledger_url: str, clock: Clock, store: Store, changes: bool
) -> None:
    with MonitoredModel(ledger_url, clock, card=store.read("tiny").card) as monitored:
        answer(monitored, 900, sharp=1.6, bias=(0.9, -0.9, 0.0))
        limits = RecalibrationLimits(factor=3.0, bias=2.0)
        responder(monitored, store, "publish", label_changes=changes, limits=limits).look()
        (entry,) = history(monitored)
        assert entry["detail"]["remedy"] == ("temperature_bias" if changes else "temperature")
        assert (entry["detail"]["changed"] > 0) is changes
        # A temperature alone would make answers of one class worse, which only a person may accept.
        assert bool(entry["detail"]["harmed"]) is not changes
        assert entry["detail"]["outcome"] == ("published" if changes else "proposed")
        assert store.versions("tiny") == ([1, 2, 3] if changes else [1, 2])


def test_a_bias_beyond_the_limit_is_not_published(
    ledger_url: str, clock: Clock, store: Store
) -> None:
    with MonitoredModel(ledger_url, clock, card=store.read("tiny").card) as monitored:
        answer(monitored, 900, sharp=1.6, bias=(0.9, -0.9, 0.0))
        limits = RecalibrationLimits(factor=3.0, bias=0.1)
        responder(monitored, store, "publish", label_changes=True, limits=limits).look()
        assert history(monitored)[0]["detail"]["outcome"] == "limited"
        assert store.versions("tiny") == [1, 2]


def test_attempts_need_time_and_labels_in_between(
    drifted: MonitoredModel, store: Store, clock: Clock
) -> None:
    """It is not repeated every few seconds, nor on the same labels."""
    acting = responder(drifted, store, "propose", interval_s=DAY_S, min_labels=100)
    for _ in range(3):
        acting.look()
    assert len(history(drifted)) == 1
    answer(drifted, 99, sharp=1.0, seed=1)
    clock.now_ns += 2 * DAY_NS
    acting.look()
    assert len(history(drifted)) == 1
    answer(drifted, 1, sharp=1.0, seed=2)
    acting.look()
    assert len(history(drifted)) == 2
    answer(drifted, 100, sharp=1.0, seed=3)
    acting.look()
    assert len(history(drifted)) == 2


@pytest.mark.parametrize("ledger_url", BOTH_DATABASES, indirect=True)
def test_two_that_lead_for_a_moment_make_one_version(
    drifted: MonitoredModel,
    store: Store,
    ledger_url: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other one acts between this one's look and its claim."""
    claim = on_alarm.claim
    with Ledger(ledger_url, clock=clock) as ledger:
        other = AlarmResponder(
            ledger, store, AlarmPolicy("publish"), counter=drifted.metrics.recalibrations
        )

        def late(*args: Any, **names: Any) -> bool:
            monkeypatch.setattr(on_alarm, "claim", claim)
            other.look()
            return claim(*args, **names)

        monkeypatch.setattr(on_alarm, "claim", late)
        responder(drifted, store, "publish").look()
    assert store.versions("tiny") == [1, 2, 3]
    assert len(history(drifted)) == 1


class Killed(BaseException):
    """Ends a process where it is raised."""


def kill(*_: object, **__: object) -> None:
    raise Killed


@pytest.mark.parametrize("at", ["note", "promote"])
def test_what_a_killed_process_left_is_finished_by_the_next(
    drifted: MonitoredModel, store: Store, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "monitoring.recalibration.publication.note"
            if at == "note"
            else "model_store.store.store.Store.promote",
            kill,
        )
        with pytest.raises(Killed):
            responder(drifted, store, "promote").look()
    assert (store.versions("tiny"), store.production("tiny")) == ([1, 2, 3], 2)
    responder(drifted, store, "promote").look()
    responder(drifted, store, "promote").look()
    assert store.versions("tiny") == [1, 2, 3]
    assert store.production("tiny") == (2 if at == "note" else 3)
    outcome = history(drifted)[-1]["detail"]["outcome"]
    assert outcome == ("published" if at == "note" else "promoted")


def test_a_kill_during_the_fit_uses_up_the_attempt(
    drifted: MonitoredModel, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(on_alarm, "recalibrate", kill)
        with pytest.raises(Killed):
            responder(drifted, store, "publish").look()
    responder(drifted, store, "publish").look()
    assert store.versions("tiny") == [1, 2]
    clock.now_ns += 2 * DAY_NS
    answer(drifted, 100, sharp=1.6, seed=5)
    responder(drifted, store, "publish").look()
    assert store.versions("tiny") == [1, 2, 3]


def test_a_canary_is_not_disturbed(drifted: MonitoredModel, store: Store) -> None:
    start_canary(store, "tiny", 1, mode="header")
    responder(drifted, store, "promote").look()
    assert (store.versions("tiny"), store.production("tiny")) == ([1, 2, 3], 2)
    assert "canary" in history(drifted)[0]["sentence"]


def test_a_store_that_cannot_be_written_is_told(
    drifted: MonitoredModel, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied", str(store.root))

    monkeypatch.setattr(Store, "publish", read_only)
    responder(drifted, store, "publish").look()
    assert history(drifted)[0]["detail"]["outcome"] == "failed"
    assert "[Errno 13]" in history(drifted)[0]["sentence"]


def test_without_an_alarm_nothing_happens(ledger_url: str, clock: Clock, store: Store) -> None:
    with MonitoredModel(ledger_url, clock, card=store.read("tiny").card) as monitored:
        answer(monitored, 300, sharp=1.0)
        responder(monitored, store, "promote").look()
        assert (history(monitored), history(monitored, "recalibrating")) == ([], [])
        assert counted(monitored, "promoted") == 0  # the series exists


def test_the_leader_does_it_and_survives_a_bug(drifted: MonitoredModel, store: Store) -> None:
    looks: list[str] = []

    def look() -> None:
        looks.append("looked")
        if len(looks) == 1:
            raise RuntimeError("a bug")

    with MaintenanceWorker(
        drifted.ledger,
        drifted.recorder,
        CollectorRegistry(),
        on_alarm=look,
        look_s=0.01,
        models_s=0.01,
    ):
        wait_until(lambda: len(looks) > 2)


def test_an_alarm_that_has_healed_is_not_recalibrated(
    drifted: MonitoredModel, store: Store
) -> None:
    """Its labels have been corrected: answers are right as often as they are confident."""
    rows = drifted.rows("SELECT prediction_id, predicted, confidence FROM prediction")
    rng, classes = np.random.default_rng(0), drifted.card.classes
    drifted.label(
        *(
            FeedbackItem(classes[(predicted + (rng.random() > confidence)) % len(classes)], key)
            for key, predicted, confidence in rows
        )
    )
    responder(drifted, store, "promote").look()
    assert [entry["detail"]["outcome"] for entry in history(drifted)] == ["refused"]
    assert store.versions("tiny") == [1, 2]
