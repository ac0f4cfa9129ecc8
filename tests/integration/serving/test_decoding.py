"""Images decoded in processes: the same pixels, limits that hold, processes that end."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hosting.errors import DecoderUnavailable, Overloaded
from hosting.settings import Settings
from model_store import kernel
from model_store.errors import BrokenImage, EmptyImage, ImageTooComplex, ImageTooLarge, UnknownImage
from model_store.image import InputSpec, decode
from serving.decoding import decoder as decoder_module
from serving.decoding.channel import KEPT_BYTES
from serving.decoding.child import start_child
from serving.decoding.decoder import Decoder
from serving.decoding.process import DecodingProcess
from tests.builders.bundles import encode, jpeg, picture, png
from tests.builders.dicoms import dicom, dicom_frames
from tests.builders.hostile_images import (
    SIDE,
    jpeg_2000_in_tiles_of_one_pixel,
    jpeg_of_scans,
    webp_canvas,
)
from tests.builders.hostile_images import png as zeros
from tests.builders.processes import wait_until
from tests.builders.services import until

pytestmark = pytest.mark.anyio
SPEC = InputSpec(3, 8, 8)
SHARE_BYTES = 512 * 2**20
PATIENT: dict[str, Any] = {
    "deadline_s": 60,
    "memory_bytes": 3 * SHARE_BYTES,  # for one process
}


@pytest.fixture(params=[True, False], ids=["kernel", "watched"])
def enforces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the kernel enforces limits, or the server does, as on macOS."""
    monkeypatch.setattr(kernel, "ENFORCES", request.param)
    return bool(request.param)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy."""
    monkeypatch.setattr(decoder_module, "CPU_S", 60.0)


def opened(**settings: Any) -> Decoder:
    return Decoder(Settings(**(PATIENT | settings)), observe_s=lambda _: None)


@pytest.fixture
async def pool() -> AsyncIterator[Decoder]:
    pool = opened()
    yield pool
    pool.close()


def pids(pool: Decoder) -> set[int]:
    return {process.pid for process in (*pool._idle, *pool._busy)}


def children() -> set[int]:
    """Decoding processes of this process that run."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if (
                int(fields[1]) == os.getpid()
                and b"serving.decoding.worker" in (folder / "cmdline").read_bytes()
            ):
                found.add(int(folder.name))
        except OSError:
            continue
    return found


ANYTHING: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encode(picture(size=(900, 700)), "JPEG"),
    "png": lambda: encode(picture(size=(900, 700), mode="RGBA"), "PNG"),
    "tiff": lambda: encode(picture(), "TIFF"),
    "webp": lambda: encode(picture(size=(900, 700)), "WEBP"),
    "bmp": lambda: encode(picture(size=(900, 700)), "BMP"),
    "dicom": lambda: dicom(np.arange(900, dtype=np.uint16).reshape(30, 30)),
    "large": lambda: encode(picture(size=(4000, 3000)), "JPEG", progressive=True),
    "small": lambda: encode(picture(), "PNG"),
}


async def test_processes_decode_as_the_model_store_does(pool: Decoder) -> None:
    for name, make in ANYTHING.items():
        data = make()
        for spec in (SPEC, InputSpec(1, 30, 40, "crop", window=(450.0, 300.0))):
            decoded = await pool.decode(data, spec)
            np.testing.assert_array_equal(decoded, decode(data, spec), err_msg=name)


async def test_the_memory_of_a_large_image_grows_and_is_given_back(
    pool: Decoder,
) -> None:
    large = encode(
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (3_600, 3_600, 3), np.uint8)),
        "BMP",
    )
    small = encode(picture(size=(900, 700)), "BMP")
    assert len(large) > KEPT_BYTES > len(small)
    for data in (large, small, large):
        np.testing.assert_array_equal(await pool.decode(data, SPEC), decode(data, SPEC))
    [process] = pool._idle
    assert len(process._memory) > KEPT_BYTES
    assert os.fstat(process._memory.file).st_blocks * 512 <= KEPT_BYTES


async def test_without_shared_memory_images_are_decoded_all_the_same(
    pool: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "memfd_create", refused)
    for name in ("jpeg", "dicom"):
        data = ANYTHING[name]()
        np.testing.assert_array_equal(await pool.decode(data, SPEC), decode(data, SPEC))


async def test_a_small_image_needs_no_process(pool: Decoder) -> None:
    await pool.decode(png(), SPEC)
    assert pids(pool) == set()


