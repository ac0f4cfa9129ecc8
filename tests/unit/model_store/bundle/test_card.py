"""The card: what it must say, what it may not, and that it survives its file."""

import json
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from calibration.conformal import conformal
from model_store.bundle.calibration_card import ConformalCard
from model_store.bundle.card import Card, InputReference
from tests.builders.bundles import build_card


def changed(card: Card, path: str, value: Any) -> dict[str, Any]:
    """The card's plain data with one value, at a dotted path, replaced or added."""
    data: dict[str, Any] = json.loads(card.model_dump_json())
    *parents, last = path.split(".")
    place: Any = data
    for key in parents:
        place = place[int(key) if key.isdecimal() else key]
    place[last] = value
    return data


def test_a_card_survives_json() -> None:
    sets = conformal([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]] * 10, [0, 1, 1] * 10, alpha=0.2)
    reference = InputReference.from_brightness(np.array([[10.0, 4.0], [30.0, 4.0]]))
    assert reference == InputReference(mean=20, mean_sd=10, contrast=4, contrast_sd=0, n=2)
    more = {"conformal": ConformalCard.from_sets(sets), "input_reference": reference}
    for card in (build_card(), build_card().model_copy(update=more)):
        assert Card.model_validate_json(card.model_dump_json()) == card


def test_what_a_card_may_not_say() -> None:
    for path, value in [
        ("format_version", 3),
        ("name", ""),
        ("name", "../etc"),
        ("version", 0),
        ("version", 1.5),
        ("classes", ["only"]),
        ("classes", ["a", ""]),
        ("classes", ["a", "b", "a"]),
        ("input.channels", 2),
        ("input.height", 0),
        ("input.width", 5000),
        ("input.resize", "squash"),
        ("calibration.method", ""),
        ("calibration.temperature", 0),
        ("calibration.temperature", float("nan")),
        ("calibration.bins", []),
        ("calibration.bins.0.n", -1),
        ("calibration.bins.0.confidence", float("nan")),
        ("calibration.measures.ece", float("nan")),
        ("referral.threshold", 1.5),
        ("referral.coverage", float("nan")),
        ("provenance.created_at", "yesterday"),
    ]:
        with pytest.raises(ValidationError) as caught:
            Card.model_validate(changed(build_card(), path, value))
        assert path.split(".")[0] in str(caught.value)


def test_what_a_later_candor_adds_is_ignored() -> None:
    for place in [
        "surprise",
        "provenance.surprise",
        "calibration.surprise",
        "input.mean",
        "bins.0.x",
    ]:
        path = f"calibration.{place}" if place.startswith("bins") else place
        assert (
            Card.model_validate(changed(build_card(), path, {"any": ["thing", 1]})) == build_card()
        )


def test_what_a_card_must_say() -> None:
    for key in ["name", "version", "classes", "input", "provenance", "calibration"]:
        data = json.loads(build_card().model_dump_json())
        del data[key]
        with pytest.raises(ValidationError, match=key):
            Card.model_validate(data)
