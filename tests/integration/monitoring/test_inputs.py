"""Brightness of inputs: day sums, what an erasure leaves, early warnings by the card."""

import math

import numpy as np
import pytest
from sqlalchemy.exc import IntegrityError

from model_store.bundle.card import InputReference
from monitoring.diagnosis.early_signs import ENOUGH_IMAGES
from monitoring.diagnosis.words import words_of
from monitoring.ledger.predictions import PredictionRow
from monitoring.ledger.sum_changes import input_sums
from monitoring.ledger.sums import Inputs, read_inputs
from monitoring.maintenance.erasure import forget
from monitoring.maintenance.recount import check
from monitoring.reports.report import calibration_report
from tests.builders.answers import DAY_NS, NOW_NS, make_card, make_row, prediction_id
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel

DATABASES = BOTH_DATABASES
TODAY = NOW_NS // DAY_NS
REFERENCE = InputReference(mean=120, mean_sd=20, contrast=40, contrast_sd=10, n=500)
CARD = make_card().model_copy(update={"input_reference": REFERENCE})


def serve(
    monitored: MonitoredModel, measured: np.ndarray, *rows: PredictionRow, day: int = TODAY
) -> None:
    monitored.serve(*rows, inputs=input_sums(monitored.watched_version_id, day, measured))


def inputs(monitored: MonitoredModel, since_day: int | None = None) -> Inputs:
    with monitored.ledger.read() as connection:
        return read_inputs(connection, monitored.watched_version_id, since_day=since_day)


def images(count: int, *, mean: float = 120.0, contrast: float = 40.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.normal(mean, 20, count), rng.normal(contrast, 10, count)], axis=1)


def test_sums_give_back_averages_and_spreads(monitored: MonitoredModel) -> None:
    measured = images(300)
    old, new = measured[:100], measured[100:]
    serve(monitored, old, make_row(1, served_at_ns=NOW_NS - DAY_NS), day=TODAY - 1)
    serve(monitored, new[:150], make_row(2))
    serve(monitored, new[150:], make_row(3))
    for found, expected in ((inputs(monitored), measured), (inputs(monitored, TODAY), new)):
        assert found.n == len(expected)
        np.testing.assert_allclose([found.mean, found.contrast], expected.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(
            [found.mean_sd, found.contrast_sd], expected.std(axis=0), atol=1e-3
        )
    assert math.isnan(inputs(monitored, TODAY + 1).mean)


def test_a_batch_that_is_refused_adds_nothing(monitored: MonitoredModel) -> None:
    serve(monitored, images(2), make_row(1))
    with pytest.raises(IntegrityError):
        serve(monitored, images(2), make_row(1))
    assert inputs(monitored).n == 2


def test_an_erasure_forgets_the_day(monitored: MonitoredModel) -> None:
    serve(monitored, images(2), make_row(1, served_at_ns=NOW_NS - DAY_NS), day=TODAY - 1)
    serve(monitored, images(3), make_row(2))
    forget(monitored.ledger, prediction_id=prediction_id(2))
    assert inputs(monitored).n == 2
    assert inputs(monitored, TODAY).n == 0
    assert check(monitored.ledger).agrees


def test_a_report_has_the_signs_where_the_card_has_a_reference(
    ledger_url: str, clock: Clock
) -> None:
    with MonitoredModel(ledger_url, clock, card=CARD) as monitored:
        serve(monitored, images(ENOUGH_IMAGES, mean=135.0), make_row(1))
        bright, contrast = calibration_report(monitored.ledger, "pneumonia").diagnosis.early_signs[
            -2:
        ]
        assert (bright.name, contrast.name) == ("image_brightness", "image_contrast")
        assert bright.value == pytest.approx(0.75, abs=0.2)
        assert (bright.raised, contrast.raised) == (True, False)
        serve(
            monitored,
            images(9 * ENOUGH_IMAGES),
            make_row(2, served_at_ns=NOW_NS - 9 * DAY_NS),
            day=TODAY - 9,
        )
        assert calibration_report(monitored.ledger, "pneumonia").diagnosis.early_signs[
            -2
        ].value == pytest.approx(0.075, abs=0.1)
    other = make_card(name="other")
    with MonitoredModel(ledger_url, clock, card=other) as monitored:
        found = calibration_report(monitored.ledger, "other").diagnosis
        names = {sign.name for sign in found.early_signs}
        assert names == {"answer_distribution", "doubtful_images"}


def test_nothing_is_recalibrated_on_images_that_the_model_has_seen_in_training(
    ledger_url: str, clock: Clock
) -> None:
    """As the runbook of the alert says, the diagnosis bars it, and says why."""
    with MonitoredModel(ledger_url, clock, card=CARD) as monitored:
        monitored.answer(range(300), wrong=3, both=True)
        seen = input_sums(monitored.watched_version_id, TODAY, images(300), trained_on=300)
        monitored.serve(make_row(1_000), inputs=seen)
        found = calibration_report(monitored.ledger, "pneumonia").diagnosis
        assert found.state == "alarm"
        cures = [each for each in found.actions if each.code.startswith("recalibrate")]
        assert {(each.available, each.hindrance) for each in cures} == {(False, "trained_on")}
        assert "own training" in " ".join(words_of(found).barred)
