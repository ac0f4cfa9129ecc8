"""Read an ONNX file that nobody vouches for. What could reach beyond the file, or beyond ONNX, is
refused by name.

Nothing is run here. A file may still ask for endless time or memory when it runs; `sandbox.py`
limits both.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper, inliner, numpy_helper

from model_store.errors import ForeignModelRefused
from model_store.foreign.contrib_operators import DOMAIN as CONTRIB_DOMAIN
from model_store.foreign.contrib_operators import EXPANDED, expanded

MAX_BYTES: Final = (
    2**31 - 2**20
)  # what one protobuf message may hold, with room for what Candor adds
MAX_NODES: Final = 200_000
MAX_DEPTH: Final = 100  # functions that call each other
DOMAINS: Final = ("", "ai.onnx", "ai.onnx.ml")  # the last is scikit-learn's and ML.NET's
# Operators that read a file, or code, that the graph names.
READING: Final = frozenset({"EPContext", "PythonOp", "PythonOpGrad", "ATen"})
# What people try instead of an ONNX file: how it begins, at which byte, and what to do.
_OTHERS: Final = (
    (
        b"\x89HDF\r\n\x1a\n",
        0,
        "a Keras HDF5 file: load it and call `model.export('model.onnx', format='onnx')`",
    ),
    (
        b"TFL3",
        4,
        "a TensorFlow Lite file: convert it with `python -m tf2onnx.convert --tflite FILE "
        "--output model.onnx`",
    ),
    (
        b"ORTM",
        4,
        "in ONNX Runtime's own format (.ort): import the .onnx file from which it was made",
    ),
    (
        b"PK\x03\x04",
        0,
        "a zip file, such as PyTorch or Keras writes: weights need --architecture, anything else "
        "an export to ONNX",
    ),
    (
        b"\x80\x02",
        0,
        "a pickle, which Candor never loads: export the model to ONNX where it was trained",
    ),
    (
        b"\x80\x04",
        0,
        "a pickle, which Candor never loads: export the model to ONNX where it was trained",
    ),
    (
        b"\x80\x05",
        0,
        "a pickle, which Candor never loads: export the model to ONNX where it was trained",
    ),
    (
        b"version https://git-lfs",
        0,
        "a Git LFS pointer, not the model itself: fetch it with `git lfs pull`",
    ),
    (b"<", 0, "a web page or XML: download the file itself"),
    (b"\x1f\x8b", 0, "compressed with gzip: unpack it first"),
)


def read_onnx(path: Path) -> onnx.ModelProto:
    """Return the model in a file, with its functions inlined and its external data read in.

    Raises:
        ForeignModelRefused: it is no ONNX file, too large, needs operators that neither ONNX nor
            ONNX Runtime defines, reads other files, or keeps weights outside its folder.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ForeignModelRefused(
            f"{path} has {path.stat().st_size:,} bytes; ONNX in one file has at most {MAX_BYTES:,}"
        )
    return checked(_parsed(path), path)


