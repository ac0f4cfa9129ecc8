"""Scenes and the codes of their diagnosis; what a report asks for changes it once it is done."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest

from calibration.calibrators.remedies import TEMPERATURE, TEMPERATURE_BIAS
from monitoring.diagnosis import reading
from monitoring.diagnosis.facts import ActionCode
from tests.builders.answers import DAY_NS
from tests.builders.diagnosis.scenes import SCENES
from tests.builders.diagnosis.world import DAY_S, DAYS, World, patients, world
from tests.builders.monitored import Clock

ELSEWHERE = {  # their versions are in a store: test_recalibration_on_alarm, test_figures
    ActionCode.PROMOTE,
    ActionCode.ROLL_BACK,
}


@dataclass
class Played:
    """A world that was logged at a monitor. `truth` (N,) is what readers who look again see;
    `start_s`: when its hundred days began.
    """

    client: httpx.AsyncClient
    clock: Clock
    w: World
    truth: np.ndarray
    start_s: float = 0.0
    sent: int = 0

    async def log(self, w: World, *, version: int = 1) -> None:
        """Log a world whose newest answer is of now."""
        now_s = self.clock.now_ns / 1e9
        w.ids = [f"v{version}-{self.sent + n}" for n in range(w.n)]
        rows = [row | {"version": version} for row in w.rows("eye", now_s)]
        self.sent += w.n
        model = {"model": "eye", "version": version, "classes": w.classes}
        assert (await self.client.post("/models-log", json=model)).status_code == 200
        for first in range(0, len(rows), 1_000):
            answer = await self.client.post("/predictions-log", json=rows[first : first + 1_000])
            assert {each["status"] for each in answer.json()} == {"accepted"}

    async def label(self, rows: np.ndarray, *, reader: str = "") -> None:
        """Send the truth of these answers, by another reader if there is one."""
        assert self.w.ids is not None
        items = [
            {"model": "eye", "request_id": f"eye-{self.w.ids[n]}", "label": f"c{self.truth[n]}"}
            | ({"reader": reader} if reader else {})
            for n in rows.tolist()
        ]
        for first in range(0, len(items), 1_000):
            answer = await self.client.post("/feedback", json=items[first : first + 1_000])
            assert answer.status_code == 200
            assert not {each["status"] for each in answer.json()} & {"unknown", "conflict"}

    async def later(self, days: int, w: World, *, version: int = 1) -> None:
        """Log answers of some more days, all labeled unless `w` says otherwise."""
        self.clock.now_ns += days * DAY_NS
        await self.log(w, version=version)

    async def diagnosis(self) -> Any:
        return (await self.client.get("/models/eye/report")).json()["diagnosis"]

    def inside(self, group: Any) -> np.ndarray:
        """Which answers (N,) are of a group of a report; all without one."""
        if group is None or group["key"] == "all":
            return np.ones(self.w.n, bool)
        if group["key"] == "predicted":
            return np.isin(self.w.predicted, [int(each[1:]) for each in group["values"]])
        tag = self.w.tags[group["key"].removeprefix("tag:")]
        return np.isin(tag.codes, [tag.names.index(each) for each in group["values"]])


def more(like: World, *, days: int, n: int = 1_500, **made: Any) -> World:
    """Calibrated answers of the newest `days` of a hundred, of as many classes."""
    rng = np.random.default_rng(9)
    times = (DAYS - days + np.sort(rng.random(n)) * days) * DAY_S
    w = world(rng, n=n, classes=len(like.classes), times=times, **made)
    for key, tag in like.tags.items():
        w.tag(key, len(tag.names))
    return w


def first_of(found: Any) -> Any:
    return next((each for each in found["actions"] if each["available"]), {"code": ""})


async def read_again(played: Played, asked: Any) -> None:
    """As asked for: of those that labels call right or wrong, the least or the most confident."""
    w, of_right = played.w, asked["kind"] == "second_reading_of_right"
    chosen = np.flatnonzero(played.inside(asked["group"]) & (w.wrong != of_right) & w.after(0.5))
    order = np.argsort(w.confidence[chosen] * (1 if of_right else -1))
    await played.label(chosen[order][: asked["labels"]], reader="second")


async def correct(played: Played, asked: Any) -> None:
    await read_again(played, asked)
    after = first_of(await played.diagnosis())
    assert after["code"] == "correct_labels"
    rows = played.inside(after["group"]) & (played.w.label != played.truth)
    await played.label(np.flatnonzero(rows))


async def label_more(played: Played, asked: Any) -> None:
    unlabeled = np.flatnonzero(played.inside(asked["group"]) & ~played.w.labeled)
    await played.label(played.w.rng.permutation(unlabeled)[: asked["labels"]])


async def complete(played: Played, asked: Any) -> None:
    drawn = played.w.drawn
    assert drawn is not None
    await played.label(np.flatnonzero(drawn & ~played.w.labeled))


async def audit(played: Played, asked: Any) -> None:
    w = more(played.w, days=20, n=4 * asked["labels"] + 400)
    w.labeled = w.audit(0.5).copy()
    await played.later(20, w)


async def send_patients(played: Played, asked: Any) -> None:
    """The callers send patients from now on; the images of a patient still err together."""
    w = more(played.w, days=60, n=8_000)
    patients(w, 20, alike=True, apart=False)
    await played.later(60, w)


async def put_right(played: Played, asked: Any) -> None:
    """Somebody found the cause, and it is gone, or images are sent again."""
    await played.later(30, more(played.w, days=30, n=3_000))


async def acknowledge(played: Played, asked: Any) -> None:
    answer = await played.client.post("/models/eye/report/acknowledge", json={"note": "over"})
    assert answer.status_code == 200


async def recalibrate(played: Played, asked: Any) -> None:
    """Where the model is served: fitted on the labels that are named, logged as a new version."""
    w = played.w
    form = TEMPERATURE_BIAS if asked["changes_labels"] else TEMPERATURE
    since_s = asked["since_s"] or 0.0
    rows = played.inside(asked["group"]) & (w.served_s + played.start_s >= since_s)
    fitted = form.fit(np.log(w.probabilities[rows]), w.label[rows])
    again = SCENES[SCENE[ActionCode(asked["code"])]].build(np.random.default_rng(8))
    chosen = np.flatnonzero(again.after(0.7))
    fresh = World(
        again.rng,
        again.probabilities[chosen],
        again.label[chosen],
        again.shares,
        again.served_s[chosen],
        again.right[chosen],
        again.luck[chosen],
        {key: tag.rows(chosen) for key, tag in again.tags.items()},
    )
    inside = Played(played.client, played.clock, fresh, fresh.label).inside(asked["group"])
    fresh.probabilities[inside] = fitted(np.log(fresh.probabilities[inside]))
    await played.later(30, fresh, version=2)


class Walk(NamedTuple):
    """The scene in which a code is the first available action, the state and its reasons there, and
    what is true once it is done.
    """

    scene: str
    before: str
    follow: Callable[[Played, Any], Awaitable[None]]
    states: tuple[str, ...]
    first: tuple[str, ...]


SETTLED = ("", "acknowledge")


WALKS = {
    ActionCode.ACKNOWLEDGE: Walk("healed_everyone", "healed healed", acknowledge, ("fine",), ("",)),
    ActionCode.RECALIBRATE: Walk(
        "step_too_sure", "alarm alarm_active deviation", recalibrate, ("fine",), ("",)
    ),
    ActionCode.RECALIBRATE_GROUP: Walk(
        "two_of_eight_sites", "alarm alarm_active deviation", recalibrate, ("fine",), ("",)
    ),
    ActionCode.ADJUST_CASE_MIX: Walk(
        "case_mix", "look explained deviation alarm_active", recalibrate, ("fine",), ("",)
    ),
    ActionCode.FIND_CAUSE: Walk(
        "by_confidence_alone",
        "alarm alarm_active deviation",
        put_right,
        ("healed",),
        ("acknowledge",),
    ),
    ActionCode.AUDIT: Walk(
        "chosen_labels_without_audit",
        "alarm alarm_active deviation selection",
        audit,
        ("healed", "fine"),
        SETTLED,
    ),
    ActionCode.COMPLETE_AUDIT: Walk(
        "audit_labels_missing",
        "unknown audit_incomplete",
        complete,
        ("alarm", "look"),
        ("recalibrate", "find_cause"),
    ),
    ActionCode.LABEL: Walk(
        "unlabeled_site",
        "unknown unlabeled_part selection",
        label_more,
        ("alarm", "look"),
        ("audit", "recalibrate_group", "find_cause"),
    ),
    ActionCode.SECOND_READINGS: Walk(
        "labels_inverted_at_one_site",
        "look explained deviation alarm_active",
        read_again,
        ("look",),
        ("correct_labels",),
    ),
    ActionCode.CORRECT_LABELS: Walk(
        "labels_inverted_at_one_site",
        "look explained deviation alarm_active",
        correct,
        ("healed", "fine"),
        SETTLED,
    ),
    ActionCode.SEND_PATIENTS: Walk(
        "unknown_patients_explain",
        "look explained alarm_active",
        send_patients,
        ("fine", "healed"),
        SETTLED,
    ),
    ActionCode.CHECK_CALLERS: Walk(
        "no_answers_for_22_months", "stale no_answers", put_right, ("fine",), ("",)
    ),
}


SCENE = {code: walk.scene for code, walk in WALKS.items()}


def truth_of(name: str, w: World) -> np.ndarray:
    """The labels before somebody turned them round."""
    if name != "labels_inverted_at_one_site":
        return w.label.copy()
    return np.where((w.site == 1) & w.after(0.3), 1 - w.label, w.label)


def test_every_code_is_followed() -> None:
    assert {*WALKS, *ELSEWHERE} == {*ActionCode}


@pytest.mark.parametrize("code", WALKS)
@pytest.mark.anyio
async def test_an_action_that_is_followed_changes_the_report(
    client: httpx.AsyncClient, clock: Clock, code: ActionCode
) -> None:
    walk = WALKS[code]
    w = SCENES[walk.scene].build(np.random.default_rng(7))
    played = Played(client, clock, w, truth_of(walk.scene, w))
    played.start_s = w.start_s(clock.now_ns / 1e9)
    await played.log(w)
    found = await played.diagnosis()
    asked = first_of(found)
    assert " ".join((found["state"], *found["reasons"])) == walk.before
    cures = [each for each in found["actions"] if each["code"].startswith("recalibrate")]
    is_untried = "untried" in {each["hindrance"] for each in cures}
    assert is_untried is (code is ActionCode.FIND_CAUSE)  # where confidence alone is logged
    before = ActionCode.SECOND_READINGS if code is ActionCode.CORRECT_LABELS else code
    assert asked["code"] == before
    await walk.follow(played, asked)
    found = await played.diagnosis()
    assert found["state"] in walk.states
    assert first_of(found)["code"] in walk.first


async def played_of(client: httpx.AsyncClient, clock: Clock, w: World) -> tuple[Played, Any]:
    """A world that is logged, and its diagnosis."""
    played = Played(client, clock, w, w.label.copy())
    await played.log(w)
    return played, await played.diagnosis()


CODES = {
    "due_and_broken": "look deviation -> recalibrate_group",
    "chosen_labels": "healed explained -> acknowledge",
    "calm_wrong_late": "look explained deviation alarm_active -> label",
    "few_labels": "unknown few_labels -> label",
}


@pytest.mark.parametrize("name", CODES)
@pytest.mark.anyio
async def test_the_codes_of_a_scene(client: httpx.AsyncClient, clock: Clock, name: str) -> None:
    _, found = await played_of(client, clock, SCENES[name].build(np.random.default_rng(7)))
    said = (found["state"], *found["reasons"], "->", first_of(found)["code"])
    assert " ".join(said) == CODES[name]


@pytest.mark.anyio
async def test_answers_that_are_not_read_are_not_taken_for_labeled(
    client: httpx.AsyncClient, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LIMIT", 500)
    scene = SCENES["chosen_labels_without_audit"]
    _, found = await played_of(client, clock, scene.build(np.random.default_rng(7)))
    assert first_of(found)["code"] == "audit"
    usable = {each["code"] for each in found["actions"] if each["available"]}
    assert not usable & {"recalibrate", "recalibrate_group"}


@pytest.mark.anyio
async def test_an_audit_with_all_its_labels_decides_without_the_other_answers(
    client: httpx.AsyncClient, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers of other models may keep a diagnosis from reading those without a label."""
    monkeypatch.setattr(reading, "SCANNED", 1)
    w = world(np.random.default_rng(7), n=4_000)
    w.sharpen(w.after(0.6), 2.2)
    w.labeled = w.audit(0.4).copy()
    assert first_of((await played_of(client, clock, w))[1])["code"] == "recalibrate"


