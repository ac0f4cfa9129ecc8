"""Read an ONNX file that nobody vouches for; refuse what reaches beyond it or beyond ONNX.

The confined process parses it. It gets the contents of the files that hold weights, and no file.
"""

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from pydantic import Field

from model_store.bundle.graph_part import nodes_of
from model_store.errors import ForeignModelRefused
from model_store.foreign.graph_reading import MAX_NODES
from model_store.foreign.sandbox import Answer, Sandbox

# What one protobuf message may hold, with room for what Candor adds.
MAX_BYTES: Final = 2**31 - 2**20
MAX_LISTED: Final = 1_000  # outputs, entries of metadata, and sets of operators
_ROOM: Final = 2**26  # that inlining and conversion may add to a graph
_PASSES: Final = 2  # the second has the files with weights


class Read(Answer):
    """What reading a file gave beside the graph: why it is refused, or which files it needs."""

    refused: str | None = None
    missing: list[str] = Field(default_factory=list)


def read_onnx(path: Path, sandbox: Sandbox) -> onnx.ModelProto:
    """Return the model in a file, with its functions inlined and its external data read in.

    Raises ForeignModelRefused: it is no ONNX file, too large, needs operators that neither ONNX nor
    ONNX Runtime defines, reads other files, or keeps weights outside its folder.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ForeignModelRefused(
            f"{path} has {path.stat().st_size:,} bytes; ONNX in one file has at most {MAX_BYTES:,}"
        )
    return checked(path.read_bytes(), path, sandbox)


def checked(file: bytes, path: Path, sandbox: Sandbox) -> onnx.ModelProto:
    """Return the model in the bytes of a file, whose weights may be beside `path`.

    Raises as `read_onnx`.
    """
    beside: dict[str, bytes] = {}
    for _ in range(_PASSES):
        total = len(file) + sum(map(len, beside.values()))
        arrays = {f"f:{name}": np.frombuffer(data, np.uint8) for name, data in beside.items()}
        arrays["model"] = np.frombuffer(file, np.uint8)
        limit = min(2 * total + _ROOM, 2**31)
        answer, given = sandbox.ask({"do": "read"}, arrays, Read, max_bytes=limit)
        if answer.refused is not None:
            raise ForeignModelRefused(f"{path} {answer.refused[:600]}")
        if not answer.missing:
            return _parsed(given, path, sandbox)
        beside = _weights(answer.missing, path, len(file))
        sandbox.enlarged(len(file) + sum(map(len, beside.values())))
    raise sandbox.disbelieved("it asks for the same files again")


def _parsed(given: dict[str, np.ndarray], path: Path, sandbox: Sandbox) -> onnx.ModelProto:
    """Return what the other process made of a file, checked as if the file had been it."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(given["model"].tobytes())
    except (KeyError, ValueError, DecodeError) as error:
        raise sandbox.disbelieved("it is no graph") from error
    graph = model.graph
    listed = max(len(graph.output), len(model.metadata_props), len(model.opset_import))
    if listed > MAX_LISTED:
        raise ForeignModelRefused(
            f"{path} has over {MAX_LISTED:,} outputs, entries of metadata or sets of operators, "
            "which no image classifier has"
        )
    if sum(1 for _ in nodes_of(model)) > 2 * MAX_NODES or model.functions:
        raise sandbox.disbelieved("it has operators that should be gone")
    _check_order(model, path)
    return model


def _check_order(model: onnx.ModelProto, path: Path) -> None:
    """Refuse graphs whose nodes do not come after what they read, or give a name again: they may
    form a circle, in which a walk from the outputs would not end.
    """
    graph = model.graph
    given = {"", *(value.name for value in graph.input)}
    given |= {tensor.name for tensor in graph.initializer}
    given |= {sparse.values.name for sparse in graph.sparse_initializer}
    for node in graph.node:
        missing = [name for name in node.input if name not in given]
        again = [name for name in node.output if name and name in given]
        if missing or again:
            what = "reads" if missing else "gives"
            why = "nothing before it gives" if missing else "something before it gives, too"
            raise ForeignModelRefused(
                f"{path} is damaged: its operator {node.op_type[:100]} {what} "
                f"{(missing or again)[0][:100]!r}, which {why}"
            )
        given.update(node.output)


def _weights(names: list[str], path: Path, size: int) -> dict[str, bytes]:
    """Return the content of the files with weights. Raises ForeignModelRefused."""
    files = {name: _inside(path.resolve().parent, name, path) for name in names[:MAX_LISTED]}
    if size + sum(file.stat().st_size for file in files.values()) > MAX_BYTES:
        raise ForeignModelRefused(
            f"{path} and its external data have over {MAX_BYTES:,} bytes, and a bundle is one "
            "file: export a smaller model"
        )
    return {name: file.read_bytes() for name, file in files.items()}


def _inside(folder: Path, name: str, path: Path) -> Path:
    """Return the file of external data. Raises ForeignModelRefused for one outside the folder."""
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
    strange = not name or "\0" in name or absolute or ".." in PurePosixPath(name).parts
    file = folder if strange else folder / name
    if strange or not file.resolve().is_relative_to(folder):
        raise ForeignModelRefused(
            f"{path} keeps weights in {name[:200]!r}, outside its own folder: put both into one "
            "folder, or export with all weights in one file"
        )
    if not file.is_file():
        raise ForeignModelRefused(
            f"{path} keeps weights in {name[:200]!r}, which is not there: put that file beside it, "
            "or export with all weights in one file"
        )
    return file