async def test_an_empty_body_needs_no_process(pool: Decoder) -> None:
    with pytest.raises(EmptyImage):
        await pool.decode(b"", SPEC)
    assert pool.count == 0


async def test_errors_come_through_word_for_word(pool: Decoder) -> None:
    for data, error in (
        (b"II*\0text", UnknownImage),
        (encode(picture(size=(600, 600)), "PNG")[:-500], BrokenImage),
        (webp_canvas(16_383, 16_383), ImageTooLarge),
        (jpeg_of_scans(500), ImageTooComplex),
    ):
        with pytest.raises(error) as here:
            decode(data, SPEC)
        with pytest.raises(error) as there:
            await pool.decode(data, SPEC)
        assert str(there.value) == str(here.value)
    assert len(pids(pool)) == 1


@pytest.mark.usefixtures("enforces")
async def test_a_process_out_of_time_is_ended_and_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoder_module, "CPU_S", 1.0)
    others = children()
    pool = opened(max_pixels=100_000_000, memory_bytes=6 * SHARE_BYTES)
    try:
        [before] = await _pids_after(pool, jpeg(size=(600, 600)))
        slow = jpeg_of_scans(90, side=10_000)  # more than three seconds on a fast machine
        with pytest.raises(ImageTooComplex, match="processor time"):
            await pool.decode(slow, SPEC)
        [after] = await _pids_after(pool, jpeg(size=(600, 600)))
        assert before != after
        assert children() - others == {after}
    finally:
        pool.close()


@pytest.mark.usefixtures("enforces")
async def test_an_image_for_which_the_memory_never_suffices_is_refused() -> None:
    pool = opened(memory_bytes=3 * 2**28)
    try:
        with pytest.raises(ImageTooComplex, match="128 MiB"):
            await pool.decode(zeros(SIDE, SIDE, color=6), SPEC)
        assert (await pool.decode(jpeg(size=(600, 600)), SPEC)).shape == (3, 8, 8)
    finally:
        pool.close()


@pytest.mark.usefixtures("enforces")
async def test_items_that_the_header_does_not_tell_of_are_bounded_all_the_same(
    pool: Decoder,
) -> None:
    """A million items in a DICOM file would be parsed before its size is known."""
    data = dicom(np.zeros((8, 8), np.uint8))
    at = data.index(b"\x10\x00\x20\x00LO")
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 1_200_000
    end = b"\xfe\xff\xdd\xe0\0\0\0\0"
    flood = b"\x09\x00\x10\x10SQ\0\0\xff\xff\xff\xff" + items + end
    with pytest.raises(ImageTooComplex, match="1,200,000 items"):
        await pool.decode(data[:at] + flood + data[at:], SPEC)
    assert (await pool.decode(jpeg(size=(600, 600)), SPEC)).shape == (3, 8, 8)


@pytest.mark.usefixtures("enforces")
async def test_memory_that_the_header_does_not_tell_of_is_bounded_all_the_same(
    pool: Decoder,
) -> None:
    """65,025 tiles in 255 x 255 pixels: 668 bytes that would take 600 MB."""
    frame = jpeg_2000_in_tiles_of_one_pixel(255)
    data = dicom_frames([frame], "1.2.840.10008.1.2.4.90", (255, 255), np.uint8)
    with pytest.raises((BrokenImage, ImageTooComplex)):
        await pool.decode(data, SPEC)
    assert (await pool.decode(jpeg(size=(600, 600)), SPEC)).shape == (3, 8, 8)


@pytest.mark.parametrize("kills", [1, 2])
async def test_an_image_is_refused_only_if_its_process_is_killed_twice(
    pool: Decoder, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    decode, victims = DecodingProcess.decode, set[int]()

    async def killed(process: DecodingProcess, *job: Any, **names: Any) -> Any:
        if len(victims) < kills:
            victims.add(process.pid)
            os.kill(process.pid, signal.SIGSTOP)  # it is not done before it is killed
            asyncio.get_running_loop().call_soon(os.kill, process.pid, signal.SIGKILL)
        return await decode(process, *job, **names)

    monkeypatch.setattr(DecodingProcess, "decode", killed)
    decoding = pool.decode(jpeg(size=(600, 600)), SPEC)
    if kills == 1:
        assert (await decoding).shape == (3, 8, 8)
    else:
        with pytest.raises(ImageTooComplex, match="killed"):
            await decoding
    assert len(victims) == kills
    assert (await pool.decode(jpeg(size=(600, 600)), SPEC)).shape == (3, 8, 8)


async def test_a_process_that_was_killed_while_idle_costs_nothing(pool: Decoder) -> None:
    [victim] = await _pids_after(pool, jpeg(size=(600, 600)))
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in children())
    assert (await pool.decode(jpeg(size=(600, 600)), SPEC)).shape == (3, 8, 8)


