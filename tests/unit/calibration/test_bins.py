"""Bins and sums: every edge on its side in both float types; sums merge exactly."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.bins import BIN_COUNT, BinSums, bin_index, bin_of, equal_mass_sums
from calibration.measures.ranking import auroc, steps_down
from calibration.measures.smooth import smooth_ece

answers = st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60)


def sums_of(pairs: list[tuple[float, bool]]) -> BinSums:
    return BinSums.from_predictions([p for p, _ in pairs], [c for _, c in pairs])


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


@given(answers)
def test_rows_survive_json_exactly(pairs: list[tuple[float, bool]]) -> None:
    sums = sums_of(pairs)
    again = BinSums.from_rows(json.loads(json.dumps(sums.as_rows())))
    for name, values in vars(sums).items():
        np.testing.assert_array_equal(getattr(again, name), values, strict=True)
