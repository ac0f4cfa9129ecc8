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

__all__ = ["ORT_ERRORS", "new_options", "ort"]

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


def new_options(*, exact: bool) -> ort.SessionOptions:
    """Session options. With `exact`, integers are added alike on every x86-64 processor.

    Without, sums of an int8 network overflow on processors that have AVX2 and no VNNI: of 64
    radiographs, 9 got another class there. Where there is VNNI, `exact` takes twice as long
    (docs/bundle.md).
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options
