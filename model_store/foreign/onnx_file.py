"""Read an ONNX file that nobody vouches for; refuse what reaches beyond it or beyond ONNX.

Nothing is run here. A file may still ask for endless time or memory when it runs; `sandbox.py`
limits both.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper, inliner, numpy_helper

from model_store.bundle.graph import STANDARD_DOMAINS
from model_store.bundle.graph_part import nodes_below, nodes_of, operators_beyond, tensors_of
from model_store.errors import ForeignModelRefused
from model_store.foreign.contrib_operators import EXPANDED, define
from model_store.foreign.onnx_size import TooLarge, weights_bytes

# What one protobuf message may hold, with room for what Candor adds.
MAX_BYTES: Final = 2**31 - 2**20
MAX_NODES: Final = 30_000  # an import takes half a millisecond for each
MAX_LISTED: Final = 1_000  # outputs, entries of metadata, and sets of operators: the same
MAX_DEPTH: Final = 100  # functions that call each other
# Operators that read a file, or code, that the graph names.
READING: Final = frozenset({"EPContext", "PythonOp", "PythonOpGrad", "ATen"})


def read_onnx(path: Path) -> onnx.ModelProto:
    """Return the model in a file, with its functions inlined and its external data read in.

    Raises ForeignModelRefused: it is no ONNX file, too large, needs operators that neither ONNX nor
    ONNX Runtime defines, reads other files, or keeps weights outside its folder.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ForeignModelRefused(
            f"{path} has {path.stat().st_size:,} bytes; ONNX in one file has at most {MAX_BYTES:,}"
        )
    return checked(_parsed(path), path)


def checked(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Return a parsed model ready for use. `path` is where it came from. Raises as `read_onnx`."""
    given = [len(node.output) for node in nodes_of(model)]
    if max(len(given), sum(given) // 2, _inlined_nodes(model, path)) > MAX_NODES:
        raise ForeignModelRefused(
            f"{path} has more than {MAX_NODES:,} operators, or twice as many results of them, "
            "which is no image classifier's size"
        )
    outputs, metadata, opsets = model.graph.output, model.metadata_props, model.opset_import
    if max(len(outputs), len(metadata), len(opsets)) > MAX_LISTED:
        raise ForeignModelRefused(
            f"{path} has over {MAX_LISTED:,} outputs, entries of metadata or sets of operators, "
            "which no image classifier has"
        )
    _check_operators(model, path)
    _check_order(model, path)
    _read_external_data(model, path)
    define(model)
    if model.functions:
        model = _inlined(model, path)
    del model.training_info[:]
    return model


def _parsed(path: Path) -> onnx.ModelProto:
    data = path.read_bytes()
    model = onnx.ModelProto()
    try:
        if weights_bytes(data) > MAX_BYTES:
            raise TooLarge
        model.ParseFromString(data)
    except TooLarge as error:
        raise ForeignModelRefused(
            f"{path} holds more beside its weights, or weights packed tighter, than any image "
            "classifier: export it again without documentation and traces"
        ) from error
    except (ValueError, DecodeError) as error:
        raise _no_graph(path, data) from error
    if not model.ir_version or not model.graph.node or not model.graph.output:
        raise _no_graph(path, data)
    return model


def _no_graph(path: Path, data: bytes) -> ForeignModelRefused:
    if any(word in data for word in (b"saved_model", b"Placeholder", b"tensorflow")):
        return ForeignModelRefused(
            f"{path} is a TensorFlow graph: convert the folder or file with `python -m "
            "tf2onnx.convert` (--saved-model, --graphdef)"
        )
    return ForeignModelRefused(
        f"{path} is not an ONNX file with operators and outputs, or it is damaged: export or "
        "download it again"
    )


def _inlined_nodes(model: onnx.ModelProto, path: Path) -> int:
    """Count the operators once functions are inlined. Raises ForeignModelRefused for a circle."""
    bodies = {(function.domain, function.name): function.node for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Iterable[onnx.NodeProto], above: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes_below(nodes):
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
    graph = model.graph
    given = {"", *(value.name for value in graph.input)}
    given |= {tensor.name for tensor in graph.initializer}
    given |= {sparse.values.name for sparse in graph.sparse_initializer}
    for node in graph.node:
        missing = [name for name in node.input if name not in given]
        if missing:
            raise ForeignModelRefused(
                f"{path} is damaged: its operator {node.op_type} reads {missing[0][:100]!r}, which "
                "nothing before it gives"
            )
        given.update(node.output)


def _check_operators(model: onnx.ModelProto, path: Path) -> None:
    reading = sorted({node.op_type for node in nodes_of(model)} & READING)
    if reading:
        raise ForeignModelRefused(
            f"{path} has the operator {', '.join(reading)}, which runs code or files that the "
            "graph names: export the model without it"
        )
    foreign = [each for each in operators_beyond(model, STANDARD_DOMAINS) if each not in EXPANDED]
    if foreign:
        raise ForeignModelRefused(
            f"{path} needs operators outside of the ONNX standard ({', '.join(foreign[:5])}), "
            "which other runtimes lack: export the model with standard operators only, and without "
            "ONNX Runtime's optimizations"
        )


def _read_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Take in weights that other files of the same folder hold; anything else is refused."""
    folder, total = path.resolve().parent, path.stat().st_size
    for tensor in tensors_of(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL and not tensor.external_data:
            continue
        where = {entry.key: entry.value for entry in tensor.external_data}
        name = where.get("location", "")
        if _inside(folder, name, path).stat().st_size > MAX_BYTES:
            raise _too_much(path)
        try:
            external_data_helper.load_external_data_for_tensor(tensor, str(folder))
            tensor.ClearField("external_data")
            tensor.data_location = onnx.TensorProto.DEFAULT
            numpy_helper.to_array(tensor)  # older releases of onnx take too few bytes
        except (OSError, ValueError, RuntimeError, onnx.checker.ValidationError) as error:
            raise _incomplete(path, name) from error
        total += len(tensor.raw_data)
        if total > MAX_BYTES:
            raise _too_much(path)


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


def _too_much(path: Path) -> ForeignModelRefused:
    return ForeignModelRefused(
        f"{path} and its external data have over {MAX_BYTES:,} bytes, and a bundle is one file: "
        "export a smaller model"
    )


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
