"""Signs that need no labels: doubtful images, images and answers unlike those of the reference."""

import math
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import IntegrityError

from calibration.bins import bin_index
from calibration.drift.answer_drift import count_answers
from model_store.bundle.card import Card, FlaggedShare, InputReference, ScopeCard
from monitoring.diagnosis.early_signs import ENOUGH_IMAGES
from monitoring.diagnosis.facts import EarlySign
from monitoring.diagnosis.words import words_of
from monitoring.drift import events
from monitoring.drift.scope_watch import note_alarms
from monitoring.ledger.predictions import PredictionRow
from monitoring.ledger.sum_changes import input_sums
from monitoring.ledger.sum_tables import DOUBTFUL
from monitoring.ledger.sums import Inputs, read_inputs
from monitoring.maintenance.erasure import forget
from monitoring.maintenance.recount import check
from monitoring.maintenance.retention import prune
from monitoring.maintenance.worker import MaintenanceWorker
from monitoring.reports.report import calibration_report
from monitoring.reports.timeline import read_timeline
from tests.builders.answers import DAY_NS, NOW_NS, make_card, make_row, prediction_id
from tests.builders.findings import findings_card
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel
from tests.builders.processes import wait_until

DATABASES = BOTH_DATABASES
TODAY = NOW_NS // DAY_NS
SCOPE = ScopeCard(
    method="mahalanobis",
    features="means of maps",
    reference_split="val",
    fitted_on=600,
    alpha=0.05,
    flagged=FlaggedShare(n=300, lower=0.028, upper=0.077),
)
REFERENCE = InputReference(mean=120, mean_sd=20, contrast=40, contrast_sd=10, n=500)
of_inputs = pytest.mark.world(card=make_card().model_copy(update={"input_reference": REFERENCE}))


def signs(monitored: MonitoredModel, finding: str | None = None) -> dict[str, EarlySign]:
    report = calibration_report(monitored.ledger, monitored.card.name, finding=finding)
    return {each.name: each for each in report.diagnosis.early_signs}


# Doubtful images


def in_scope_or_not(card: Card) -> Any:
    return pytest.mark.world(card=card.model_copy(update={"scope": SCOPE}))


def serve_day(monitored: MonitoredModel, day: int, *, doubtful: int) -> None:
    """A day's fifty images, the first of which are doubtful."""
    for number in range(50):
        row = make_row(1_000 * day + number, served_at_ns=NOW_NS + day * DAY_NS)
        row = row._replace(scope_p=0.01 if number < doubtful else 0.5)
        if monitored.card.has_findings:
            shared = {name: getattr(row, name) for name in ("prediction_id", "served_at_ns")}
            monitored.serve_findings([number], [0.5] * 3, **shared, scope_p=row.scope_p)
        else:
            monitored.serve(row)


def kept(monitored: MonitoredModel) -> list[str]:
    """The kinds of this watch's events, of all findings."""
    with monitored.ledger.read() as connection:
        return [
            each.kind
            for key in monitored.watched_version_ids
            for each in events.read(connection, key, DOUBTFUL)
        ]


