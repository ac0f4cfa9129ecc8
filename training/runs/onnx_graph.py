"""The trained classifier as one self-contained ONNX graph, checked against torch on real images.

The graph maps uint8 images to calibrated probabilities and contains normalization, network, calibrator and softmax.
`temperature` is a buffer of shape (1,), which the exporter keeps as an initializer of that name, so that a
recalibration can edit it. With vector scaling, logits are scaled and shifted first and `temperature` is 1. A later
recalibration adds its remedy after both.
"""

import warnings

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from calibration.calibrators import Calibrator
from calibration.vector import Vector
from model_store.runtime import ort
from training.errors import ExportMismatch
from training.evaluation.evaluation import temperature_of

OPSET = 20
MAX_DIFFERENCE = 1e-4


class CalibratedClassifier(nn.Module):
    """uint8 (N, C, H, W) -> probabilities float32 (N, K): the served graph."""

    temperature: Tensor

    def __init__(self, classifier: nn.Module, calibrator: Calibrator) -> None:
        super().__init__()
        self.classifier = classifier
        self.scaling = Scaling(calibrator) if isinstance(calibrator, Vector) else nn.Identity()
        self.register_buffer("temperature", torch.tensor([temperature_of(calibrator)], dtype=torch.float32))

    def forward(self, image: Tensor) -> Tensor:
        return torch.softmax(self.scaling(self.classifier(image)) / self.temperature, dim=1)


class Scaling(nn.Module):
    """Vector scaling: logits (N, K) times a weight per class, plus a bias per class."""

    weight: Tensor
    bias: Tensor

    def __init__(self, vector: Vector) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(vector.weight, dtype=torch.float32))
        self.register_buffer("bias", torch.tensor(vector.bias, dtype=torch.float32))

    def forward(self, logits: Tensor) -> Tensor:
        return logits * self.weight + self.bias


def to_onnx(model: CalibratedClassifier, images: NDArray[np.uint8]) -> bytes:
    """The graph of `model` as one self-contained file, the same bytes each time.

    `images` uint8 (n, C, H, W) are for tracing.
    """
    with warnings.catch_warnings():  # torch's exporter deprecates parts of torch
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (torch.from_numpy(images),),
            input_names=["image"],
            output_names=["probabilities"],
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


def _remove_notes(proto: onnx.ModelProto) -> None:
    """Remove the exporter's notes: each node's stack trace names files of the machine that exported it."""
    graph = proto.graph
    for each in (proto, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        each.ClearField("metadata_props")
        each.ClearField("doc_string")


def verify(onnx_file: bytes, model: CalibratedClassifier, images: NDArray[np.uint8]) -> float:
    """Largest absolute difference of a probability between ONNX Runtime and torch on `images`.

    Runs all images in one batch and then each alone, as servers do. Raises ExportMismatch above 1e-4.
    """
    session = ort.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = model(torch.from_numpy(images)).numpy()
    together = session.run(None, {"image": images})[0]
    alone = np.concatenate([session.run(None, {"image": image[np.newaxis]})[0] for image in images])
    difference = max(float(np.abs(found - expected).max()) for found in (together, alone))
    if not difference <= MAX_DIFFERENCE:  # also refuses NaN
        raise ExportMismatch(difference=difference, limit=MAX_DIFFERENCE, images=len(images))
    return difference
