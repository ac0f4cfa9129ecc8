"""Brightness of the inputs: exact day sums, what is left after an erasure, and signs against the card."""

import math
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
from sqlalchemy.exc import IntegrityError

from model_store.card import InputReference
from monitoring.findings.image_warnings import ENOUGH, find_image_warnings
from monitoring.ledger.calibrations import card_sha256
from monitoring.ledger.inputs import Inputs, input_sums, read_inputs
from monitoring.ledger.predictions import PredictionRow
from monitoring.maintenance.erasure import forget
from monitoring.maintenance.recount import check
from monitoring.reports.report import calibration_report
from tests.unit.monitoring.builders import DAY_NS, NOW_NS, make_card, make_row, prediction_id
from tests.unit.monitoring.desk import BOTH_DATABASES, Clock, Desk

DATABASES = BOTH_DATABASES
TODAY = NOW_NS // DAY_NS
REFERENCE = InputReference(mean=120, mean_sd=20, contrast=40, contrast_sd=10, n=500)
CARD = make_card().model_copy(update={"input_reference": REFERENCE})


def serve(desk: Desk, measured: np.ndarray, *rows: PredictionRow, day: int = TODAY) -> None:
    heard: SimpleQueue[BaseException | None] = SimpleQueue()
    desk.recorder.record(rows, heard.put, inputs=input_sums(desk.calibration_id, day, measured))
    if (error := heard.get()) is not None:
        raise error


def inputs(desk: Desk, since_day: int | None = None) -> Inputs:
    with desk.ledger.read() as connection:
        return read_inputs(connection, desk.calibration_id, since_day=since_day)


def images(count: int, *, mean: float = 120.0, contrast: float = 40.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.normal(mean, 20, count), rng.normal(contrast, 10, count)], axis=1)


def test_sums_give_back_averages_and_spreads(desk: Desk) -> None:
    measured = images(300)
    old, new = measured[:100], measured[100:]
    serve(desk, old, make_row(1, served_at_ns=NOW_NS - DAY_NS), day=TODAY - 1)
    serve(desk, new[:150], make_row(2))
    serve(desk, new[150:], make_row(3))
    for found, expected in ((inputs(desk), measured), (inputs(desk, TODAY), new)):
        assert found.n == len(expected)
        np.testing.assert_allclose([found.mean, found.contrast], expected.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose([found.mean_sd, found.contrast_sd], expected.std(axis=0), atol=1e-3)
    assert math.isnan(inputs(desk, TODAY + 1).mean)


def test_sums_do_not_depend_on_how_images_came(tmp_path: Path, clock: Clock) -> None:
    measured = images(64)
    with Desk(tmp_path / "one.db", clock) as one, Desk(tmp_path / "other.db", clock) as other:
        serve(one, measured, make_row(1))
        for number in reversed(range(64)):
            serve(other, measured[number : number + 1], make_row(number))
        everything = "SELECT * FROM input_day"
        assert one.rows(everything) == other.rows(everything)


def test_a_batch_that_is_refused_adds_nothing(desk: Desk) -> None:
    serve(desk, images(2), make_row(1))
    with pytest.raises(IntegrityError):
        serve(desk, images(2), make_row(1))
    assert inputs(desk).n == 2


def test_an_erasure_forgets_the_day(desk: Desk) -> None:
    serve(desk, images(2), make_row(1, served_at_ns=NOW_NS - DAY_NS), day=TODAY - 1)
    serve(desk, images(3), make_row(2))
    forget(desk.ledger, prediction_id=prediction_id(2))
    assert inputs(desk).n == 2
    assert inputs(desk, TODAY).n == 0
    assert check(desk.ledger).agrees


def test_a_report_has_the_signs_where_the_card_has_a_reference(ledger_url: str, clock: Clock) -> None:
    with Desk(ledger_url, clock, card=CARD) as desk:
        serve(desk, images(ENOUGH, mean=135.0), make_row(1))
        bright, contrast = calibration_report(desk.ledger, "pneumonia").signs[-2:]
        assert (bright.name, contrast.name) == ("image_brightness", "image_contrast")
        assert bright.value == pytest.approx(0.75, abs=0.2)
        assert (bright.raised, contrast.raised) == (True, False)
        assert "120.0 on the card's reference" in bright.sentence
        serve(desk, images(9 * ENOUGH), make_row(2, served_at_ns=NOW_NS - 9 * DAY_NS), day=TODAY - 9)
        assert calibration_report(desk.ledger, "pneumonia").signs[-2].value == pytest.approx(0.075, abs=0.1)
        recent = calibration_report(desk.ledger, "pneumonia", window="days:2").signs[-2]
        assert recent == bright
    other = make_card(name="other")
    with Desk(ledger_url, clock, card=other) as desk:
        names = {sign.name for sign in calibration_report(desk.ledger, "other").signs}
        assert names == {"confidence_histogram", "expected_accuracy", "predicted_class_mix"}


def test_a_sign_waits_for_images_enough() -> None:
    reference = REFERENCE.model_dump()
    few, enough = (Inputs(n, 220.0, 20.0, 90.0, 10.0) for n in (ENOUGH - 1, ENOUGH))
    assert [(sign.raised, math.isnan(sign.value)) for sign in find_image_warnings(few, reference)] == [
        (False, True)
    ] * 2
    assert [sign.raised for sign in find_image_warnings(enough, reference)] == [True] * 2
    assert [sign.value for sign in find_image_warnings(enough, reference)] == [5.0, 5.0]


def test_chance_hardly_ever_raises_a_sign() -> None:
    """Five hundred reference images, two hundred live ones of the same kind: .25 alone would be raised by chance."""
    false = 0
    for seed in range(300):
        reference = InputReference.from_brightness(images(500, seed=seed)).model_dump()
        live = images(ENOUGH, seed=10_000 + seed)
        (mean, contrast), (mean_sd, contrast_sd) = live.mean(axis=0).tolist(), live.std(axis=0).tolist()
        found = find_image_warnings(Inputs(ENOUGH, mean, mean_sd, contrast, contrast_sd), reference)
        false += any(sign.raised for sign in found)
    assert false <= 4


def test_equal_images_do_not_divide_by_nothing() -> None:
    reference = InputReference(mean=120, mean_sd=0, contrast=0, contrast_sd=0, n=10).model_dump()
    bright, contrast = find_image_warnings(Inputs(500, 130.0, 0.0, 0.0, 0.0), reference)
    assert (bright.value, contrast.value) == (10.0, 0.0)


def test_a_card_without_a_reference_keeps_its_hash() -> None:
    assert card_sha256(make_card()) == "2a99fb9cf8f919cce34926e28bd814c88be5c7e45289463f6c60889d6a5c7aa4"
    assert card_sha256(CARD) != card_sha256(make_card())