@in_scope_or_not(make_card())
def test_the_leader_keeps_the_alarm_once(monitored: MonitoredModel, clock: Clock) -> None:
    serve_day(monitored, 0, doubtful=3)
    clock.now_ns += DAY_NS
    note_alarms(monitored.ledger)
    assert kept(monitored) == []  # too few
    assert not signs(monitored)["doubtful_images"].raised
    serve_day(monitored, 1, doubtful=40)
    note_alarms(monitored.ledger)
    assert kept(monitored) == []  # the day is not over
    clock.now_ns += DAY_NS
    with MaintenanceWorker(monitored.ledger, monitored.recorder, CollectorRegistry()):
        wait_until(lambda: kept(monitored), "the leader's alarm")
    note_alarms(monitored.ledger)
    assert kept(monitored) == ["alarm"]
    with monitored.ledger.read() as connection:
        (entry,) = (each for each in read_timeline(connection, "pneumonia") if each["tag"])
    assert (entry["tag"], entry["detail"]["day"]) == (DOUBTFUL, TODAY + 1)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "finding",
    [
        pytest.param(None, marks=in_scope_or_not(make_card())),
        pytest.param("Effusion", marks=in_scope_or_not(findings_card())),
    ],
)
async def test_it_is_acknowledged_by_itself_for_all_findings(
    monitored: MonitoredModel, client: httpx.AsyncClient, clock: Clock, finding: str | None
) -> None:
    path = f"/models/{monitored.card.name}/report/acknowledge"
    asked = {"tag": DOUBTFUL, "note": "window repaired"}

    async def acknowledged() -> bool:
        params = {"finding": finding} if finding else {}
        answer = await client.post(path, json=asked, params=params)
        return "unchanged" not in answer.json()

    def raised() -> bool:
        note_alarms(monitored.ledger)
        return signs(monitored, finding)["doubtful_images"].raised

    assert not await acknowledged()
    serve_day(monitored, 0, doubtful=40)
    clock.now_ns += DAY_NS
    assert raised()
    assert [await acknowledged() for _ in range(2)] == [True, False]
    assert kept(monitored) == ["alarm", "acknowledged"]
    for day, again in ((1, False), (2, True)):  # the day of the acknowledgment does not count
        serve_day(monitored, day, doubtful=40)
        clock.now_ns += DAY_NS
        assert raised() is again
    assert kept(monitored) == ["alarm", "acknowledged", "alarm"]


# Brightness and contrast


def serve(
    monitored: MonitoredModel, measured: np.ndarray, *rows: PredictionRow, day: int = TODAY
) -> None:
    monitored.serve(*rows, inputs=input_sums(monitored.watched_version_id, day, measured))


def inputs(monitored: MonitoredModel, since_day: int | None = None) -> Inputs:
    with monitored.ledger.read() as connection:
        return read_inputs(connection, monitored.watched_version_id, since_day=since_day)


def images(count: int, *, mean: float = 120.0) -> np.ndarray:
    """Mean and contrast of images (count, 2)."""
    rng = np.random.default_rng(0)
    return np.stack([rng.normal(mean, 20, count), rng.normal(40, 10, count)], axis=1)


def test_sums_give_back_averages_and_spreads_and_an_erasure_forgets_the_day(
    monitored: MonitoredModel,
) -> None:
    measured = images(300)
    old, new = measured[:100], measured[100:]
    serve(monitored, old, make_row(1, served_at_ns=NOW_NS - DAY_NS), day=TODAY - 1)
    serve(monitored, new[:150], make_row(2))
    serve(monitored, new[150:], make_row(3))
    with pytest.raises(IntegrityError):  # a batch that is refused adds nothing
        serve(monitored, images(2), make_row(2))
    for found, expected in ((inputs(monitored), measured), (inputs(monitored, TODAY), new)):
        assert found.n == len(expected)
        np.testing.assert_allclose([found.mean, found.contrast], expected.mean(axis=0), atol=1e-5)
        spreads = [found.mean_sd, found.contrast_sd]
        np.testing.assert_allclose(spreads, expected.std(axis=0), atol=1e-3)
    assert math.isnan(inputs(monitored, TODAY + 1).mean)
    forget(monitored.ledger, prediction_id=prediction_id(2))
    assert (inputs(monitored).n, inputs(monitored, TODAY).n) == (100, 0)
    assert check(monitored.ledger).agrees


