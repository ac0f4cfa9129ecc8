"""Small images on the event loop, large ones in threads, bad ones in their own words."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from model_store.errors import BrokenImage, ImageTooLarge, UnknownImage
from model_store.image import InputSpec, decode
from serving.errors import Overloaded
from serving.http.decoding import DecodingPool, is_small
from serving.inference.metrics import ServingMetrics

SPEC = InputSpec(3, 8, 8)


@pytest.fixture
def pool() -> Iterator[DecodingPool]:
    pool = DecodingPool(max_pixels=1_000_000, deadline_s=1.0, metrics=ServingMetrics(CollectorRegistry()))
    yield pool
    pool.close()


@pytest.mark.parametrize(("side", "small"), [(8, True), (512, True), (513, False)])
def test_size_is_told_from_the_header(jpeg: Callable[..., bytes], side: int, small: bool) -> None:
    assert is_small(jpeg(size=(side, side))) is small


def test_what_is_no_image_is_not_small_unless_it_is_short() -> None:
    assert is_small(b"text") is True
    assert is_small(b"text" * 1000) is False


@pytest.mark.anyio
@pytest.mark.parametrize("side", [32, 600])
async def test_both_ways_decode_as_the_model_store_does(
    pool: DecodingPool, png: Callable[..., bytes], side: int
) -> None:
    data = png(size=(side, side))
    np.testing.assert_array_equal(await pool.decode(data, SPEC), decode(data, SPEC))


@pytest.mark.anyio
async def test_errors_come_through_from_either(pool: DecodingPool, png: Callable[..., bytes]) -> None:
    with pytest.raises(UnknownImage):
        await pool.decode(b"text" * 1000, SPEC)
    with pytest.raises(BrokenImage):
        await pool.decode(png(size=(600, 600))[:-500], SPEC)
    with pytest.raises(ImageTooLarge):
        await pool.decode(png(size=(1001, 1000)), SPEC)


@pytest.mark.anyio
async def test_too_many_large_images_are_refused(pool: DecodingPool, png: Callable[..., bytes]) -> None:
    pool._queue.delivered(1, arrived_s=0.0, now_s=pool._queue._last_s + 100)
    pool._queue.waiting = 1
    with pytest.raises(Overloaded):
        await pool.decode(png(size=(600, 600)), SPEC)
