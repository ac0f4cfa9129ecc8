"""The process that runs foreign graphs: NumPy, ONNX Runtime and little of Candor.

Started by `sandbox.py` with limits on its memory, and confined before the first graph. Messages on
stdin and stdout are a length in eight bytes and an .npz without pickles; what is no array is JSON
in the entry `json`.
"""

import io
import json
import os
import struct
import sys
from typing import IO, Any

import numpy as np

from model_store import kernel
from model_store.confinement import confine


def main(memory_bytes: int, threads: int, pipe: int | None) -> None:
    """Answer messages until the caller closes standard input.

    `pipe`: of the caller, where the kernel enforces no limits.
    """
    kernel.bound_memory(memory_bytes, pipe)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    import model_store.runtime  # noqa: F401 - not above: the caller imports this module, too

    rehearsal = io.BytesIO()  # for what NumPy imports with its first message
    write_message(rehearsal, {}, {})
    rehearsal.seek(0)
    read_message(rehearsal)
    confine(threads=True)
    sessions: list[Any] = []
    while message := read_message(sys.stdin.buffer):
        asked = message.pop("json")
        arrays: dict[str, Any] = {}
        try:
            if asked["do"] == "load":
                sessions.append(load(message["model"].tobytes(), threads))
                answer = describe(sessions[-1])
            elif asked["do"] == "unload":
                sessions[asked["session"]], answer = None, {}
            else:
                answer, arrays = run(sessions[asked["session"]], asked["outputs"], message)
        except MemoryError:
            answer = {"error": "it asks for more memory than it may have"}
        except Exception as error:  # noqa: BLE001 - whatever ONNX Runtime raises is the answer
            answer = {"error": str(error)}
        write_message(out, answer, arrays)


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


def run(
    session: Any, outputs: Any, arrays: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    names = outputs or [each.name for each in session.get_outputs()]
    given = {name.removeprefix("x:"): array for name, array in arrays.items()}
    plain = {
        f"y:{at}": value
        for at, value in enumerate(session.run(names, given))
        if isinstance(value, np.ndarray) and value.dtype != object
    }
    return {"outputs": names}, plain


def read_message(stream: IO[bytes]) -> dict[str, Any] | None:
    head = stream.read(8)
    if len(head) < 8:
        return None
    with np.load(
        io.BytesIO(stream.read(struct.unpack("<Q", head)[0])), allow_pickle=False
    ) as arrays:
        message: dict[str, Any] = dict(arrays)
    return message | {"json": json.loads(message["json"].tobytes())}


def write_message(stream: IO[bytes], answer: dict[str, Any], arrays: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, json=np.frombuffer(json.dumps(answer).encode(), np.uint8), **arrays)
    stream.write(struct.pack("<Q", len(buffer.getvalue())) + buffer.getvalue())
    stream.flush()
