"""Occlusion on a model that looks at the upper left quarter of an image alone."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.calibrators.subgroups import AnswerCalibrators
from hosting.errors import ExplanationsBusy
from model_store.bundle.bundle import Bundle
from serving.inference.explanation import OcclusionExplainer, importance
from tests.builders.bundles import build_card


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
