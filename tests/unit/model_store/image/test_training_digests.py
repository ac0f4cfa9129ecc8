"""Hashes of training images: their file, and which images they know."""

import hashlib

import numpy as np
import pytest

from model_store.image.training_digests import MOST_DIGESTS, DigestsInvalid, TrainingDigests

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
