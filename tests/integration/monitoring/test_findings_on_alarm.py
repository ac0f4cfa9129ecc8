"""What a process does by itself about the alarms of a model with findings: about each finding, and
it says about which.
"""

import functools
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.drift.state import DriftSettings
from calibration.findings.calibrator import sigmoid
from model_store.store.store import Store
from monitoring.feedback import FeedbackItem
from monitoring.recalibration import on_alarm, recalibrate
from monitoring.recalibration.answers import AnswerFilter
from monitoring.recalibration.on_alarm import AlarmPolicy, AlarmResponder, RecalibrationLimits
from monitoring.reports.timeline import read_timeline
from tests.builders.answers import DAY_NS, prediction_id
from tests.builders.findings import FINDINGS, findings_bundle
from tests.builders.monitored import Clock, MonitoredModel

SHIFT = (1.4, 0.0, 1.4)  # by which the log-odds are too low: of Edema and Mass

WIDE = RecalibrationLimits(factor=4.0, bias=4.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for _ in range(2):  # version 1 can be rolled back to
        store.publish("chest", functools.partial(findings_bundle))
    store.promote("chest", 2)
    return store


@pytest.fixture
def answer(clock: Clock) -> Callable[..., None]:
    """Serve and label images whose findings are present more often than said."""
    numbers = count()

    def more(chest: MonitoredModel, images: int, shift: Any = SHIFT) -> None:
        first = next(numbers) * 10_000
        rng = np.random.default_rng(first)
        logits = rng.normal(-1, 1.5, (images, 3))
        present = rng.random((images, 3)) < sigmoid(logits + np.array(shift))
        at = range(first, first + images)
        chest.serve_findings(at, sigmoid(logits))
        words = np.where(present, "present", "absent").tolist()
        chest.label(
            *(
                FeedbackItem("", prediction_id(n), findings=dict(zip(FINDINGS, row, strict=True)))
                for n, row in zip(at, words, strict=True)
            )
        )

    return more


@pytest.fixture
def chest(
    tmp_path: Path, clock: Clock, store: Store, answer: Callable[..., None]
) -> Iterator[MonitoredModel]:
    """Version 2, whose Edema and Mass are in alarm and whose Effusion is not."""
    settings = DriftSettings(average_run_length=1_000)
    with MonitoredModel(
        tmp_path / "ledger.db", clock, card=store.read("chest").card, settings=settings
    ) as opened:
        answer(opened, 600)
        active = [opened.detectors(key)[0].active for key in opened.watched_version_ids]
        assert active == [True, False, True]
        yield opened


def responder(chest: MonitoredModel, store: Store, action: Any, **policy: Any) -> AlarmResponder:
    counter = chest.metrics.recalibrations
    return AlarmResponder(chest.ledger, store, AlarmPolicy(action, **policy), counter=counter)


def outcomes(chest: MonitoredModel) -> list[tuple[str, str, str | None]]:
    """The finding whose history says it, the outcome, and the finding in its detail."""
    with chest.ledger.read() as connection:
        entries = read_timeline(connection, "chest")
    return [
        (entry["finding"], entry["detail"]["outcome"], entry["detail"].get("finding"))
        for entry in entries
        if entry["kind"] == "recalibrated"
    ]


def changed_findings(store: Store, version: int) -> list[str]:
    before, after = (store.read("chest", each).card.findings or () for each in (2, version))
    return [old.name for old, new in zip(before, after, strict=True) if old != new]


def test_each_finding_in_alarm_gets_its_turn(
    chest: MonitoredModel,
    store: Store,
    clock: Clock,
    answer: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    acting = responder(chest, store, "propose", limits=WIDE)
    acting.look()
    acting.look()
    assert outcomes(chest) == [("Edema", "proposed", "Edema")]  # one attempt a day
    for _ in range(2):
        clock.now_ns += 2 * DAY_NS
        answer(chest, 150)
        acting.look()
    assert [finding for finding, *_ in outcomes(chest)] == ["Edema", "Mass", "Edema"]
    logged = [
        each.fields["finding"]  # type: ignore[attr-defined]
        for each in caplog.records
        if each.message == "recalibration on a drift alarm"
    ]
    assert logged == ["Edema", "Mass", "Edema"]


def test_it_proposes_what_the_command_proposes(chest: MonitoredModel, store: Store) -> None:
    responder(chest, store, "propose", limits=WIDE).look()
    with chest.ledger.read() as connection:
        (entry,) = (
            each
            for each in read_timeline(connection, "chest", finding="Edema")
            if each["kind"] == "recalibrated"
        )
    last, number, *rest = entry["detail"]["options"].split()
    assert (last, rest) == ("--last", ["--finding", "Edema"])
    by_hand = recalibrate(
        chest.ledger,
        store,
        "chest",
        finding="Edema",
        answer_filter=AnswerFilter(last=int(number)),
        publish=False,
    )
    assert entry["detail"]["ece"] == [by_hand.before.ece, by_hand.after.ece]
    assert "class" not in entry["sentence"]  # a finding has none


@pytest.mark.parametrize("allowed", [False, True])
def test_presence_changes_only_if_the_setting_says_so(
    chest: MonitoredModel, store: Store, allowed: bool
) -> None:
    responder(chest, store, "publish", label_changes=allowed, limits=WIDE).look()
    assert outcomes(chest) == [("Edema", "published" if allowed else "proposed", "Edema")]
    assert store.versions("chest") == ([1, 2, 3] if allowed else [1, 2])
    if allowed:
        assert changed_findings(store, 3) == ["Edema"]


def test_a_published_version_of_one_finding_does_not_stop_the_other(
    chest: MonitoredModel, store: Store, clock: Clock, answer: Callable[..., None]
) -> None:
    acting = responder(chest, store, "publish", label_changes=True, limits=WIDE)
    for _ in range(4):
        acting.look()
        clock.now_ns += 2 * DAY_NS
        answer(chest, 150)
    assert outcomes(chest) == [("Edema", "published", "Edema"), ("Mass", "published", "Mass")]
    assert [changed_findings(store, number) for number in (3, 4)] == [["Edema"], ["Mass"]]
    assert store.production("chest") == 2


def test_promoted_and_rolled_back_for_good(
    chest: MonitoredModel, store: Store, clock: Clock, answer: Callable[..., None]
) -> None:
    acting = responder(chest, store, "promote", label_changes=True, limits=WIDE)
    acting.look()
    assert store.production("chest") == 3
    assert outcomes(chest) == [("Edema", "published", "Edema"), ("Edema", "promoted", "Edema")]
    store.promote("chest", 2)
    clock.now_ns += 2 * DAY_NS
    answer(chest, 150)
    acting.look()
    assert changed_findings(store, store.production("chest") or 0) == ["Mass"]


def test_the_limits_are_of_the_finding(chest: MonitoredModel, store: Store) -> None:
    limits = RecalibrationLimits(factor=4.0, bias=0.1)
    responder(chest, store, "publish", label_changes=True, limits=limits).look()
    assert outcomes(chest) == [("Edema", "limited", "Edema")]
    assert store.versions("chest") == [1, 2]


class Killed(BaseException):
    """Ends a process where it is raised."""


def test_a_version_that_another_finding_led_to_is_not_found_again(
    chest: MonitoredModel,
    store: Store,
    clock: Clock,
    answer: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process dies during the fit of Edema; then Mass leads to a version."""

    def kill(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(on_alarm, "recalibrate", kill)
        with pytest.raises(Killed):
            responder(chest, store, "publish").look()
    acting = responder(chest, store, "publish", label_changes=True, limits=WIDE)
    for _ in range(4):
        clock.now_ns += 2 * DAY_NS
        answer(chest, 150)
        acting.look()
    assert outcomes(chest) == [("Mass", "published", "Mass"), ("Edema", "published", "Edema")]
    assert [changed_findings(store, number) for number in (3, 4)] == [["Mass"], ["Edema"]]


def test_a_version_that_was_published_without_a_note_is_found(
    chest: MonitoredModel, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object, **__: object) -> None:
        raise Killed

    acting = responder(chest, store, "publish", label_changes=True, limits=WIDE)
    with monkeypatch.context() as patch:
        patch.setattr("monitoring.recalibration.publication.note", kill)
        with pytest.raises(Killed):
            acting.look()
    acting.look()
    assert outcomes(chest) == [("Edema", "published", "Edema")]
    assert store.versions("chest") == [1, 2, 3]
