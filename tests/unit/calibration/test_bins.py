"""Bins and sums: edges in both float types, exact merging; order and bounds of measures."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.bins import BIN_COUNT, BinSums, bin_index, bin_of, equal_mass_sums
from calibration.measures import metrics
from calibration.measures.ranking import auroc, steps_down
from calibration.measures.smooth import smooth_ece


def test_an_edge_belongs_to_the_bin_below_and_its_neighbors_to_their_own() -> None:
    for many in [1, 1000]:
        for kind in [np.float32, np.float64]:
            for k in range(1, BIN_COUNT + 1):
                edge = (np.array(k) / BIN_COUNT).astype(kind)
                below, above = np.nextafter(edge, kind(0)), np.nextafter(edge, kind(2))
                if kind is np.float64:  # the nearest float32 number counts as the edge too
                    above = np.nextafter(max(edge, np.float64(np.float32(edge))), 2)
                assert (bin_index(np.full(many, edge)) == k - 1).all()
                assert (bin_index(np.full(many, below)) == k - 1).all()
                if k < BIN_COUNT:
                    assert (bin_index(np.full(many, above)) == k).all()
                    assert bin_of(float(above)) == k
                assert (bin_of(float(edge)), bin_of(float(below))) == (k - 1, k - 1)


@pytest.mark.parametrize("outside", [-1e-9, 1.0000001, np.nan])
def test_one_number_outside_has_no_bin(outside: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        bin_of(outside)


def test_a_confidence_keeps_its_bin_when_a_double_carries_it() -> None:
    for bin_count in [1, 2, 7, 10, 15, 20, 40, 41, 100]:
        edges = (np.arange(bin_count + 1) / bin_count).astype(np.float32)
        near = np.clip(
            [edges, np.nextafter(edges, np.float32(0)), np.nextafter(edges, np.float32(2))], 0, 1
        )
        values = np.tile(near.astype(np.float32).ravel(), 100)
        expected = bin_index(values, bin_count)
        assert np.array_equal(bin_index(values.astype(np.float64), bin_count), expected)
        assert [
            int(bin_index(float(value), bin_count)) for value in values[: 3 * (bin_count + 1)]
        ] == expected[: 3 * (bin_count + 1)].tolist()
        assert expected[1 : bin_count + 1].tolist() == list(range(bin_count))


def test_sums_of_many_chunks_are_the_plain_sums() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(100_000)
    c = rng.random(100_000) < p
    sums, index = BinSums.from_predictions(p, c), np.ceil(p * 15).astype(int) - 1
    for name, weight in (
        ("confidence", p),
        ("correct", c),
        ("variance", p * (1 - p)),
        ("squared_error", (c - p) ** 2),
    ):
        np.testing.assert_allclose(
            getattr(sums, name), np.bincount(index, weights=weight), rtol=1e-12
        )
    assert sums.n.tolist() == np.bincount(index).tolist()


@pytest.mark.parametrize("summed", [BinSums.from_predictions, equal_mass_sums, smooth_ece])
def test_what_is_no_probability_is_refused(summed: Any) -> None:
    for wrong in [-1e-12, 1 + 1e-9, np.nan, np.inf, -np.inf]:
        for call in (lambda p: bin_index(p), lambda p: summed(p, [True, True])):
            with pytest.raises(ValueError, match=r"\[0, 1\]"):
                call([0.5, wrong])


@pytest.mark.parametrize(
    "measure", [BinSums.from_predictions, equal_mass_sums, smooth_ece, auroc, steps_down]
)
def test_shapes_that_do_not_match_are_refused(measure: Any) -> None:
    for p, c in (([0.5, 0.6], [True]), ([[0.5, 0.6]], [[True, False]])):
        with pytest.raises(ValueError, match=r"shape \(N,\)"):
            measure(p, c)


Answers = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]

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
