"""Decode, infer and answer, the same for every peer. Runs in the peer's environment.

The session has the same options as Candor's. Threads that spin longer would take the second core
from the HTTP side. Images are decoded by Candor's decoder, a copy of which is beside the model.
"""

import os
from functools import partial

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # as in Candor, which this environment lacks
import onnxruntime

from model_store.image import InputSpec
from model_store.image import decode as decode_as_candor

CLASSES = ("normal", "pneumonia")
SIDE = int(os.environ["BENCH_SIDE"])
CHANNELS = int(os.environ["BENCH_CHANNELS"])
MAX_BATCH = 16
WAIT_S = 0.01


class Model:
    """One session."""

    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["BENCH_THREADS"])
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.add_session_config_entry("session.intra_op.spin_duration_us", "200")
        self._session = onnxruntime.InferenceSession(
            os.environ["BENCH_ONNX"], options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, images):
        """Answers for decoded images."""
        (probabilities,) = self._session.run(None, {"image": np.stack(images)})
        return [
            {
                "predicted": CLASSES[int(row.argmax())],
                "probabilities": dict(zip(CLASSES, row.tolist(), strict=True)),
            }
            for row in probabilities
        ]


decode = partial(decode_as_candor, spec=InputSpec(CHANNELS, SIDE, SIDE))
