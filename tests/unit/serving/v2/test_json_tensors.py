"""Numbers of tensors in JSON: values as the json module reads, whole, of the right shape."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.v2.tensors import SLICE_BYTES, read_pixels


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.integers(0, 2**32),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_flat_or_nested_it_is_the_same(
    shape: list[int], seed: int, indent: int | None, flat: bool
) -> None:
    values = np.random.default_rng(seed).integers(0, 256, shape)
    text = json.dumps((values.ravel() if flat else values).tolist(), indent=indent).encode()
    found = read_pixels(text, shape)
    assert found.tolist() == values.ravel().tolist()


def test_a_long_tensor_is_read_in_slices() -> None:
    values = np.random.default_rng(0).integers(0, 256, 3 * SLICE_BYTES)
    found = read_pixels(json.dumps(values.tolist()).encode(), [1])
    assert found is not None
    assert np.array_equal(found, values)


@pytest.mark.parametrize("text", [b"[]", b" [ ] "])
def test_nothing_is_no_values(text: bytes) -> None:
    found = read_pixels(text, [0])
    assert found.size == 0


@pytest.mark.parametrize("text", [b"[1.0, 2e1, 3E+0, 255]", b"[ 1,20 ,3,255 ]"])
def test_other_spellings_of_whole_numbers_are_taken(text: bytes) -> None:
    found = read_pixels(text, [4])
    assert found.tolist() == [1, 20, 3, 255]


def test_anything_else_is_refused() -> None:
    large = (b"[1" + b"0" * 400 + b"]", b"[" + b"9" * 10_000_000 + b"]")
    other = b'[0.5] [256] [-1] [1e400] [true] [null] ["1"] {} 7 null'
    shapes = b"[[1],[2,3]] [[1,2],3] [[],[1]] [[[1]]] [[1,2,3]]"
    for text in (*large, *other.split(), *shapes.split()):
        assert read_pixels(text, [1, 2]) is None


def test_numbers_become_no_objects() -> None:
    text = b"[" + b"7," * 1_000_000 + b"7]"
    tracemalloc.start()
    found = read_pixels(text, [1])
    assert found is not None
    assert tracemalloc.get_traced_memory()[1] < 12 * 2**20
    tracemalloc.stop()
