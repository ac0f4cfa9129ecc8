"""The process that reads, converts and runs foreign graphs: NumPy, onnx, ONNX Runtime, and little
of Candor.

Started by `sandbox.py` with limits on its memory, and confined before the first byte of a file.
"""

import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from model_store import kernel
from model_store.confinement import confine
from model_store.foreign.frames import NUMBERS, read_frame, write_frame

Array = npt.NDArray[Any]
Answer = tuple[dict[str, Any], dict[str, Array]]


def main(memory_bytes: int, threads: int, pipe: int | None) -> None:
    """Answer messages until the caller closes standard input.

    `pipe`: of the caller, where the kernel enforces no limits.
    """
    kernel.bound_memory(memory_bytes, pipe)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    import model_store.runtime  # noqa: F401 - not above: the caller imports this module, too

    _rehearse()
    confine(threads=True)
    sessions: list[Any] = []
    while True:
        try:
            asked, arrays = read_frame(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = answered(asked, arrays, sessions, threads)
        except MemoryError:
            answer = {"error": "it asks for more memory than it may have"}, {}
        except Exception as error:  # noqa: BLE001 - whatever onnx and its runtime raise is the answer
            answer = {"error": str(error)}, {}
        write_frame(out, *answer)


def _rehearse() -> None:
    """Do once what imports modules, since files are out of reach later."""
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    old = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)])
    _read({"model": np.frombuffer(old.SerializeToString(), np.uint8)})
    frame = io.BytesIO()
    write_frame(frame, {}, {})
    frame.seek(0)
    read_frame(frame)


def answered(
    asked: Mapping[str, Any], arrays: Mapping[str, Array], sessions: list[Any], threads: int
) -> Answer:
    """Do one of four things: read a file, load a graph, run it, or unload it."""
    if asked["do"] == "read":
        return _read(arrays)
    if asked["do"] == "load":
        sessions.append(load(arrays["model"].tobytes(), threads))
        return describe(sessions[-1]), {}
    if asked["do"] == "unload":
        sessions[asked["session"]] = None
        return {}, {}
    return {}, run(sessions[asked["session"]], asked["outputs"], arrays)


def _read(arrays: Mapping[str, Array]) -> Answer:
    from model_store.foreign.graph_reading import ReadingRefused, read_graph

    beside = {name[2:]: array.tobytes() for name, array in arrays.items() if name[:2] == "f:"}
    try:
        missing, graph = read_graph(arrays["model"].tobytes(), beside)
    except ReadingRefused as refused:
        return {"refused": str(refused)}, {}
    return {"missing": missing}, {"model": np.frombuffer(graph, np.uint8)}


def load(model: bytes, threads: int) -> Any:
    from model_store.runtime import open_session, ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return open_session(model, options=options, exact=True)


def describe(session: Any) -> dict[str, Any]:
    inputs = session.get_inputs()
    return {"inputs": [{"name": x.name, "type": x.type, "shape": x.shape} for x in inputs]}


def run(session: Any, outputs: Sequence[str], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the outputs that are arrays of numbers, by name."""
    values = session.run(outputs, dict(arrays))
    return {
        name: value
        for name, value in zip(outputs, values, strict=True)
        if isinstance(value, np.ndarray) and value.dtype.name in NUMBERS
    }
