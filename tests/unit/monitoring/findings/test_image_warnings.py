"""Signs in the brightness of images, and how rarely chance raises one."""

import math

import numpy as np

from model_store.bundle.card import InputReference
from monitoring.findings.image_warnings import ENOUGH, find_image_warnings
from monitoring.ledger.inputs import Inputs

REFERENCE = InputReference(mean=120, mean_sd=20, contrast=40, contrast_sd=10, n=500)


def images(count: int, *, mean: float = 120.0, contrast: float = 40.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.normal(mean, 20, count), rng.normal(contrast, 10, count)], axis=1)


def test_a_sign_waits_for_images_enough() -> None:
    reference = REFERENCE.model_dump()
    few, enough = (Inputs(n, 220.0, 20.0, 90.0, 10.0) for n in (ENOUGH - 1, ENOUGH))
    assert [
        (warning.raised, math.isnan(warning.value))
        for warning in find_image_warnings(few, reference)
    ] == [(False, True)] * 2
    assert [warning.raised for warning in find_image_warnings(enough, reference)] == [True] * 2
    assert [warning.value for warning in find_image_warnings(enough, reference)] == [5.0, 5.0]


def test_chance_hardly_ever_raises_a_sign() -> None:
    """Five hundred reference images, two hundred live ones of the same kind: .25 alone would be
    raised by chance.
    """
    false = 0
    for seed in range(300):
        reference = InputReference.from_brightness(images(500, seed=seed)).model_dump()
        live = images(ENOUGH, seed=10_000 + seed)
        (mean, contrast), (mean_sd, contrast_sd) = (
            live.mean(axis=0).tolist(),
            live.std(axis=0).tolist(),
        )
        found = find_image_warnings(Inputs(ENOUGH, mean, mean_sd, contrast, contrast_sd), reference)
        false += any(warning.raised for warning in found)
    assert false <= 4


def test_equal_images_do_not_divide_by_nothing() -> None:
    reference = InputReference(mean=120, mean_sd=0, contrast=0, contrast_sd=0, n=10).model_dump()
    bright, contrast = find_image_warnings(Inputs(500, 130.0, 0.0, 0.0, 0.0), reference)
    assert (bright.value, contrast.value) == (10.0, 0.0)
