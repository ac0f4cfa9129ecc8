"""What a process does about alarms of a model with findings: about each, named."""

import functools
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.calibrators.temperature import sigmoid
from calibration.drift.state import DriftSettings
from model_store.store.store import Store
from monitoring.recalibration import on_alarm, publication, recalibrate
from monitoring.recalibration.limits import AlarmPolicy, RecalibrationLimits
from monitoring.recalibration.on_alarm import AlarmResponder
from monitoring.reports.timeline import read_timeline
from tests.builders.answers import DAY_NS
from tests.builders.findings import findings_bundle
from tests.builders.monitored import Clock, MonitoredModel

SHIFT = (1.4, 0.0, 1.4)  # by which the log-odds are too low: of Edema and Mass

WIDE = RecalibrationLimits(factor=4.0, bias=4.0)


SETTINGS = DriftSettings(average_run_length=1_000)


def answer(chest: MonitoredModel, images: int, shift: Any = SHIFT, *, first: int = 0) -> None:
    """Serve and label images whose findings are present more often than said."""
    rng, now_ns = np.random.default_rng(first), chest.ledger.clock()
    logits = rng.normal(-1, 1.5, (images, 3))
    present = rng.random((images, 3)) < sigmoid(logits + np.array(shift))
    at = range(first, first + images)
    for n in range(0, images, 10):  # ten in a minute
        part = sigmoid(logits[n : n + 10])
        chest.serve_findings(at[n : n + 10], part, served_at_ns=now_ns + n * 6 * 10**9)
    chest.label_findings(at, present)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `store` and `chest` copy."""
    folder = tmp_path_factory.mktemp("chest")
    store = Store(folder / "store")
    for _ in range(2):
        store.publish("chest", functools.partial(findings_bundle))
    store.promote("chest", 2)
    card = store.read("chest").card
    with MonitoredModel(folder / "ledger.db", Clock(), card=card, settings=SETTINGS) as chest:
        answer(chest, 600)
    return folder


@pytest.fixture
def store(place: Path, tmp_path: Path) -> Store:
    """Version 2 in production; version 1 can be rolled back to."""
    return Store(Path(shutil.copytree(place / "store", tmp_path / "store")))


@pytest.fixture
def chest(place: Path, tmp_path: Path, clock: Clock, store: Store) -> Iterator[MonitoredModel]:
    """Version 2, whose Edema and Mass are in alarm and whose Effusion is not."""
    path, card = shutil.copy(place / "ledger.db", tmp_path), store.read("chest").card
    with MonitoredModel(Path(path), clock, card=card, settings=SETTINGS) as opened:
        active = [opened.detectors(key)[0].active for key in opened.watched_version_ids]
        assert active == [True, False, True]
        yield opened


def responder(chest: MonitoredModel, store: Store, action: Any, **policy: Any) -> AlarmResponder:
    counter = chest.metrics.recalibrations
    return AlarmResponder(chest.ledger, store, AlarmPolicy(action, **policy), counter=counter)


def outcomes(chest: MonitoredModel) -> list[tuple[str, str, str | None]]:
    """The finding whose history says it, the outcome, and the finding in its detail; sorted."""
    with chest.ledger.read() as connection:
        entries = read_timeline(connection, "chest")
    return sorted(
        (entry["finding"], entry["detail"]["outcome"], entry["detail"].get("finding"))
        for entry in entries
        if entry["kind"] == "recalibrated"
    )


def changed_findings(store: Store, version: int) -> list[str]:
    before, after = (store.read("chest", each).card.findings or () for each in (2, version))
    return [old.name for old, new in zip(before, after, strict=True) if old != new]


def test_each_finding_in_alarm_gets_its_turn(
    chest: MonitoredModel,
    store: Store,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    acting = responder(chest, store, "propose", limits=WIDE)
    both = [("Edema", "proposed", "Edema"), ("Mass", "proposed", "Mass")]
    acting.look()
    acting.look()
    assert outcomes(chest) == both  # one attempt a day
    clock.now_ns += 2 * DAY_NS
    answer(chest, 150, first=10_000)
    acting.look()
    assert outcomes(chest) == sorted(2 * both)
    logged = [
        each.fields["finding"]
        for each in caplog.records
        if each.message == "recalibration on a drift alarm"
    ]
    assert logged == 2 * ["Edema", "Mass"]


def test_it_proposes_what_the_command_proposes(chest: MonitoredModel, store: Store) -> None:
    responder(chest, store, "propose", limits=WIDE).look()
    with chest.ledger.read() as connection:
        (entry,) = (
            each
            for each in read_timeline(connection, "chest", finding="Edema")
            if each["kind"] == "recalibrated"
        )
    assert entry["detail"]["options"] == {"finding": "Edema"}  # it was always so
    by_hand = recalibrate(chest.ledger, store, "chest", finding="Edema", publish=False)
    assert entry["detail"]["ece"] == [by_hand.before.ece, by_hand.after.ece]
    assert "class" not in entry["sentence"]  # a finding has none


@pytest.mark.parametrize("allowed", [False, True])
def test_presence_changes_only_if_the_setting_says_so(
    chest: MonitoredModel, store: Store, allowed: bool
) -> None:
    responder(chest, store, "publish", label_changes=allowed, limits=WIDE).look()
    outcome = "published" if allowed else "proposed"
    assert outcomes(chest) == [("Edema", outcome, "Edema"), ("Mass", outcome, "Mass")]
    assert store.versions("chest") == ([1, 2, 3] if allowed else [1, 2])
    if allowed:
        assert changed_findings(store, 3) == ["Edema", "Mass"]


def test_findings_in_alarm_together_share_one_version(
    chest: MonitoredModel, store: Store, clock: Clock
) -> None:
    acting = responder(chest, store, "publish", label_changes=True, limits=WIDE)
    for number in range(1, 4):
        acting.look()
        clock.now_ns += 2 * DAY_NS
        answer(chest, 150, first=10_000 * number)
    assert outcomes(chest) == [("Edema", "published", "Edema"), ("Mass", "published", "Mass")]
    assert store.versions("chest") == [1, 2, 3]
    assert changed_findings(store, 3) == ["Edema", "Mass"]
    biases = store.read("chest", 3).card.findings or ()
    measured = [(each.calibration.class_bias or (0, 0))[1] for each in biases]
    assert measured == pytest.approx(SHIFT, abs=0.4)
    assert store.production("chest") == 2


def test_a_later_alarm_waits_for_the_remedy_that_waits(
    tmp_path: Path, store: Store, clock: Clock
) -> None:
    card = store.read("chest").card
    with MonitoredModel(tmp_path / "ledger.db", clock, card=card, settings=SETTINGS) as chest:
        acting = responder(chest, store, "publish", label_changes=True, limits=WIDE)
        for first, images, shift in ((0, 400, (1.4, 0.0, 0.0)), (10_000, 600, SHIFT)):
            answer(chest, images, shift, first=first)
            acting.look()
            clock.now_ns += 2 * DAY_NS
        assert changed_findings(store, 3) == ["Edema"]
        assert store.versions("chest") == [1, 2, 3]
        assert outcomes(chest) == [("Edema", "published", "Edema"), ("Mass", "refused", "Mass")]


def test_promoted_together_and_rolled_back_for_good(
    chest: MonitoredModel, store: Store, clock: Clock
) -> None:
    acting = responder(chest, store, "promote", label_changes=True, limits=WIDE)
    acting.look()
    assert store.production("chest") == 3
    each = [("Edema", "Edema"), ("Mass", "Mass")]
    assert outcomes(chest) == sorted(
        (finding, outcome, named)
        for finding, named in each
        for outcome in ("published", "promoted")
    )
    store.promote("chest", 2)
    clock.now_ns += 2 * DAY_NS
    answer(chest, 150, first=10_000)
    acting.look()
    assert (store.versions("chest"), store.production("chest")) == ([1, 2, 3], 2)


def test_the_limits_are_of_the_finding(chest: MonitoredModel, store: Store) -> None:
    limits = RecalibrationLimits(factor=4.0, bias=0.1)
    responder(chest, store, "publish", label_changes=True, limits=limits).look()
    assert outcomes(chest) == [("Edema", "limited", "Edema"), ("Mass", "limited", "Mass")]
    assert store.versions("chest") == [1, 2]


class Killed(BaseException):
    """Ends a process where it is raised."""


def test_a_kill_during_the_second_fit_uses_up_the_attempt_of_both(
    chest: MonitoredModel,
    store: Store,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def kill(*args: object, **named: Any) -> Any:
        if named["finding"] == "Mass":
            raise Killed
        return recalibrate(*args, **named)

    acting = responder(chest, store, "publish", label_changes=True, limits=WIDE)
    with monkeypatch.context() as patch:
        patch.setattr(on_alarm, "recalibrate", kill)
        with pytest.raises(Killed):
            acting.look()
    acting.look()
    assert store.versions("chest") == [1, 2]
    clock.now_ns += 2 * DAY_NS
    answer(chest, 150, first=10_000)
    acting.look()
    assert store.versions("chest") == [1, 2, 3]
    assert changed_findings(store, 3) == ["Edema", "Mass"]


@pytest.mark.parametrize("at", [1, 2])
def test_a_version_that_was_published_without_a_note_is_found(
    chest: MonitoredModel, store: Store, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process dies before it notes what became of the first finding, or of the second."""
    calls = count(1)
    note = publication.note

    def kill(*args: Any) -> None:
        if next(calls) == at:
            raise Killed
        note(*args)

    acting = responder(chest, store, "publish", label_changes=True, limits=WIDE)
    with monkeypatch.context() as patch:
        patch.setattr(publication, "note", kill)
        patch.setattr(on_alarm, "note", kill)
        with pytest.raises(Killed):
            acting.look()
    acting.look()
    published = sorted((name, "published", name) for name in ("Edema", "Mass"))
    assert outcomes(chest) == published
    assert store.versions("chest") == [1, 2, 3]
