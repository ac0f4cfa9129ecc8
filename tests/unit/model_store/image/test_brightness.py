"""Brightness and contrast of images, and a card's reference of them."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model_store.bundle.archive import write_archive
from model_store.bundle.card import Card, InputReference
from model_store.image.brightness import brightness

MakeCard = Callable[..., Card]


@pytest.mark.parametrize("shape", [(5, 1, 7, 9), (3, 3, 224, 224)])
def test_it_is_numpys_mean_and_standard_deviation(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images[1] = 255
    flat = images.reshape(len(images), -1).astype(np.float64)
    np.testing.assert_allclose(
        brightness(images), np.stack([flat.mean(axis=1), flat.std(axis=1)], axis=1), atol=2e-3
    )


def test_the_torchserve_archive_is_the_same_with_it(make_card: MakeCard, tmp_path: Path) -> None:
    card = make_card()
    for name, input_reference in (
        ("a", None),
        ("b", InputReference.from_brightness(np.array([[10.0, 4.0]]))),
    ):
        changed = card.model_copy(update={"input_reference": input_reference})
        write_archive(tmp_path / f"{name}.mar", card=changed, onnx=b"")
    assert (tmp_path / "a.mar").read_bytes() == (tmp_path / "b.mar").read_bytes()
    with zipfile.ZipFile(tmp_path / "b.mar") as archive:
        assert "input_reference" not in json.loads(archive.read("card.json"))
