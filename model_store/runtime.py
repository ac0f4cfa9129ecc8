"""ONNX Runtime with its telemetry off; every module imports `ort` from here.

From release 1.29 on, the official builds write a device id and a database to the home folder and
send events to Microsoft, unless ORT_DISABLE_TELEMETRY is set before the library is loaded.
`disable_telemetry_events` is too late for
that: by then the files are written.
"""

import os
from collections.abc import Sequence

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the imports below

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as _state

__all__ = ["ORT_ERRORS", "open_session", "ort"]

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


def open_session(
    graph: bytes,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    options: ort.SessionOptions | None = None,
    *,
    exact: bool,
) -> ort.InferenceSession:
    """Load a graph. With `exact`, integers are added alike on every x86-64 processor.

    Without, sums of an int8 network overflow on processors that have AVX2 and no VNNI: of 64
    radiographs, 9 got another class there. Where there is VNNI, `exact` takes twice as long
    (docs/bundle.md). A graph that cannot be loaded so, as operators of some integer types have no
    exact kernel, is run as it is. Raises one of ORT_ERRORS.
    """
    if options is None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
    _make_exact(options, exact=exact)
    try:
        return ort.InferenceSession(graph, options, providers=list(providers))
    except ORT_ERRORS:
        if not exact:
            raise
        _make_exact(options, exact=False)
        return ort.InferenceSession(graph, options, providers=list(providers))


def _make_exact(options: ort.SessionOptions, *, exact: bool) -> None:
    options.add_session_config_entry("session.x64quantprecision", str(int(exact)))
