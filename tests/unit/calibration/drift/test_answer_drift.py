"""The sign for changed answers, against a plain loop and simulation."""

import numpy as np
import pytest

from calibration.bins import BIN_COUNT, IntArray
from calibration.drift.answer_drift import (
    _drawn,
    _log_bets,
    _p_values,
    _run,
    _uniforms,
    count_answers,
    follow,
)


def drawn(rng: np.random.Generator, n: int, classes: int = 2, shift: float = 0.0) -> IntArray:
    """Counts of n answers; with a shift, class 1 is more likely."""
    logits = 2 * rng.normal(size=(n, classes))
    logits[:, 1] += shift
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    bins = np.clip(np.ceil(p.max(axis=1) * BIN_COUNT).astype(int) - 1, 0, BIN_COUNT - 1)
    return count_answers(p.argmax(axis=1), bins, classes)


NOTHING = np.zeros((2, BIN_COUNT), dtype=np.int64)


def test_ranks_are_counted_among_all_before() -> None:
    bag, answers = np.array([[3, 0, 2]]), np.array([[2, 0, 1]])
    u = _uniforms("seed 0", 3)
    expected = [(0 + u[0] * 3) / 6, (3 + u[1] * 4) / 7, (3 + u[2] * 1) / 8]
    np.testing.assert_allclose(_p_values(bag, answers, "seed")[:, 0], expected)


def test_every_bet_is_a_density() -> None:
    p = (np.arange(200_000) + 0.5) / 200_000
    np.testing.assert_allclose(np.exp(_log_bets(p[:, None])).mean(axis=0)[0], 1.0, atol=2e-3)


def test_the_evidence_is_that_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    log_bets = rng.normal(0, 0.5, size=(50, 2, 3))
    m, expected = np.zeros((2, 3)), []
    for number, e in enumerate(np.exp(log_bets), start=1):
        m = e * (m + 500 / ((number + 499) * (number + 500)))
        expected.append(m.mean() + 500 / (number + 500))
    first, totals = _run(np.full((2, 3), -np.inf), log_bets[:20], 0)
    _, later = _run(first[-1], log_bets[20:], 20)
    np.testing.assert_allclose(np.exp(np.concatenate([totals, later])), expected)


@pytest.mark.slow
@pytest.mark.parametrize("reference", [0, 50, 500])
def test_calm_streams_raise_it_no_more_often_than_promised(reference: int) -> None:
    """1 in 100 is allowed; 3 or more of 40 would be seen with a probability below .01."""
    raised = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        known = drawn(rng, reference) if reference else NOTHING
        raised += (
            follow(known, ((day, drawn(rng, 60)) for day in range(50)), seed=str(seed)).raised_on
            is not None
        )
    assert raised <= 2


@pytest.mark.parametrize("classes", [2, 4])
def test_a_shift_is_found_and_named(classes: int) -> None:
    rng = np.random.default_rng(2)
    days = [(day, drawn(rng, 100, classes, shift=1.5 if day >= 20 else 0.0)) for day in range(40)]
    found = follow(drawn(rng, 500, classes), days, seed="shift")
    assert found.raised_on is not None
    assert 20 <= found.raised_on < 30
    assert (found.view, found.kind) == ((0, "higher") if classes == 2 else (1, "higher"))
    assert (found.reference, found.answers, found.bets) == (500, 4_000, 4_000)


@pytest.mark.parametrize("scale", [1, 100])
def test_the_drawn_answers_are_a_random_sample_without_replacement(scale: int) -> None:
    """Few are put in order, of many some are drawn; either way each is drawn equally often."""
    cells = scale * np.array([1, 0, 3, 6])
    drawn = np.concatenate([_drawn(cells, str(seed))[:5] for seed in range(2_000)])
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, [0.1, 0.0, 0.3, 0.6], atol=0.015)
    assert (np.bincount(_drawn(cells, "all"), minlength=4) <= cells).all()
