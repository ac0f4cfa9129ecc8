"""Probe images, brightness, suffixes, and hashes of training images."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from candor.predictions.image_files import image_files
from model_store.image import FORMATS
from model_store.image.brightness import brightness
from model_store.image.probes import GRID, Probes, ProbesInvalid, enlarged
from model_store.image.suffixes import IMAGE_SUFFIXES, images_below
from model_store.image.training_digests import MOST_DIGESTS, DigestsInvalid, TrainingDigests

GRIDS = np.random.default_rng(0).integers(0, 256, (2, 3, GRID, GRID)).astype(np.uint8)
PROBES = Probes(GRIDS, np.array([[0.25, 0.75], [0.5, 0.5]]))


def test_the_file_says_what_was_written() -> None:
    read = Probes.from_json(PROBES.as_json(), channels=3, outputs=2)
    assert (read.grids == GRIDS).all()
    assert (read.probabilities == PROBES.probabilities).all()


def test_what_is_no_file_of_probes_is_refused() -> None:
    for change in [
        {"format_version": 2},
        {"grids": ["AAAA"]},
        {"grids": "no list"},
        {"probabilities": [[0.5]]},
        {"probabilities": {"a": [[0.5]]}},
    ]:
        changed = json.dumps(json.loads(PROBES.as_json()) | change).encode()
        for data in (changed, b"no JSON", b"[]", b"[" * 100_000):
            with pytest.raises(ProbesInvalid):
                Probes.from_json(data, channels=3, outputs=2)


@pytest.mark.parametrize("size", [(8, 8), (16, 40), (17, 100)])
def test_each_value_becomes_a_block_of_the_input(size: tuple[int, int]) -> None:
    inputs = enlarged(GRIDS, *size)
    assert inputs.shape == (2, 3, *size)
    assert (inputs[:, :, 0, 0] == GRIDS[:, :, 0, 0]).all()
    rows, columns = (np.arange(side) // -(-side // GRID) for side in size)
    assert (inputs == GRIDS[:, :, rows][:, :, :, columns]).all()


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        ([[0.25, 0.75], [0.4, 0.6]], 0.1),
        ([[0.25, np.nan], [0.5, 0.5]], 1.0),
        ([[0.25, 0.75]], 1.0),
    ],
)
def test_the_largest_difference_counts(found: list[list[float]], difference: float) -> None:
    answers = PROBES.difference(lambda _: np.array(found), height=8, width=8)
    assert answers == pytest.approx(difference)


@pytest.mark.parametrize("shape", [(5, 1, 7, 9), (3, 3, 224, 224)])
def test_it_is_numpys_mean_and_standard_deviation(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images[1] = 255
    flat = images.reshape(len(images), -1).astype(np.float64)
    np.testing.assert_allclose(
        brightness(images), np.stack([flat.mean(axis=1), flat.std(axis=1)], axis=1), atol=2e-3
    )


def test_every_suffix_belongs_to_a_format_that_is_decoded() -> None:
    known = Image.registered_extensions()
    formats = {suffix: known.get(suffix, "DICOM") for suffix in IMAGE_SUFFIXES}
    assert set(formats.values()) == {*FORMATS, "DICOM"}


def test_training_and_the_client_find_the_same_files(tmp_path: Path) -> None:
    for name in ("a.dicom", "b.DCM", "c.txt", ".d.png", "e.png"):
        (tmp_path / name).touch()
    assert [path.name for path in images_below(tmp_path)] == ["a.dicom", "b.DCM", "e.png"]
    assert image_files([tmp_path]) == images_below(tmp_path)


IMAGES = np.random.default_rng(0).integers(0, 256, (50, 3, 8, 8)).astype(np.uint8)
KEY = bytes(range(16))
KNOWN = TrainingDigests.of(IMAGES[:40], key=KEY)


def test_seen_images_are_known_and_new_ones_are_not() -> None:
    read = TrainingDigests.from_bytes(KNOWN.as_bytes())
    assert len(KNOWN.as_bytes()) == 16 + 40 * 8
    assert (read.seen(IMAGES), read.seen(IMAGES[40:]), read.seen(IMAGES[:0])) == (40, 0, 0)
    changed = IMAGES[:40].copy()
    changed[:, 0, 0, 0] ^= 1
    assert read.seen(changed) == 0


def test_a_digest_is_keyed_blake2b() -> None:
    own = hashlib.blake2b(IMAGES[0].tobytes(), digest_size=8, key=KEY).digest()
    assert own in {KNOWN.as_bytes()[at : at + 8] for at in range(16, 336, 8)}
    other = TrainingDigests.of(IMAGES[:1], key=bytes(16))
    assert own not in other.as_bytes()


@pytest.mark.parametrize("size", [0, 15, 17, 16 + 8 * MOST_DIGESTS + 8])
def test_what_is_no_file_of_digests_is_refused(size: int) -> None:
    with pytest.raises(DigestsInvalid):
        TrainingDigests.from_bytes(bytes(size))
