"""What must hold of every measure for any answers: merging, order and bounds."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from calibration.bins import BinSums, equal_mass_sums
from calibration.measures import metrics
from calibration.measures.smooth import smooth_ece
from calibration.measures.summary import Measures

Answers = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]
Labeled = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]

# Edges, their float32 neighbors, the ends, and anything between.
confidences = st.one_of(
    st.sampled_from(
        [
            0.0,
            1.0,
            *(k / 15 for k in range(1, 15)),
            *(float(np.float32(k / 15)) for k in range(1, 15)),
        ]
    ),
    st.floats(0, 1),
    st.floats(0, 1, width=32),
)


@st.composite
def answers(draw: st.DrawFn, *, least: int = 0) -> Answers:
    pairs = draw(st.lists(st.tuples(confidences, st.booleans()), min_size=least, max_size=40))
    return np.array([p for p, _ in pairs], dtype=float), np.array([c for _, c in pairs], dtype=bool)


@st.composite
def labeled(draw: st.DrawFn) -> Labeled:
    n, classes = draw(st.integers(1, 25)), draw(st.integers(2, 4))
    scores = (
        draw(nps.arrays(float, (n, classes), elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0])))
        + 1e-3
    )
    y = draw(nps.arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    return scores / scores.sum(axis=1, keepdims=True), y


@pytest.mark.slow
@given(parts=st.tuples(answers(), answers(), answers()))
def test_sums_merge_in_any_grouping_and_order(parts: tuple[Answers, Answers, Answers]) -> None:
    a, b, c = (BinSums.from_predictions(*part) for part in parts)
    whole = BinSums.from_predictions(*map(np.concatenate, zip(*parts, strict=True)))
    for merged in ((a + b) + c, a + (b + c), c + (b + a)):
        for name, values in vars(whole).items():
            np.testing.assert_allclose(getattr(merged, name), values, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@settings(max_examples=25)
@given(labeled(), st.integers(0, 1000))
def test_no_measure_depends_on_the_order_of_the_answers(case: Labeled, seed: int) -> None:
    p, y = case
    order = np.random.default_rng(seed).permutation(len(y))
    first, second = (
        Measures.from_probabilities(p, y).as_dict(),
        Measures.from_probabilities(p[order], y[order]).as_dict(),
    )
    for name, value in first.items():
        expected = value if value is None else pytest.approx(value, rel=1e-6, abs=1e-9)
        assert second[name] == expected, name


@settings(max_examples=50)
@given(answers(least=1))
def test_inequalities_between_the_errors(case: Answers) -> None:
    sums = BinSums.from_predictions(*case)
    gap, ece, mce = abs(metrics.signed_gap(sums)), metrics.ece(sums), metrics.mce(sums)
    assert gap <= ece + 1e-12  # DCA, the loss, is this gap over a batch
    assert ece <= mce + 1e-12
    assert mce <= 1 + 1e-12
    assert gap - 1e-3 <= smooth_ece(*case) <= 1 + 1e-9
    assert gap <= metrics.ece(equal_mass_sums(*case)) + 1e-12
    assert (
        metrics.debiased_rms(sums) ** 2
        <= (sums.difference[sums.n > 0] ** 2 / sums.n[sums.n > 0]).sum() / sums.total
    )
    lower, upper = metrics.ece_interval(sums)
    assert 0 <= lower <= ece <= upper + 1e-12
