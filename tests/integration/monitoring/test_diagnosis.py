"""Scenes and the codes of their diagnosis, through a real ledger."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from monitoring.diagnosis import reading
from monitoring.diagnosis.diagnosis import diagnose, read_grounds
from monitoring.diagnosis.facts import Diagnosis
from monitoring.diagnosis.words import ACTIONS_SHOWN, words_of
from monitoring.ledger.versions import choose
from tests.builders.answers import DAY_NS
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.scenes import card
from tests.builders.streams import Stream, send, stream

DAYS, N = 50, 2_400


class Scene(NamedTuple):
    """A stream, how it is sent, and the codes expected; `who`: key and values, "" for all.

    `confusion`: of the card, which promises rates.
    """

    given: Callable[[Stream], Stream]
    state: str
    reasons: str = ""
    act: str = ""
    who: str | None = None
    later_days: int = 0
    delay_days: int = 0
    tags: bool = True
    confusion: tuple[tuple[int, ...], ...] | None = None


def step(given: Stream) -> Stream:
    return given.wrong_by(0.15, given.day >= 30)


def two_sites(given: Stream) -> Stream:
    return given.wrong_by(0.4, (given.day >= 25) & (given.site < 2))


def healed(given: Stream) -> Stream:
    return given.wrong_by(0.25, (given.day >= 12) & (given.day < 28))


def labels_end(given: Stream) -> Stream:
    return given.where(labeled=given.day < DAYS - 28)


def a_site_without_labels(given: Stream) -> Stream:
    return given.where(labeled=given.site != 2)


def a_site_whose_labels_ended(given: Stream) -> Stream:
    return given.where(labeled=(given.site != 2) | (given.day < 25))


def chosen_by_outcome(given: Stream) -> Stream:
    return given.where(labeled=given.rng.random(N) < np.where(given.right, 0.3, 0.9))


def audit_after_chosen_labels(given: Stream) -> Stream:
    """What the report asks for where labels were chosen: new answers are drawn, and labeled."""
    given = chosen_by_outcome(given)
    drawn = (given.day >= 30) & (given.rng.random(N) < 0.4)
    return given.where(drawn=drawn, labeled=given.labeled | drawn)


def wrong_ones_labeled_late(given: Stream) -> Stream:
    """The newest labels are those of right answers, so confidence seems too low."""
    return given.where(labeled=given.right | (given.day < 42))


def whole_audit(given: Stream) -> Stream:
    drawn = given.rng.random(N) < 0.25
    return given.where(drawn=drawn, labeled=drawn)


def audit_without_16_percent(given: Stream) -> Stream:
    """Mostly wrong answers have no label, which hides that confidence is too high."""
    given = given.wrong_by(0.1, given.day >= 0)
    drawn = given.rng.random(N) < 0.4
    return given.where(drawn=drawn, labeled=drawn & (given.right | (given.rng.random(N) < 0.6)))


def few(given: Stream) -> Stream:
    return given.where(labeled=np.arange(N) % 40 == 0)


def far_images_of_a_site(given: Stream) -> Stream:
    """Most images of a site are out of scope, and answered at random; its others are as before."""
    far = (given.site == 2) & (given.day >= 20) & (given.rng.random(N) < 0.8)
    return given.wrong_by(0.45, far).where(scope_p=np.where(far, 0.01, 0.5))


SCENES = {
    "calibrated": Scene(lambda given: given, "fine"),
    "step": Scene(step, "alarm", "alarm_active deviation", "recalibrate", ""),
    "step, newest labels due": Scene(
        step, "alarm", "alarm_active deviation", "recalibrate", "", delay_days=2
    ),
    "two sites, rates promised": Scene(
        *(two_sites, "alarm", "alarm_active deviation operating_point", "recalibrate_group"),
        "tag:site S0 S1",
        confusion=((390, 110), (110, 390)),
    ),
    "far images of a site": Scene(
        *(far_images_of_a_site, "alarm", "alarm_active deviation explained", "find_cause"),
        "tag:site S2",
    ),
    "healed": Scene(healed, "healed", "healed", "acknowledge"),
    "old": Scene(lambda given: given, "stale", "no_answers", "check_callers", later_days=660),
    "labels end": Scene(labels_end, "stale", "labels_old selection", "label"),
    "a site without labels": Scene(
        a_site_without_labels, "unknown", "unlabeled_part selection", "label"
    ),
    "a site without labels, no tags": Scene(
        a_site_without_labels, "unknown", "selection", "audit", tags=False
    ),
    "a site whose labels ended": Scene(
        a_site_whose_labels_ended, "unknown", "unlabeled_part selection", "label"
    ),
    "chosen by outcome": Scene(
        chosen_by_outcome, "alarm", "alarm_active deviation selection", "audit"
    ),
    "chosen by outcome, then an audit": Scene(
        audit_after_chosen_labels, "healed", "explained", "acknowledge"
    ),
    "wrong ones labeled late": Scene(
        wrong_ones_labeled_late, "look", "explained deviation alarm_active", "label"
    ),
    "whole audit": Scene(whole_audit, "fine"),
    "audit without 16 %": Scene(
        audit_without_16_percent, "unknown", "audit_incomplete", "complete_audit"
    ),
    "few": Scene(few, "unknown", "few_labels unlabeled_part selection", "label"),
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_the_codes_of_a_scene(scene: Scene, tmp_path: Path) -> None:
    found = played(scene, tmp_path)
    act = found.actions[0].code if found.actions else ""
    assert (found.state, " ".join(found.reasons), act) == (scene.state, scene.reasons, scene.act)
    if scene.who is not None:
        group = found.deviations[0].group
        assert " ".join([group.key, *sorted(group.values)]) == (scene.who or "all")
    doubts = {each.status for each in found.rivals if each.cause != "input"}
    assert found.certainty in ("weak", "none") or not doubts & {"possible", "explains_all"}
    words = words_of(found)
    screen = (words.title, *words.summary, *words.actions[:ACTIONS_SHOWN])
    assert len(" ".join(screen).split()) <= 90
    if any(each.kind == "due" for each in found.actions):
        assert " confident" not in words.title


def test_answers_that_are_not_read_are_not_taken_for_labeled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LIMIT", 500)
    found = played(SCENES["chosen by outcome"], tmp_path)
    assert found.actions[0].code == "audit"
    usable = {each.code for each in found.actions if each.available}
    assert not usable & {"recalibrate", "recalibrate_group"}


def test_an_audit_with_all_its_labels_decides_without_the_other_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers of other models may keep a diagnosis from reading those without a label."""
    monkeypatch.setattr(reading, "SCANNED", 1)
    audited = Scene(lambda given: whole_audit(step(given)), "alarm")
    assert played(audited, tmp_path).actions[0].code == "recalibrate"


def played(scene: Scene, tmp_path: Path) -> Diagnosis:
    clock = Clock()
    promising = card()
    calibration = promising.calibration.model_copy(update={"confusion": scene.confusion})
    promising = promising.model_copy(update={"calibration": calibration})
    with MonitoredModel(tmp_path / "ledger.db", clock, card=promising) as monitored:
        given = scene.given(stream(N, days=DAYS))
        send(monitored, given, delay_days=scene.delay_days, tags=scene.tags)
        clock.now_ns += scene.later_days * DAY_NS
        with monitored.ledger.read() as connection:
            row = choose(connection, monitored.card.name, None)
            grounds = read_grounds(monitored.ledger, connection, row)
            return diagnose(connection, row, grounds, now_ns=clock())