def checked(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Return a parsed model ready for use. `path` is where it came from. Raises as `read_onnx`."""
    if max(sum(1 for _ in nodes_of(model)), _inlined_nodes(model, path)) > MAX_NODES:
        raise ForeignModelRefused(
            f"{path} has more than {MAX_NODES:,} operators, which is no image classifier's size"
        )
    _check_operators(model, path)
    _check_order(model, path)
    _read_external_data(model, path)
    if model.functions:
        model = _inlined(model, path)
    model = expanded(model, path)
    del model.training_info[:]
    return model


def nodes_of(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Give every node, also of functions and inside If, Loop and Scan."""
    yield from _below(chain(model.graph.node, *(function.node for function in model.functions)))


def _below(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _below(inner.node)


def tensors_of(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Give every constant, wherever it is."""
    yield from model.graph.initializer
    for sparse in model.graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in nodes_of(model):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from inner.initializer


def _parsed(path: Path) -> onnx.ModelProto:
    data = path.read_bytes()
    for start, at, what in _OTHERS:
        if data[at : at + len(start)] == start:
            raise ForeignModelRefused(f"{path} is {what}")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ForeignModelRefused(
            f"{path} is not an ONNX file, or it is damaged: export or download it again"
        ) from error
    if not model.ir_version or not model.graph.node or not model.graph.output:
        raise ForeignModelRefused(
            f"{path} is not an ONNX file: it has no graph with operators and outputs"
        )
    return model


def _inlined_nodes(model: onnx.ModelProto, path: Path) -> int:
    """Count the operators once functions are inlined, which call each other. Raises
    ForeignModelRefused if in a " "circle."""
    bodies = {(function.domain, function.name): function.node for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Iterable[onnx.NodeProto], above: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in _below(nodes):
            name = (node.domain, node.op_type)
            if name in above:
                raise ForeignModelRefused(
                    f"{path} has functions that call themselves ({node.op_type}): export it again"
                )
            if len(above) > MAX_DEPTH:
                raise ForeignModelRefused(
                    f"{path} has functions in over {MAX_DEPTH} levels: export it again"
                )
            if name in bodies and name not in sizes:
                sizes[name] = size(bodies[name], (*above, name))
            total += sizes.get(name, 1)
        return total

    return size(model.graph.node, ())


def _check_order(model: onnx.ModelProto, path: Path) -> None:
    """Refuse graphs whose nodes do not come after what they read; they may form a circle."""
    known = {
        "",
        *(each.name for each in model.graph.input),
        *(each.name for each in model.graph.initializer),
    }
    known |= {each.values.name for each in model.graph.sparse_initializer}
    for node in model.graph.node:
        missing = [name for name in node.input if name not in known]
        if missing:
            raise ForeignModelRefused(
                f"{path} is damaged: its operator {node.op_type} reads {missing[0][:100]!r}, which "
                "nothing before it gives"
            )
        known.update(node.output)


def _check_operators(model: onnx.ModelProto, path: Path) -> None:
    reading = sorted({node.op_type for node in nodes_of(model)} & READING)
    if reading:
        raise ForeignModelRefused(
            f"{path} has the operator {', '.join(reading)}, which runs code or files that the "
            "graph names: export the model without it"
        )
    own = {(function.domain, function.name) for function in model.functions}
    foreign = Counter(
        f"{node.domain}.{node.op_type}"
        for node in nodes_of(model)
        if node.domain not in DOMAINS
        and (node.domain, node.op_type) not in own
        and not (node.domain == CONTRIB_DOMAIN and node.op_type in EXPANDED)
    )
    if foreign:
        names = ", ".join(sorted(foreign)[:5])
        raise ForeignModelRefused(
            f"{path} needs operators outside of the ONNX standard ({names}), which other runtimes "
            "lack: export the model with standard operators only, and without ONNX Runtime's "
            "optimizations"
        )


def _read_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Take in weights that other files of the same folder hold; anything else is refused."""
    folder, total = path.resolve().parent, path.stat().st_size
    for tensor in tensors_of(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL and not tensor.external_data:
            continue
        where = {entry.key: entry.value for entry in tensor.external_data}
        name = where.get("location", "")
        file = _inside(folder, name, path)
        try:
            total += int(where.get("length") or file.stat().st_size)
        except ValueError as error:
            raise _incomplete(path, name) from error
        if total > MAX_BYTES:
            raise ForeignModelRefused(
                f"{path} and its external data have over {MAX_BYTES:,} bytes, and a bundle is one "
                "file: export a smaller model"
            )
        try:
            external_data_helper.load_external_data_for_tensor(tensor, str(folder))
            numpy_helper.to_array(
                tensor
            )  # older releases of onnx take what there is, however little
        except (OSError, ValueError, RuntimeError, onnx.checker.ValidationError) as error:
            raise _incomplete(path, name) from error
        tensor.ClearField("external_data")
        tensor.data_location = onnx.TensorProto.DEFAULT


def _inside(folder: Path, name: str, path: Path) -> Path:
    """Return the file of external data. Raises ForeignModelRefused for one outside the folder."""
    strange = (
        not name
        or "\0" in name
        or ".." in PurePosixPath(name).parts
        or PureWindowsPath(name).is_absolute()
    )
    file = folder / name if not strange else folder
    if strange or PurePosixPath(name).is_absolute() or not file.resolve().is_relative_to(folder):
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


def _incomplete(path: Path, name: str) -> ForeignModelRefused:
    return ForeignModelRefused(
        f"{path} keeps weights in {name[:200]!r}, which does not hold them: the file is incomplete "
        "or belongs to another model"
    )


def _inlined(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:
        raise ForeignModelRefused(
            f"{path} has functions that cannot be inlined ({str(error)[:200]})"
        ) from error
