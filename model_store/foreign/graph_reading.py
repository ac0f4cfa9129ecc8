"""From the bytes of an ONNX file to a graph of standard operators, in the confined process.

Parsing, inlining and converting may take endless time or memory, which the process limits. Nothing
is run here.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import onnx
from google.protobuf.message import DecodeError
from onnx import helper, inliner, version_converter

from model_store.bundle.graph import STANDARD_DOMAINS
from model_store.bundle.graph_part import nodes_of, operators_beyond, tensors_of

OLDEST_OPSET: Final = 7
SCAN_OPSET: Final = 9  # from which on a Scan runs a graph image by image
CONVERTED_OPSET: Final = 13
MAX_NODES: Final = 30_000  # an import takes half a millisecond for each
# Operators that read a file, or code, that the graph names.
READING: Final = frozenset({"EPContext", "PythonOp", "PythonOpGrad", "ATen"})


class ReadingRefused(Exception):
    """The file is no image classifier that Candor reads; the text says why, and what to do."""


def read_graph(file: bytes, beside: Mapping[str, bytes]) -> tuple[list[str], bytes]:
    """Return names of files with weights that are still missing, and the graph, empty if any is.

    `beside`: files with weights, by the names that the graph gives them. Raises ReadingRefused.
    """
    model = _parsed(file)
    if missing := sorted({_location(each) for each in _external(model)} - set(beside)):
        return missing, b""
    _check_operators(model)
    for tensor in _external(model):
        _take_in(tensor, beside[_location(tensor)])
    if model.functions:
        model = inliner.inline_local_functions(model)
    del model.training_info[:], model.graph.value_info[:]
    if sum(max(1, len(node.output)) for node in nodes_of(model)) > 2 * MAX_NODES:
        raise ReadingRefused(
            f"has more than {MAX_NODES:,} operators, or twice as many results of them, which is no "
            "image classifier's size"
        )
    return [], bytes(_converted(model).SerializeToString())


def _parsed(file: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(file)
    except (ValueError, DecodeError):
        model.Clear()
    if not model.ir_version or not model.graph.node or not model.graph.output:
        raise ReadingRefused(
            "is not an ONNX file with operators and outputs, or it is damaged: download it again, "
            "or convert it; docs/how-to/import-a-model.md lists the commands for other formats"
        )
    return model


def _external(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Give the tensors whose values are in other files."""
    for tensor in tensors_of(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            yield tensor


def _location(tensor: onnx.TensorProto) -> str:
    return {entry.key: entry.value for entry in tensor.external_data}.get("location", "")


def _take_in(tensor: onnx.TensorProto, file: bytes) -> None:
    """Put the part of a file that is a tensor's into it."""
    where = {entry.key: entry.value for entry in tensor.external_data}
    try:
        begin = int(where.get("offset") or 0)
        size = int(where.get("length") or len(file) - begin)
    except ValueError:
        begin, size = -1, 0
    values = file[begin : begin + size] if begin >= 0 else b""
    count = 1
    for side in tensor.dims:
        count *= side
    if tensor.data_type in (onnx.TensorProto.UINT4, onnx.TensorProto.INT4):
        expected = (count + 1) // 2
    else:
        expected = count * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    if len(values) != size or size != expected:
        raise ReadingRefused(
            f"keeps weights in {_location(tensor)[:200]!r}, which does not hold them: the file is "
            "incomplete or belongs to another model"
        )
    tensor.ClearField("external_data")
    tensor.data_location = onnx.TensorProto.DEFAULT
    tensor.raw_data = values


def _check_operators(model: onnx.ModelProto) -> None:
    reading = sorted({node.op_type for node in nodes_of(model)} & READING)
    if reading:
        raise ReadingRefused(
            f"has the operator {', '.join(reading)}, which runs code or files that the graph "
            "names: export the model without it"
        )
    if any(map(_is_training, nodes_of(model))):
        raise ReadingRefused(
            "has a batch normalization that is still training, so that the other images of a batch "
            "change an answer: export it after `model.eval()`"
        )
    foreign = operators_beyond(model, STANDARD_DOMAINS)
    if any(".QLinear" in each or ".QGemm" in each for each in foreign):
        raise ReadingRefused(
            f"is quantized with ONNX Runtime's own operators ({', '.join(foreign[:3])}), which "
            "other runtimes lack: quantize it with quant_format=QuantFormat.QDQ"
        )
    if foreign:
        raise ReadingRefused(
            f"needs operators outside of the ONNX standard ({', '.join(foreign[:5])}), which other "
            "runtimes lack: export the model with standard operators only, and without ONNX "
            "Runtime's optimizations"
        )


def _is_training(node: onnx.NodeProto) -> bool:
    modes = [each.i for each in node.attribute if each.name == "training_mode"]
    return node.op_type == "BatchNormalization" and any(modes)


def _converted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with an opset in which a Scan can run it, if it converts."""
    imports = [each for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if not imports:
        model.opset_import.append(helper.make_opsetid("", CONVERTED_OPSET))
        return model
    opset = imports[0].version
    if opset < OLDEST_OPSET:
        raise ReadingRefused(
            f"is of opset {opset}, from before 2018: export it again with opset {CONVERTED_OPSET} "
            "or later"
        )
    if opset >= SCAN_OPSET:
        return model
    try:
        return version_converter.convert_version(model, CONVERTED_OPSET)
    except Exception:  # noqa: BLE001 - whatever it raises: unconverted, it can run in batches
        return model
