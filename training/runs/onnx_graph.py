"""The trained classifier as one self-contained ONNX graph, with its calibrator, checked against
torch on real images.

The exported network maps uint8 images to the softmax of its logits, divided by an initializer
`temperature` that is 1. A second output has the features of the scope check, if the network shows
any; `model_store.bundle.scope` puts the check in its place. With findings, the network ends
in a sigmoid of each logit after a temperature and a bias (`model_store.bundle.graph.findings_end`).
`calibrated` gives the network a calibrator: another temperature, or nodes between the logits and
the division. A later recalibration edits the temperature, or adds its remedy after it.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor, nn

from calibration.calibrators.affine import Affine
from calibration.calibrators.remedies import VECTOR
from calibration.calibrators.temperature import softmax
from model_store.bundle.graph import (
    INPUT,
    OUTPUT,
    findings_end,
    name_findings,
    with_calibrator,
    with_logits,
    with_vector,
)
from model_store.bundle.graph_part import GraphPart, insert
from model_store.bundle.scope import SCOPE_FEATURES
from model_store.runtime import ort
from training.errors import ExportMismatch
from training.networks.scope_taps import ScopeTaps

OPSET = 20
MAX_DIFFERENCE = 1e-4
LOGITS = "logits"
Calibrate: TypeAlias = Callable[[NDArray[Any]], NDArray[np.float64]]


class ServedNetwork(nn.Module):
    """uint8 (N, C, H, W) -> probabilities (N, K), uncalibrated, and the features (N, D) of taps."""

    temperature: Tensor

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier
        self.taps = isinstance(classifier, ScopeTaps)
        self.register_buffer("temperature", torch.ones(1))  # stays an initializer of this name

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits, *features = self.classifier(image) if self.taps else (self.classifier(image),)
        return (torch.softmax(logits / self.temperature, dim=1), *features)


def to_onnx(classifier: nn.Module, images: NDArray[np.uint8]) -> bytes:
    """The graph of a classifier in evaluation mode, or of its ScopeTaps, as one file that needs no
    other, the same bytes each time.

    `images` uint8 (n, C, H, W) are for tracing.
    """
    return _exported(ServedNetwork(classifier), images, [OUTPUT, *_features(classifier)])


def _features(classifier: nn.Module) -> list[str]:
    return [SCOPE_FEATURES] if isinstance(classifier, ScopeTaps) else []


def _exported(module: nn.Module, images: NDArray[np.uint8], outputs: Sequence[str]) -> bytes:
    with warnings.catch_warnings():  # torch's exporter deprecates parts of torch
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (torch.from_numpy(images),),
            input_names=[INPUT],
            output_names=outputs,
            dynamic_shapes={"image": {0: "batch"}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:  # its type allows for the older exporter, which returns nothing
        raise TypeError("torch.onnx.export returned no program")
    proto = program.model_proto
    _remove_notes(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def to_findings_onnx(
    classifier: nn.Module, images: NDArray[np.uint8], names: Sequence[str]
) -> bytes:
    """The same for findings: a probability of presence for each of `names`, uncalibrated."""
    exported = _exported(classifier, images, [LOGITS, *_features(classifier)])
    proto = onnx.load_model_from_string(exported)
    graph, part = proto.graph, GraphPart("findings_")
    graph.initializer.extend(findings_end(part, LOGITS, len(names)))
    insert(graph, len(graph.node), part)
    shape: list[str | int | None] = ["batch", len(names)]
    graph.output[0].CopyFrom(helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, shape))
    name_findings(proto, names)
    return bytes(proto.SerializeToString(deterministic=True))


def _remove_notes(proto: onnx.ModelProto) -> None:
    """Remove the exporter's notes: stack traces name files of this machine."""
    graph = proto.graph
    for each in (
        proto,
        graph,
        *graph.node,
        *graph.value_info,
        *graph.input,
        *graph.output,
        *graph.initializer,
    ):
        each.ClearField("metadata_props")
        each.ClearField("doc_string")


def calibrated(network: bytes, calibrator: Affine) -> bytes:
    """The graph of an exported network with a calibrator of classes."""
    if calibrator.method == VECTOR.name:
        return with_vector(network, weight=calibrator.weight, bias=calibrator.bias)
    return with_calibrator(network, temperature=calibrator.temperature)


def verify(
    finished: bytes,
    classifier: nn.Module,
    calibrate: Calibrate,
    images: NDArray[np.uint8],
    *,
    logits: str,
    uncalibrated: Calibrate = softmax,
) -> float:
    """Largest absolute difference of a probability between ONNX Runtime and torch on `images`.

    All images are run in one batch and then each alone, as servers do. The network is compared with
    torch by the `uncalibrated` probabilities, and the calibrator in the graph `finished` with
    `calibrate` on its tensor `logits`. Raises ExportMismatch above 1e-4.
    """
    with torch.inference_mode():
        expected = uncalibrated(classifier(torch.from_numpy(images)).numpy())
    names = [OUTPUT, logits]
    graph = with_logits(finished, logits)
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    together = session.run(names, {INPUT: images})
    one_by_one = [session.run(names, {INPUT: image[np.newaxis]}) for image in images]
    alone = [np.concatenate(each) for each in zip(*one_by_one, strict=True)]
    difference = 0.0
    for probabilities, own in (together, alone):
        of_network = np.abs(uncalibrated(own) - expected).max()
        of_calibrator = np.abs(probabilities - calibrate(own.astype(np.float64))).max()
        difference = float(np.max([difference, of_network, of_calibrator]))
    if not difference <= MAX_DIFFERENCE:  # also refuses NaN
        raise ExportMismatch(difference=difference, limit=MAX_DIFFERENCE, images=len(images))
    return difference
