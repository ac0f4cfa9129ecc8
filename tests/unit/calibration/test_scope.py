"""The scope check's arithmetic against independent ones, by hand and by drawing."""

import numpy as np
import pytest
from scipy.stats import beta
from sklearn.covariance import LedoitWolf

from calibration.scope.p_values import flagged_share, p_values
from calibration.scope.scores import Mahalanobis
from calibration.scope.watch import follow_doubtful


def cloud(seed: int, count: int, shift: float = 0.0) -> np.ndarray:
    mixing = np.random.default_rng(99).normal(size=(8, 8))
    return np.random.default_rng(seed).normal(size=(count, 8)) @ mixing + shift


@pytest.mark.parametrize(("images", "flagged"), [(19, 1), (20, 1), (300, 15), (1_000, 50)])
def test_the_share_flagged_is_scipys_beta(images: int, flagged: int) -> None:
    expected = beta.ppf([0.025, 0.975], flagged, images + 1 - flagged)
    assert np.allclose(flagged_share(images), expected, atol=1e-9)


def test_the_mahalanobis_distance_is_that_of_ledoit_and_wolf() -> None:
    fitted, rows = cloud(0, 60), cloud(1, 20)
    score = Mahalanobis.fit(fitted)
    known, asked = ((each - fitted.mean(axis=0)) / fitted.std(axis=0) for each in (fitted, rows))
    precision = LedoitWolf(assume_centered=True).fit(known).precision_
    expected = np.einsum("ij,jk,ik->i", asked, precision, asked)
    assert np.allclose(score(rows), expected, rtol=1e-6)


def test_what_only_rounding_moves_does_not_count() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(0, 1, (300, 4))
    rows[:, 3] = -6.9 + 1e-5 * rows[:, 3]
    otherwise = rows + np.array([0, 0, 0, 5e-5])
    score = Mahalanobis.fit_parts(rows, 2)
    np.testing.assert_allclose(score(otherwise), score(rows), rtol=1e-3)


def test_a_channel_that_is_nearly_always_silent_hides_no_far_images() -> None:
    random = np.random.default_rng(4)
    rows, far = random.normal(size=(400, 20)), random.normal(size=(100, 20)) + 3
    rows[:, 0], far[:, 0] = 1e-3 * rows[:, 0], 0.0
    rows[200::10, 0] = 0.3  # a tenth of the images that calibrate
    for first in (0, 10):
        score = Mahalanobis.fit_parts(rows[:200], first)
        assert np.mean(p_values(score(rows[200:]), score(far)) <= 0.05) > 0.95


def test_the_part_with_few_features_is_not_hidden_by_the_other() -> None:
    random = np.random.default_rng(3)
    rows, other = random.normal(size=(600, 303)), random.normal(size=(100, 303))
    other[:, 300:] += 3  # nothing is unusual but three of 303 features
    found = {}
    for name, score in (
        ("sum", Mahalanobis.fit_parts(rows[:300], 300)),
        ("one", Mahalanobis.fit(rows[:300])),
    ):
        found[name] = np.mean(p_values(score(rows[300:]), score(other)) <= 0.05)
    assert found["sum"] > found["one"] + 0.3
    only = Mahalanobis.fit_parts(rows[:300, :20], 0), Mahalanobis.fit(rows[:300, :20])
    ratio = only[0](other[:, :20]) / only[1](other[:, :20])
    assert np.allclose(ratio, ratio[0])


def test_few_images_flag_none() -> None:
    assert flagged_share(18) == (0.0, 0.0)
    assert p_values(np.arange(18.0), np.array([99.0]))[0] > 0.05
    assert p_values(np.arange(19.0), np.array([99.0]))[0] == 0.05


@pytest.mark.nightly
@pytest.mark.parametrize("images", [3, 40])
def test_the_alarm_of_doubtful_images_keeps_its_promise(images: int) -> None:
    """A year of days for each of 1,000 versions whose share is the largest that the card allows."""
    random, share = np.random.default_rng(images), flagged_share(300)[1]
    raised = 0
    for _ in range(1_000):
        served = random.poisson(images, 365)
        doubtful = random.binomial(served, share)
        days = list(zip(range(365), served.tolist(), doubtful.tolist(), strict=True))
        raised += follow_doubtful(days, share).raised_on is not None
    assert raised <= 10 + 3 * np.sqrt(10)  # of 1 in 100, and what chance adds to it


def test_a_year_later_a_change_is_still_seen() -> None:
    calm = [(day, 40, 2) for day in range(365)]
    found = follow_doubtful([*calm, *((day, 40, 10) for day in range(365, 380))], 0.077)
    assert found.raised_on is not None
    assert 365 <= found.raised_on < 372
