"""Answers as JSON, maps of what they rest on, and what counts and watches them."""

import asyncio
import io
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from prometheus_client import CollectorRegistry

from calibration.calibrators.subgroups import AnswerCalibrators
from hosting.errors import ExplanationsBusy
from model_store.bundle.bundle import Bundle
from model_store.bundle.calibration_card import ConformalCard
from model_store.bundle.card import Card
from serving.inference.answer import JsonAnswerWriter
from serving.inference.explanation import (
    MARGIN,
    OPAQUE,
    RED,
    SIDE,
    OcclusionExplainer,
    heat_map,
    importance,
)
from serving.inference.metrics import REASONS, ServingMetrics
from serving.inference.run_watch import RunWatch
from tests.builders.bundles import build_card


def written(
    card: Card,
    prediction_id: str,
    request_id: str | None,
    values: list[float],
    tags: str | None = None,
) -> bytes:
    by = AnswerCalibrators(card.model_dump()).of(tags)
    return JsonAnswerWriter(card).write(prediction_id, request_id, values, by)


awkward = st.text(min_size=1, max_size=20).filter(
    lambda text: text.isprintable()
) | st.sampled_from(["100 %s", "%", '"quoted"', "back\\slash", "ünïcode", "%(name)s"])


@pytest.mark.parametrize(("threshold", "refer"), [(0.5, False), (0.51, True), (None, None)])
def test_refer_is_strictly_below_the_threshold(threshold: float | None, refer: bool | None) -> None:
    card = build_card(classes=("a", "b"), threshold=threshold)
    assert json.loads(written(card, "i", None, [0.5, 0.5]))["refer"] is refer


@given(classes=st.lists(awkward, min_size=2, max_size=5, unique=True), request_id=awkward)
def test_any_names_survive(classes: list[str], request_id: str) -> None:
    card = build_card(classes=tuple(classes))
    values = [1 / len(classes)] * len(classes)
    answer = json.loads(written(card, "i", request_id, values))
    assert list(answer["probabilities"]) == classes
    assert (answer["predicted"], answer["request_id"]) == (classes[0], request_id)


@given(st.floats(0, 1, width=32))
def test_numbers_come_back_as_the_same_float32(value: float) -> None:
    card = build_card(classes=("a", "b"))
    answer = json.loads(written(card, "i", None, [value, 1 - value]))
    assert np.float32(answer["probabilities"]["a"]) == np.float32(value)


def test_a_card_with_sets_names_every_class_that_may_be_it() -> None:
    sets = ConformalCard(alpha=0.1, threshold=0.25, mean_set_size=1.2, coverage_reference=0.92)
    card = build_card(classes=("a", "b", "c")).model_copy(update={"conformal": sets})
    assert json.loads(written(card, "i", None, [0.25, 0.5, 0.2]))["prediction_set"] == ["a", "b"]
    assert json.loads(written(card, "i", None, [0.2, 0.2, 0.2]))["prediction_set"] == []


class Corner:
    """Probability of class 1 is the mean of the upper left quarter."""

    card = build_card()
    calibrators = AnswerCalibrators({"calibration": {}})

    def predict(self, images: Any) -> Any:
        half = images.shape[2] // 2
        second = images[:, 0, :half, :half].mean(axis=(1, 2)) / 255
        return np.stack([1 - second, second], axis=1).astype(np.float32)


@pytest.fixture
def bright_corner() -> Any:
    image = np.zeros((1, 32, 32), np.uint8)
    image[:, :16, :16] = 255
    return image


def test_what_the_model_looks_at_is_important_and_nothing_else(bright_corner: Any) -> None:
    found = importance(Corner(), bright_corner, 1)
    assert found.shape == (8, 8)
    assert found[:3, :3].min() > 0.01
    assert np.abs(found[5:, 5:]).max() == 0
    assert importance(Corner(), bright_corner, 0) == pytest.approx(-found)


