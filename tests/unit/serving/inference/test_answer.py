"""The answer's hand-written JSON, against a real JSON parser."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.calibrators.subgroups import AnswerCalibrators
from model_store.bundle.calibration_card import ConformalCard
from model_store.bundle.card import Card
from serving.inference.answer import JsonAnswerWriter
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
