"""ONNX Runtime with its telemetry off; every module imports `ort` from here.

From release 1.29 on, the official builds write a device id and a database to the home folder and
send events to Microsoft, unless ORT_DISABLE_TELEMETRY is set before the library is loaded.
`disable_telemetry_events` is too late for
that: by then the files are written.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the imports below

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as _state

__all__ = ["ORT_ERRORS", "ort"]

# on Windows this alone counts, and where somebody else had loaded the library already
ort.disable_telemetry_events()

# ONNX Runtime's exceptions have no common base class but Exception.
ORT_ERRORS: tuple[type[Exception], ...] = (
    _state.EPFail,
    _state.Fail,
    _state.InvalidArgument,
    _state.InvalidGraph,
    _state.InvalidProtobuf,
    _state.NotImplemented,
    _state.RuntimeException,
    RuntimeError,
)