def test_a_full_queue_is_told_and_empties(
    monkeypatch: pytest.MonkeyPatch, bright_corner: Any
) -> None:
    begun, go = threading.Event(), threading.Event()

    class Slow(Corner):
        def predict(self, images: Any) -> Any:
            begun.set()
            go.wait()
            return super().predict(images)

    monkeypatch.setattr("serving.inference.explanation.Predictor", lambda *_, **__: Slow())
    # At the lowest priority it takes half a minute beside other tests.
    monkeypatch.setattr("serving.inference.explanation.lower_priority", lambda: None)
    card = build_card()
    monkeypatch.setattr(
        "serving.inference.explanation.read_bundle", lambda folder: Bundle(folder, card, b"", "")
    )

    async def explain(occluder: OcclusionExplainer) -> bytes:
        async with occluder.place(card, Path("models/m/1")) as draw_map:
            return (await draw_map(bright_corner, 1, None)).png

    async def crowd() -> None:
        occluder = OcclusionExplainer(waiting=1)
        first, second = (asyncio.ensure_future(explain(occluder)) for _ in range(2))
        await asyncio.sleep(0)
        with pytest.raises(ExplanationsBusy):
            await explain(occluder)
        await asyncio.to_thread(begun.wait)
        second.cancel()  # its work has not begun, so its place is free
        await asyncio.gather(second, return_exceptions=True)
        await asyncio.sleep(0)
        third = asyncio.ensure_future(explain(occluder))
        await asyncio.sleep(0)
        first.cancel()  # its work has begun
        await asyncio.gather(first, return_exceptions=True)
        await asyncio.sleep(0)
        with pytest.raises(ExplanationsBusy):
            await explain(occluder)
        go.set()
        assert await third
        assert await explain(occluder) == await explain(occluder)
        occluder.close()

    asyncio.run(crowd())


def pixels(values: Any, image: Any) -> Any:
    return np.asarray(Image.open(io.BytesIO(heat_map(values, image, of="ill").png))).astype(float)


def test_the_image_is_beneath_and_untouched_where_nothing_matters() -> None:
    image = np.full((1, 32, 48), 40, np.uint8)
    image[:, :16, :16] = 240
    values = np.zeros((8, 8))
    values[7, 7] = 0.5
    shown = pixels(values, image)
    assert shown.shape[0] > SIDE
    assert shown.shape[1] == SIDE // 32 * 48 + MARGIN
    np.testing.assert_allclose(shown[60, 60], 240, atol=2)
    np.testing.assert_allclose(shown[60, 400], 40, atol=2)
    corner = shown[SIDE - 4, SIDE // 32 * 48 - 4]
    np.testing.assert_allclose(corner, (1 - OPAQUE) * 40 + OPAQUE * np.array(RED), atol=3)


def test_red_speaks_for_the_class_and_blue_against_it() -> None:
    values = np.zeros((8, 8))
    values[0, 0], values[7, 7] = 0.5, -0.5
    shown = pixels(values, np.full((3, 64, 64), 128, np.uint8))
    assert shown[4, 4, 0] > 150 > shown[4, 4, 2]
    assert shown[440, 440, 2] > 150 > shown[440, 440, 0]


def test_a_map_on_which_nothing_matters_is_pale_and_says_so() -> None:
    gray = np.full((1, 64, 64), 128, np.uint8)
    faint, strong = np.zeros((8, 8)), np.zeros((8, 8))
    faint[4, 4], strong[4, 4] = 0.049, 0.4
    pale, colored = (
        np.abs(pixels(values, gray)[:448, :448] - 128).max() for values in (faint, strong)
    )
    assert pale < 20 < 55 < colored
    assert heat_map(faint, gray, of="ill").sentence.startswith("No part of the image matters much.")
    assert (pixels(faint, gray)[448:] < 100).any()  # the words below the image
    assert not (pixels(strong, gray)[448:, :448] < 100).any()


def test_first_runs_at_the_same_time_are_looked_at_by_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two would count each look twice, and end runs at half their limit."""
    followers: list[threading.Thread] = []

    class SlowToBeMade(threading.Thread):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            threading.Event().wait(0.1)  # the other runs begin meanwhile

        def start(self) -> None:
            followers.append(self)

    watch = RunWatch()

    def run() -> None:
        with watch.run(60, lambda: None):
            pass

    callers = [threading.Thread(target=run) for _ in range(4)]
    monkeypatch.setattr("serving.inference.run_watch.threading.Thread", SlowToBeMade)
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(followers) == 1


def test_every_reason_to_refuse_is_shown_from_the_start() -> None:
    registry = CollectorRegistry()
    ServingMetrics(registry)
    assert {"overloaded", "ledger_failed", "internal_error", "client_gone"} <= set(REASONS)
    for reason in REASONS:
        assert registry.get_sample_value("candor_requests_rejected_total", {"reason": reason}) == 0
