"""The throughput of ONNX Runtime alone, which is the ceiling; measured before and after every
server row.

For radiographs decoding belongs to it: the ceiling is what decoding and inference cost on these
cores.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt

from model_store.image import InputSpec, decode
from model_store.runtime import ort

SPINNING = (True, False)


def raw_images_per_s(
    onnx: bytes,
    *,
    shape: tuple[int, int, int],
    batch: int,
    threads: int,
    spinning: bool,
    seconds: float,
) -> float:
    """Images per second of a bare session on decoded images (batch, *shape) uint8.

    `spinning` is the library's default for idle threads. Which of the two is faster depends on what
    else runs on the machine, so both are measured, and a server is compared with the one that makes
    it look worse.
    """
    images = np.random.default_rng(0).integers(0, 255, (batch, *shape), dtype=np.uint8)
    return _rate(_session(onnx, threads, spinning=spinning), images, seconds)


def decoded_per_s(
    images: Sequence[bytes], spec: InputSpec, *, processes: int, seconds: float
) -> float:
    """Images that so many processes decode at the same time, per second."""
    decode_each = partial(_decoded_per_s, images, spec)
    if processes == 1:
        return decode_each(seconds)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(decode_each, [0.0] * processes))  # until all have started
        return sum(pool.map(decode_each, [seconds] * processes))


def _decoded_per_s(images: Sequence[bytes], spec: InputSpec, seconds: float) -> float:
    done, started_s = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - started_s) < seconds or done < len(images):
        decode(images[done % len(images)], spec)
        done += 1
    return done / elapsed_s


def _session(onnx: bytes, threads: int, *, spinning: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def _rate(session: ort.InferenceSession, images: npt.NDArray[np.uint8], seconds: float) -> float:
    for _ in range(3):
        session.run(None, {"image": images})
    runs, started_s = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - started_s) < seconds:
        session.run(None, {"image": images})
        runs += 1
    return runs * len(images) / elapsed_s
