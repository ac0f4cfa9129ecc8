"""The exported network in other precisions: float16, and int8 by ONNX Runtime's static
quantization.

Both leave division by the temperature and softmax in float32: the network before them is converted
by itself, and they are attached again. int8 has a scale per channel of each weight, and takes the
ranges of activations from images.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor

from model_store.bundle.graph import INPUT, OUTPUT, TEMPERATURE, logits_name, with_logits
from model_store.runtime import ort  # before ONNX Runtime's own tools, which load it too

_AT_ONCE = 16


def to_float16(network: bytes) -> bytes:
    """The graph of an exported network with weights and activations in float16."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quiet():
        converted = convert_float_to_float16(_without_end(network), keep_io_types=True)
    return _with_end(converted, logits_name(network))


def to_int8(network: bytes, images: NDArray[np.uint8]) -> bytes:
    """The graph of an exported network with weights in int8 and activations in uint8 (QDQ).

    `images` uint8 (n, C, H, W) set the ranges of the activations.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="candor-int8-") as folder, _quiet():
        whole, prepared, quantized = (
            Path(folder) / f"{name}.onnx" for name in ("whole", "prepared", "int8")
        )
        onnx.save(_without_end(network), whole)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            _Batches(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[
                node.name
                for node in onnx.load(prepared).graph.node
                if logits_name(network) in node.output
            ],
        )
        return _with_end(onnx.load(quantized), logits_name(network))


def infer_logits(network: bytes, batches: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """(n, K), what an exported network gives to its calibrator, by ONNX Runtime on the CPU."""
    name = logits_name(network)
    session = ort.InferenceSession(with_logits(network, name), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run([name], {INPUT: images})[0] for images in batches])


class _Batches:
    """Images as ONNX Runtime's quantizer reads them."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        starts = range(0, len(images), _AT_ONCE)
        self._batches = ({INPUT: images[start : start + _AT_ONCE]} for start in starts)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch; None after the last."""
        return next(self._batches, None)


def _without_end(network: bytes) -> onnx.ModelProto:
    """The graph from the image to the logits."""
    return Extractor(onnx.load_model_from_string(network)).extract_model(
        [INPUT], [logits_name(network)]
    )


def _with_end(proto: onnx.ModelProto, logits: str) -> bytes:
    """The graph continued from the logits to probabilities, with a temperature of 1."""
    graph = proto.graph
    classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), TEMPERATURE))
    graph.node.append(
        helper.make_node(
            "Div", [logits, TEMPERATURE], ["logits_by_temperature"], name="by_temperature"
        )
    )
    graph.node.append(
        helper.make_node("Softmax", ["logits_by_temperature"], [OUTPUT], name="softmax", axis=-1)
    )
    del graph.output[:]
    graph.output.append(
        helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", classes])
    )
    used = {node.domain for node in graph.node} | {""}
    opsets = [
        each for each in proto.opset_import if each.domain in used
    ]  # the tools declare many that nobody uses
    del proto.opset_import[:]
    proto.opset_import.extend(opsets)
    for each in (proto, graph, *graph.node):
        each.ClearField("metadata_props")
        each.ClearField("doc_string")
    return bytes(proto.SerializeToString(deterministic=True))


def _last_layer(proto: onnx.ModelProto) -> list[str]:
    """The node of the logits: 255 levels would be seen in the confidence, and it costs next to
    nothing.
    """
    (logits,) = (output.name for output in proto.graph.output)
    return [node.name for node in proto.graph.node if logits in node.output]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence ONNX Runtime's tools, which print, warn and log through the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