@pytest.mark.anyio
async def test_second_readings_that_were_asked_for_decide_about_a_reader(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    """From the middle on, reader 9 calls 60 % of the last class the one before."""
    w = world(np.random.default_rng(3), n=1_500, classes=3)
    own = w.after(0.5) & w.chance(0.5)
    soft = own & (w.label == 2) & w.chance(0.6)
    w.labeled[:] = False
    played, _ = await played_of(client, clock, w)
    played.truth = np.where(soft, 1, w.label)
    await played.label(np.flatnonzero(~own), reader="dr-1")
    await played.label(np.flatnonzero(own), reader="dr-9")
    before = await played.diagnosis()
    asked = first_of(before)
    assert (before["state"], asked["code"]) == ("look", "second_readings")
    assert asked["group"]["values"] == ["dr-9"]
    accused = np.flatnonzero(soft & (w.predicted == 2))
    played.truth = w.label
    await played.label(accused[: asked["labels"]], reader="dr-2")
    after = await played.diagnosis()
    (proxy,) = (each["status"] for each in after["rivals"] if each["cause"] == "proxy")
    assert (proxy, first_of(after)["code"]) == ("explains_all", "correct_labels")


@pytest.mark.anyio
async def test_a_harm_is_said_of_a_remedy_that_waits_for_another_step(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    """Labels of a site are turned round: they are read again first, and nobody is recalibrated."""
    w = SCENES["labels_inverted_at_one_site"].build(np.random.default_rng(7))
    _, found = await played_of(client, clock, w)
    (remedy,) = (each for each in found["remedies"] if each["kind"] == "recalibrate_all")
    assert any(each["harms"] for each in remedy["effects"])
    assert first_of(found)["code"] == "second_readings"
    (barred,) = (each for each in found["actions"] if each["code"] == "recalibrate")
    assert (barred["available"], barred["hindrance"]) == (False, "harms_others")


@pytest.mark.anyio
@pytest.mark.parametrize("readings", [3, 12, 100])
async def test_second_readings_that_confirm_count(
    client: httpx.AsyncClient, clock: Clock, readings: int
) -> None:
    """A model that fails at random looks as if labels were wrong, until readers confirm them."""
    w = SCENES["reader_noise_five_classes"].build(np.random.default_rng(7))
    played, found = await played_of(client, clock, w)
    asked = first_of(found)
    assert asked["code"] == "second_readings"
    await read_again(played, asked | {"labels": readings})
    after = first_of(await played.diagnosis())
    left = asked["labels"] - readings
    if left > 0:
        assert (after["code"], after["labels"]) == ("second_readings", left)
    else:
        assert after["code"] not in ("second_readings", "correct_labels")
