"""What ONNX Runtime does alone: the ceiling, measured before and after every server row."""

import time

import numpy as np
import onnxruntime as ort


def raw_images_per_s(onnx: bytes, *, shape: tuple[int, int, int], batch: int, threads: int, seconds: float) -> float:
    """Images per second of a bare session with the library's own options, on decoded images (batch, *shape) uint8."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 255, (batch, *shape), dtype=np.uint8)
    for _ in range(3):
        session.run(None, {"image": images})
    runs, started_s = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - started_s) < seconds:
        session.run(None, {"image": images})
        runs += 1
    return runs * batch / elapsed_s
