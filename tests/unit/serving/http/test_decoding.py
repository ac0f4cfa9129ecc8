"""Small images on the event loop, large ones in threads, bad ones in their own words."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from model_store.errors import BrokenImage, ImageTooLarge, UnknownImage
from model_store.image import InputSpec, decode
from serving.errors import Overloaded
from serving.http.decoding import Decoder, is_small
from serving.inference.metrics import ServingMetrics

SPEC = InputSpec(3, 8, 8)


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(max_pixels=1_000_000, deadline_s=1.0, metrics=ServingMetrics(CollectorRegistry()))
    yield decoder
    decoder.close()


@pytest.mark.parametrize(("side", "small"), [(8, True), (512, True), (513, False)])
def test_size_is_told_from_the_header(jpeg: Callable[..., bytes], side: int, small: bool) -> None:
    assert is_small(jpeg(size=(side, side))) is small


def test_what_is_no_image_is_not_small_unless_it_is_short() -> None:
    assert is_small(b"text") is True
    assert is_small(b"text" * 1000) is False


@pytest.mark.anyio
@pytest.mark.parametrize("side", [32, 600])
async def test_both_ways_decode_as_the_model_store_does(decoder: Decoder, png: Callable[..., bytes], side: int) -> None:
    data = png(size=(side, side))
    np.testing.assert_array_equal(await decoder.decode(data, SPEC), decode(data, SPEC))


@pytest.mark.anyio
async def test_errors_come_through_from_either(decoder: Decoder, png: Callable[..., bytes]) -> None:
    with pytest.raises(UnknownImage):
        await decoder.decode(b"text" * 1000, SPEC)
    with pytest.raises(BrokenImage):
        await decoder.decode(png(size=(600, 600))[:-500], SPEC)
    with pytest.raises(ImageTooLarge):
        await decoder.decode(png(size=(1001, 1000)), SPEC)


@pytest.mark.anyio
async def test_too_many_large_images_are_refused(decoder: Decoder, png: Callable[..., bytes]) -> None:
    decoder._queue.delivered(1, arrived_s=0.0, now_s=decoder._queue._last_s + 100)
    decoder._queue.waiting = 1
    with pytest.raises(Overloaded):
        await decoder.decode(png(size=(600, 600)), SPEC)