@of_inputs
def test_a_report_has_the_signs_where_the_card_has_a_reference(monitored: MonitoredModel) -> None:
    serve(monitored, images(ENOUGH_IMAGES, mean=135.0), make_row(1))
    bright, contrast = [*signs(monitored).values()][-2:]
    assert (bright.name, contrast.name) == ("image_brightness", "image_contrast")
    assert bright.value == pytest.approx(0.75, abs=0.2)
    assert (bright.raised, contrast.raised) == (True, False)
    earlier = make_row(2, served_at_ns=NOW_NS - 9 * DAY_NS)
    serve(monitored, images(9 * ENOUGH_IMAGES), earlier, day=TODAY - 9)
    assert signs(monitored)["image_brightness"].value == pytest.approx(0.075, abs=0.1)


@of_inputs
def test_nothing_is_recalibrated_on_images_that_the_model_has_seen_in_training(
    monitored: MonitoredModel,
) -> None:
    """As the runbook of the alert says, the diagnosis bars it, and says why."""
    monitored.answer(range(300), wrong=3, both=True)
    seen = input_sums(monitored.watched_version_id, TODAY, images(300), trained_on=300)
    monitored.serve(make_row(1_000), inputs=seen)
    found = calibration_report(monitored.ledger, "pneumonia").diagnosis
    assert found.state == "alarm"
    cures = [each for each in found.actions if each.code.startswith("recalibrate")]
    assert {(each.available, each.hindrance) for each in cures} == {(False, "trained_on")}
    assert "own training" in " ".join(words_of(found).barred)


# Answers


def answers(seed: int, n: int, shift: float = 0.0) -> np.ndarray:
    """Probabilities of "pneumonia"."""
    return 1 / (1 + np.exp(-np.random.default_rng(seed).normal(shift, 2, n)))


def serve_answers(monitored: MonitoredModel, *shifts: float) -> None:
    """120 answers on each of so many days."""
    for day, shift in enumerate(shifts):
        p, at_ns = answers(day, 120, shift), NOW_NS + day * DAY_NS
        sure = np.maximum(p, 1 - p).astype(np.float32).tolist()
        said = (p > 0.5).astype(int).tolist()
        rows = [
            make_row(1_000 * day + n, confidence=each, predicted=k, served_at_ns=at_ns)
            for n, (each, k) in enumerate(zip(sure, said, strict=True))
        ]
        monitored.serve(*rows)


def card_with_answers() -> Card:
    card, p = make_card(), answers(999, 500)
    counts = count_answers(p > 0.5, bin_index(np.maximum(p, 1 - p)), 2)
    known = tuple(tuple(row) for row in counts.tolist())
    calibration = card.calibration.model_copy(update={"answers": known})
    return card.model_copy(update={"calibration": calibration})


def sign(monitored: MonitoredModel) -> EarlySign:
    return signs(monitored)["answer_distribution"]


@pytest.mark.world(card=card_with_answers())
def test_a_change_of_answers_is_noticed_outlives_pruning_and_ends_with_a_reset(
    monitored: MonitoredModel, clock: Clock
) -> None:
    serve_answers(monitored, 0.0, 0.0, *[2.0] * 4)
    assert math.isnan(sign(monitored).value)  # the first day is awaited
    clock.now_ns += DAY_NS
    quiet = sign(monitored)
    assert (quiet.raised, quiet.value < quiet.limit) == (False, True)
    clock.now_ns += 5 * DAY_NS
    raised = sign(monitored)
    assert (raised.raised, raised.since_s) == (True, (TODAY + 2) * DAY_NS / 1e9)
    prune(monitored.ledger, older_than_s=0)
    assert sign(monitored) == raised
    monitored.recorder.acknowledge("pneumonia", kind="reset").result()
    assert math.isnan(sign(monitored).value)  # it starts again tomorrow


def test_without_a_reference_the_first_answers_are_compared_with(
    monitored: MonitoredModel, clock: Clock
) -> None:
    assert {*signs(monitored)} == {"answer_distribution", "doubtful_images"}
    serve_answers(monitored, *[0.0] * 8, *[2.5] * 4)
    clock.now_ns += 12 * DAY_NS
    assert sign(monitored).raised