async def test_signals_that_end_the_server_leave_its_processes_to_it(pool: Decoder) -> None:
    """A supervisor signals the whole group; what was admitted must still be decoded."""
    [pid] = await _pids_after(pool, jpeg(size=(600, 600)))
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert await _pids_after(pool, jpeg(size=(600, 600))) == {pid}


async def test_too_many_large_images_are_refused(pool: Decoder) -> None:
    pool._load.delivered(1, arrived_s=0.0, now_s=pool._load._last_s + 10_000)
    pool._load.waiting = 1
    with pytest.raises(Overloaded):
        await pool.decode(jpeg(size=(600, 600)), SPEC)


async def test_nobody_waits_longer_than_the_deadline_for_a_process() -> None:
    pool = opened(deadline_s=0.1)
    try:
        assert await pool._places.take(wait_s=lambda: 0)
        with pytest.raises(Overloaded):
            await pool.decode(jpeg(size=(600, 600)), SPEC)
        assert pool._load.waiting == 0
    finally:
        pool.close()


async def test_whoever_hangs_up_keeps_the_place_until_the_process_is_done() -> None:
    pool = opened()
    try:
        [pid] = await _pids_after(pool, jpeg(size=(600, 600)))
        os.kill(pid, signal.SIGSTOP)
        decoding = asyncio.ensure_future(pool.decode(jpeg(size=(600, 600)), SPEC))
        await until(lambda: bool(pool._busy))
        decoding.cancel()
        await asyncio.gather(decoding, return_exceptions=True)
        assert (pool._load.waiting, pool._places.free) == (1, 0)
    finally:
        pool.close()
    await until(lambda: (pool._load.waiting, pool._places.free) == (0, 1))


async def test_idle_processes_are_ended_but_one(monkeypatch: pytest.MonkeyPatch) -> None:
    before = children()  # of applications that other tests keep
    pool = opened(memory_bytes=6 * SHARE_BYTES)
    try:
        images = [jpeg(size=(1500, 1500)) for _ in range(6)]
        await asyncio.gather(*(pool.decode(image, SPEC) for image in images))
        assert pool.count == 2
        pool._retiring.cancel()
        monkeypatch.setattr(decoder_module, "IDLE_S", 0.1)
        pool._retire()
        await until(lambda: pool.count == 1)
        assert (await pool.decode(images[0], SPEC)).shape == (3, 8, 8)
    finally:
        pool.close()
    await until(lambda: children() <= before)


@pytest.mark.usefixtures("enforces")
async def test_a_start_that_is_given_up_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*given: Any) -> Any:
        child, watch = start_child(*given)
        child.send_signal(signal.SIGSTOP)  # it never says that it is ready
        return child, watch

    monkeypatch.setattr("serving.decoding.process.start_child", stopped)
    before = children()
    starting = asyncio.ensure_future(DecodingProcess.start(SHARE_BYTES))
    await until(lambda: bool(children() - before))
    starting.cancel()
    kept = await asyncio.gather(starting, return_exceptions=True)  # with it, nothing is collected
    assert isinstance(kept[0], asyncio.CancelledError)
    gc.disable()
    try:
        await until(lambda: children() <= before)
    finally:
        gc.enable()


async def test_a_machine_that_starts_no_process_says_so(
    pool: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.decoding.child.sys.executable", "/nowhere/python")
    with pytest.raises(DecoderUnavailable, match="No such file"):
        await pool.decode(jpeg(size=(600, 600)), SPEC)
    monkeypatch.setattr("serving.decoding.child.sys.executable", "/bin/false")
    with pytest.raises(DecoderUnavailable, match="stays alive"):
        await pool.decode(jpeg(size=(600, 600)), SPEC)
    await pool.warm_up()
    assert (await pool.decode(png(), SPEC)).shape == (3, 8, 8)


async def test_the_processes_inherit_no_secret(
    pool: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANDOR_TOKENS", "a-secret-of-sixteen-letters admin")
    [pid] = await _pids_after(pool, encode(picture(size=(600, 600)), "JPEG"))
    assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()


async def _pids_after(pool: Decoder, data: bytes) -> set[int]:
    await pool.decode(data, SPEC)
    return pids(pool)
