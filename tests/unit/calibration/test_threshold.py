"""The referral threshold: tail and search by scipy, its promise by simulation."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom

from calibration.threshold import referral_threshold


def plain_search(
    p: npt.NDArray[np.float64], c: npt.NDArray[np.bool_], promised: float, delta: float
) -> float | None:
    """Down from the candidate of greatest power under true confidences, until the first failure."""
    candidates = [hundredths / 100 for hundredths in range(99, -1, -1)]
    powers = []
    for candidate in candidates:
        above = p[p >= candidate]
        passing = np.flatnonzero(binom.sf(np.arange(-1, len(above)), len(above), promised) <= delta)
        powers.append(binom.sf(passing[0] - 1, len(above), above.mean()) if passing.size else 0)
    found = None
    for candidate in candidates[int(np.argmax(np.round(powers, 12))) :]:
        above = p >= candidate
        if binom.sf(c[above].sum() - 1, above.sum(), promised) > delta:
            break
        found = candidate
    return found


def test_the_search_is_the_plain_one() -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        p = rng.uniform(0.3, 1, 400)
        c = rng.random(400) < p + 0.05 * rng.normal()
        threshold = referral_threshold(p, c, promised_accuracy=0.85, delta=0.1)
        assert (threshold and threshold.confidence) == plain_search(p, c, 0.85, 0.1)
        if threshold:
            assert threshold.coverage == np.mean(p >= threshold.confidence)
            assert (threshold.promised_accuracy, threshold.delta) == (0.85, 0.1)


@pytest.mark.slow
def test_the_promise_holds_where_every_test_is_at_its_limit() -> None:
    """Accuracy just below the promise: any threshold is false, and costs at most delta."""
    rng, delta = np.random.default_rng(3), 0.2
    found = 0
    for _ in range(500):
        p = 0.5 + 0.5 * rng.beta(8, 1, 500)
        found += (
            referral_threshold(p, rng.random(500) < 0.9499, promised_accuracy=0.95, delta=delta)
            is not None
        )
    assert found / 500 <= delta + 2.6 * np.sqrt(delta * (1 - delta) / 500)
    assert found / 500 > delta / 3  # the binomial is discrete, but not idle


def test_an_answer_at_the_threshold_counts_as_above() -> None:
    for level in (0.8, 1.0):
        threshold = referral_threshold([level] * 100, [True] * 100, promised_accuracy=0.9)
        assert (threshold.confidence, threshold.coverage) == (0.0, 1.0)
    mixed = referral_threshold(
        [0.8] * 100 + [0.79] * 100, [True] * 100 + [False] * 100, promised_accuracy=0.9
    )
    assert (mixed.confidence, mixed.coverage) == (0.8, 0.5)


def test_promises_that_mean_nothing_are_refused() -> None:
    for promised, delta in [(0, 0.05), (1, 0.05), (0.9, 0), (0.9, 1), (float("nan"), 0.05)]:
        with pytest.raises(ValueError, match=r"\(0, 1\)"):
            referral_threshold([0.9], [True], promised_accuracy=promised, delta=delta)
