"""What a process does about drift alarms of classes and findings: within limits, once, in words."""

import functools
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from calibration.calibrators.temperature import sigmoid
from calibration.drift.state import DriftSettings
from model_store.store.canary import start_canary
from model_store.store.store import Store
from monitoring.feedback import FeedbackItem
from monitoring.ledger import Ledger
from monitoring.maintenance.worker import MaintenanceWorker
from monitoring.recalibration import AnswerFilter, on_alarm, publication, recalibrate
from monitoring.recalibration.answers import read_since
from monitoring.recalibration.limits import AlarmPolicy, RecalibrationLimits
from monitoring.recalibration.on_alarm import AlarmResponder
from monitoring.reports.report import calibration_report
from monitoring.reports.timeline import read_timeline
from tests.builders.answers import DAY_NS, SECOND_NS
from tests.builders.bundles import build_bundle
from tests.builders.findings import findings_bundle
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel, answer
from tests.builders.processes import wait_until

WIDE: dict[str, Any] = {
    "label_changes": True,
    "limits": RecalibrationLimits(factor=4.0, bias=4.0),
}
Reopen = Callable[..., MonitoredModel]


@pytest.fixture(scope="module")
def place(published_once: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `store` and `drifted` copy."""
    folder = tmp_path_factory.mktemp("drifted")
    store = Store(Path(shutil.copytree(published_once.root, folder / "store")))
    for name, build in (
        ("tiny", build_bundle),
        *[("chest", functools.partial(findings_bundle))] * 2,
    ):
        store.promote(name, store.publish(name, build))
    for name, fill in (("tiny", functools.partial(answer, count=900, sharp=1.6)), ("chest", see)):
        path, card = folder / f"{name}.db", store.read(name).card
        with MonitoredModel(path, Clock(), card=card, settings=SETTINGS[name]) as monitored:
            fill(monitored)
    return folder


@pytest.fixture
def store(place: Path, tmp_path: Path) -> Store:
    """Version 2 of "tiny" and of "chest" in production; version 1 can be rolled back to."""
    return Store(Path(shutil.copytree(place / "store", tmp_path / "store")))


@pytest.fixture
def drifted(
    ledger_url: str, reopen: Reopen, store: Store, place: Path, tmp_path: Path
) -> MonitoredModel:
    """Version 2 of "tiny" in alarm, honest at 1.6 times its temperature, all labeled."""
    shutil.copy(place / "tiny.db", tmp_path / "ledger.db")
    monitored = reopen(card=store.read("tiny").card)
    if ledger_url.startswith("postgresql"):
        answer(monitored, 900, sharp=1.6)
    assert monitored.metric("calibration_drift_active") == 1
    return monitored


@pytest.fixture
def quiet(reopen: Reopen, store: Store) -> MonitoredModel:
    """Version 2 of "tiny", which has not answered."""
    return reopen(card=store.read("tiny").card)


def act(monitored: MonitoredModel, store: Store, action: Any, **policy: Any) -> None:
    """One look of the process that leads."""
    counter = monitored.metrics.recalibrations
    AlarmResponder(monitored.ledger, store, AlarmPolicy(action, **policy), counter=counter).look()


def history(monitored: MonitoredModel, kind: str = "recalibrated") -> list[Any]:
    with monitored.ledger.read() as connection:
        entries = read_timeline(connection, monitored.card.name)
    return [entry for entry in entries if entry["kind"] == kind]


def outcomes(monitored: MonitoredModel) -> list[tuple[str | None, str]]:
    """The finding and the outcome of each attempt; sorted by finding."""
    found = history(monitored)
    told = [(each["detail"].get("finding"), each["detail"]["outcome"]) for each in found]
    assert [each["finding"] or None for each in found] == [finding for finding, _ in told]
    return sorted(told, key=lambda each: each[0] or "")


def state(store: Store, name: str = "tiny") -> tuple[int, int | None]:
    """The newest version, and the one in production."""
    return store.versions(name)[-1], store.production(name)


def counted(monitored: MonitoredModel, outcome: str) -> float | None:
    labels = {"model": "tiny", "outcome": outcome}
    return monitored.registry.get_sample_value("candor_recalibrations_total", labels)


def test_a_proposal_is_on_the_labels_since_the_error_began_and_publishes_nothing(
    quiet: MonitoredModel, store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """As the report advises, and as the command would do."""
    answer(quiet, 900, sharp=1, seed=1)
    act(quiet, store, "promote")  # without an alarm nothing happens
    assert (history(quiet), history(quiet, "recalibrating")) == ([], [])
    clock.now_ns += DAY_NS
    began_ns = clock.now_ns
    answer(quiet, 900, sharp=1.6, seed=2)
    act(quiet, store, "propose")
    assert state(store) == (2, 2)
    (entry,) = history(quiet)
    detail, sentence = entry["detail"], entry["sentence"]
    assert (detail["outcome"], detail["by"], detail["changed"]) == ("proposed", "alarm", 0)
    (since,) = detail["options"].values()
    assert "`candor recalibrate tiny" in sentence
    assert f"--since {since}" in sentence
    assert abs(read_since(since) - began_ns) < 300 * SECOND_NS  # of 900
    assert len(history(quiet, "recalibrating")) == 1
    series = ("proposed", "published", "promoted")
    assert [counted(quiet, each) for each in series] == [1, 0, 0]  # they exist
    (told,) = (each for each in caplog.records if each.message == "recalibration on a drift alarm")
    assert told.fields["outcome"] == "proposed"
    answers = AnswerFilter(since_ns=read_since(since))
    by_hand = recalibrate(quiet.ledger, store, "tiny", answer_filter=answers, publish=False)
    assert detail["temperature"] == [by_hand.old_temperature, by_hand.new_temperature]
    assert detail["ece"] == [by_hand.before.ece, by_hand.after.ece]


def test_published_and_promoted_and_rolled_back_for_good(
    drifted: MonitoredModel, store: Store, clock: Clock
) -> None:
    act(drifted, store, "promote")
    assert state(store) == (3, 3)
    made = store.read("tiny", 3).card.provenance
    assert (made.parent_version, made.recalibrated_by) == (2, "alarm")
    assert outcomes(drifted) == [(None, "published"), (None, "promoted")]
    assert "`candor promote tiny 2`" in history(drifted)[1]["sentence"]  # rolls back
    store.promote("tiny", 2)  # somebody rolls back; the old alarm is still active
    clock.now_ns += 30 * DAY_NS
    answer(drifted, 300, sharp=1.6, seed=1)
    act(drifted, store, "promote")
    assert state(store) == (3, 2)


def test_publish_waits_for_a_person_however_long(
    drifted: MonitoredModel, store: Store, clock: Clock
) -> None:
    for day in range(3):
        act(drifted, store, "publish")
        clock.now_ns += 2 * DAY_NS
        answer(drifted, 200, sharp=1.6, seed=day)
    assert state(store) == (3, 2)
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
    act(drifted, store, "promote")
    assert state(store) == (3, 2)
    (entry,) = history(drifted)
    assert (entry["detail"]["outcome"], entry["detail"]["by"]) == ("published", "person")


@pytest.mark.parametrize("action", ["publish", "promote"])
def test_labels_that_may_be_chosen_are_not_enough_to_publish(
    quiet: MonitoredModel, store: Store, action: str
) -> None:
    answer(quiet, 2_000, sharp=1.6, labeled=0.5)
    act(quiet, store, action)
    assert state(store) == (2, 2)
    (entry,) = history(quiet)
    assert (entry["detail"]["outcome"], entry["detail"]["fair_labels"]) == ("proposed", False)


def test_audited_labels_are_enough_and_are_counted_as_the_watch_counts_them(
    reopen: Reopen, store: Store
) -> None:
    monitored = reopen(card=store.read("tiny").card, settings=DriftSettings(audit=True))
    answer(monitored, 900, sharp=1.6, audit=0.1)
    answer(monitored, 3_000, sharp=1.6, labeled=0.9, seed=1)  # later, and no audit
    act(monitored, store, "promote")
    assert store.production("tiny") == 3
    published = history(monitored)[0]["detail"]
    assert published["audited"]
    # not those of the audit among the last few hundred of all, which are none
    assert published["labels"] > 300


def test_limits_count_from_what_a_person_published(
    drifted: MonitoredModel, reopen: Reopen, store: Store, tmp_path: Path, clock: Clock
) -> None:
    act(drifted, store, "promote", limits=RecalibrationLimits(factor=1.2))
    (entry,) = history(drifted)
    assert (entry["detail"]["outcome"], "1.20" in entry["sentence"]) == ("limited", True)
    assert state(store) == (2, 2)
    clock.now_ns += 2 * DAY_NS
    answer(drifted, 200, sharp=1.6, seed=9)
    limits = RecalibrationLimits(factor=2.0)
    act(drifted, store, "promote", limits=limits)
    assert state(store) == (3, 3)
    with MonitoredModel(tmp_path / "next.db", clock, card=store.read("tiny").card) as monitored:
        answer(monitored, 900, sharp=1.6, seed=3)  # once more: 1.6 each, but 2.56 in all
        act(monitored, store, "promote", limits=limits)
        assert outcomes(monitored) == [(None, "limited")]
    assert state(store) == (3, 3)


@pytest.mark.parametrize(
    ("changes", "bias", "outcome"),
    [(False, 2.0, "proposed"), (True, 2.0, "published"), (True, 0.1, "limited")],
)
def test_predicted_classes_change_only_if_the_setting_and_the_limit_say_so(
    quiet: MonitoredModel, store: Store, *, changes: bool, bias: float, outcome: str
) -> None:
    answer(quiet, 900, sharp=1.6, bias=(0.9, -0.9, 0.0))
    limits = RecalibrationLimits(factor=3.0, bias=bias)
    act(quiet, store, "publish", label_changes=changes, limits=limits)
    (entry,) = history(quiet)
    detail = entry["detail"]
    assert detail["outcome"] == outcome
    assert detail["remedy"] == ("temperature_bias" if changes else "temperature")
    assert (detail["changed"] > 0) is changes
    # A temperature alone would make answers of one class worse, which only a person may accept.
    assert bool(detail["harmed"]) is not changes
    assert state(store) == (3 if outcome == "published" else 2, 2)


def test_attempts_need_time_and_labels_in_between(
    drifted: MonitoredModel, store: Store, clock: Clock
) -> None:
    """It is not repeated every few seconds, nor on the same labels."""
    for labels, days, attempts in ((0, 0, 1), (0, 0, 1), (99, 2, 1), (1, 0, 2), (100, 0, 2)):
        if labels:
            answer(drifted, labels, sharp=1.0, seed=labels)
        clock.now_ns += days * DAY_NS
        act(drifted, store, "propose", interval_s=86_400.0, min_labels=100)
        assert len(history(drifted)) == attempts


@pytest.mark.parametrize("ledger_url", BOTH_DATABASES, indirect=True)
def test_two_that_lead_for_a_moment_make_one_version(
    drifted: MonitoredModel,
    store: Store,
    ledger_url: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other one acts between this one's look and its claim."""
    claim, counter = on_alarm.claim, drifted.metrics.recalibrations
    with Ledger(ledger_url, clock=clock) as ledger:

        def late(*args: Any, **names: Any) -> bool:
            monkeypatch.setattr(on_alarm, "claim", claim)
            AlarmResponder(ledger, store, AlarmPolicy("publish"), counter=counter).look()
            return claim(*args, **names)

        monkeypatch.setattr(on_alarm, "claim", late)
        act(drifted, store, "publish")
    assert state(store) == (3, 2)
    assert len(history(drifted)) == 1


class Killed(BaseException):
    """Ends a process where it is raised."""


def kill(*_: object, **__: object) -> None:
    raise Killed


def die(monkeypatch: pytest.MonkeyPatch, look: Callable[[], None], **places: Any) -> None:
    """Look, and be killed at these places, by their dotted names."""
    with monkeypatch.context() as patch:
        for place, at in places.items():
            patch.setattr(place.replace("__", "."), at)
        with pytest.raises(Killed):
            look()


@pytest.mark.parametrize(
    ("at", "production", "outcome"),
    [
        ("monitoring__recalibration__publication__note", 2, "published"),
        ("model_store__store__store__Store__promote", 3, "promoted"),
    ],
)
def test_what_a_killed_process_left_is_finished_by_the_next(
    drifted: MonitoredModel,
    store: Store,
    at: str,
    production: int,
    outcome: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look = functools.partial(act, drifted, store, "promote")
    die(monkeypatch, look, **{at: kill})
    assert state(store) == (3, 2)
    look()
    look()
    assert state(store) == (3, production)
    assert history(drifted)[-1]["detail"]["outcome"] == outcome


def test_a_canary_is_not_disturbed(drifted: MonitoredModel, store: Store) -> None:
    start_canary(store, "tiny", 1, mode="header")
    act(drifted, store, "promote")
    assert state(store) == (3, 2)
    assert "canary" in history(drifted)[0]["sentence"]


def test_a_store_that_cannot_be_written_is_told(
    drifted: MonitoredModel, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied", str(store.root))

    monkeypatch.setattr(Store, "publish", read_only)
    act(drifted, store, "publish")
    assert outcomes(drifted) == [(None, "failed")]
    assert "[Errno 13]" in history(drifted)[0]["sentence"]


def test_the_leader_does_it_and_survives_a_bug(quiet: MonitoredModel) -> None:
    looks: list[str] = []

    def look() -> None:
        looks.append("looked")
        if len(looks) == 1:
            raise RuntimeError("a bug")

    how: dict[str, Any] = {"on_alarm": look, "look_s": 0.01, "models_s": 0.01}
    with MaintenanceWorker(quiet.ledger, quiet.recorder, CollectorRegistry(), **how):
        wait_until(lambda: len(looks) > 2, "looks after a bug")


def test_an_alarm_that_has_healed_is_not_recalibrated(
    drifted: MonitoredModel, store: Store
) -> None:
    """Its labels have been corrected: answers are right as often as they are confident."""
    rows = drifted.rows("SELECT prediction_id, predicted, confidence FROM prediction")
    rng, classes = np.random.default_rng(0), drifted.card.classes
    right = (rng.random() <= confidence for *_, confidence in rows)
    drifted.label(
        *(
            FeedbackItem(classes[(predicted + (not ok)) % len(classes)], key)
            for (key, predicted, _), ok in zip(rows, right, strict=True)
        )
    )
    act(drifted, store, "promote")
    assert outcomes(drifted) == [(None, "refused")]
    assert state(store) == (2, 2)


# Findings

SHIFT = (1.4, 0.0, 1.4)  # by which the log-odds are too low: of Edema and Mass
SETTINGS = {"tiny": None, "chest": DriftSettings(average_run_length=1_000)}


def see(chest: MonitoredModel, images: int = 600, shift: Any = SHIFT, *, first: int = 0) -> None:
    """Serve and label images whose findings are present more often than said."""
    rng, now_ns = np.random.default_rng(first), chest.ledger.clock()
    logits = rng.normal(-1, 1.5, (images, 3))
    present = rng.random((images, 3)) < sigmoid(logits + np.array(shift))
    at = range(first, first + images)
    for n in range(0, images, 10):  # ten in a minute
        part = sigmoid(logits[n : n + 10])
        chest.serve_findings(at[n : n + 10], part, served_at_ns=now_ns + n * 6 * 10**9)
    chest.label_findings(at, present)


@pytest.fixture
def chest(place: Path, tmp_path: Path, reopen: Reopen, store: Store) -> Iterator[MonitoredModel]:
    """Version 2, whose Edema and Mass are in alarm and whose Effusion is not."""
    shutil.copy(place / "chest.db", tmp_path / "ledger.db")
    opened = reopen(card=store.read("chest").card, settings=SETTINGS["chest"])
    active = [opened.detectors(key)[0].active for key in opened.watched_version_ids]
    assert active == [True, False, True]
    return opened


def both(*results: str) -> list[tuple[str, str]]:
    """These outcomes, of either finding that is in alarm."""
    return [(finding, outcome) for finding in ("Edema", "Mass") for outcome in results]


def changed_findings(store: Store, version: int = 3) -> list[str]:
    before, after = (store.read("chest", each).card.findings or () for each in (2, version))
    return [old.name for old, new in zip(before, after, strict=True) if old != new]


def later(chest: MonitoredModel, clock: Clock) -> None:
    clock.now_ns += 2 * DAY_NS
    see(chest, 150, first=clock.now_ns // DAY_NS * 1_000)


def test_each_finding_in_alarm_gets_its_turn_and_what_the_command_proposes(
    chest: MonitoredModel, store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    wide = {"limits": WIDE["limits"]}
    for _ in range(2):
        act(chest, store, "propose", **wide)
        assert outcomes(chest) == both("proposed")  # one attempt a day
    entry = history(chest)[0]
    assert entry["detail"]["options"] == {"finding": entry["finding"]}  # it was always so
    assert "class" not in entry["sentence"]  # a finding has none
    by_hand = recalibrate(chest.ledger, store, "chest", finding=entry["finding"], publish=False)
    assert entry["detail"]["ece"] == [by_hand.before.ece, by_hand.after.ece]
    later(chest, clock)
    act(chest, store, "publish", **wide)  # presence changes only if the setting says so
    assert outcomes(chest) == both("proposed", "proposed")
    message = "recalibration on a drift alarm"
    logged = [each.fields["finding"] for each in caplog.records if each.message == message]
    assert logged == 2 * ["Edema", "Mass"]


def test_findings_in_alarm_together_share_one_version(
    chest: MonitoredModel, store: Store, clock: Clock
) -> None:
    limits = RecalibrationLimits(factor=4.0, bias=0.1)
    act(chest, store, "publish", label_changes=True, limits=limits)
    assert outcomes(chest) == both("limited")  # of the finding
    for _ in range(2):
        later(chest, clock)
        act(chest, store, "promote", **WIDE)
    assert outcomes(chest) == both("limited", "published", "promoted")
    assert state(store, "chest") == (3, 3)
    assert changed_findings(store) == ["Edema", "Mass"]
    biases = store.read("chest", 3).card.findings or ()
    measured = [(each.calibration.class_bias or (0, 0))[1] for each in biases]
    assert measured == pytest.approx(SHIFT, abs=0.4)
    store.promote("chest", 2)
    later(chest, clock)
    act(chest, store, "promote", **WIDE)
    assert state(store, "chest") == (3, 2)  # rolled back for good


def test_a_later_alarm_waits_for_the_remedy_that_waits(
    reopen: Reopen, store: Store, clock: Clock
) -> None:
    chest = reopen(card=store.read("chest").card, settings=SETTINGS["chest"])
    for first, images, shift in ((0, 400, (1.4, 0.0, 0.0)), (10_000, 600, SHIFT)):
        see(chest, images, shift, first=first)
        act(chest, store, "publish", **WIDE)
        clock.now_ns += 2 * DAY_NS
    assert (state(store, "chest"), changed_findings(store)) == ((3, 2), ["Edema"])
    assert outcomes(chest) == [("Edema", "published"), ("Mass", "refused")]


def test_a_kill_during_the_second_fit_uses_up_the_attempt_of_both(
    chest: MonitoredModel, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*args: object, **named: Any) -> Any:
        return kill() if named["finding"] == "Mass" else recalibrate(*args, **named)

    look = functools.partial(act, chest, store, "publish", **WIDE)
    die(monkeypatch, look, monitoring__recalibration__on_alarm__recalibrate=fit)
    look()
    assert state(store, "chest") == (2, 2)
    later(chest, clock)
    look()
    assert (state(store, "chest"), changed_findings(store)) == ((3, 2), ["Edema", "Mass"])


@pytest.mark.parametrize("at", [1, 2])
def test_a_version_that_was_published_without_a_note_is_found(
    chest: MonitoredModel, store: Store, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process dies before it notes what became of the first finding, or of the second."""
    calls, note = count(1), publication.note

    def noted(*args: Any) -> None:
        return kill() if next(calls) == at else note(*args)

    look = functools.partial(act, chest, store, "publish", **WIDE)
    places = (f"monitoring__recalibration__{each}__note" for each in ("publication", "on_alarm"))
    die(monkeypatch, look, **dict.fromkeys(places, noted))
    look()
    assert (outcomes(chest), state(store, "chest")) == (both("published"), (3, 2))
