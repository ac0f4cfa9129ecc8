"""The measured networks, with random weights, and the images to send.

A ResNet-18 and a DenseNet-121 at 224 pixels and a tiny CNN at 28, which get images of that size;
and the same ResNet-18, which gets radiographs. Weights do not change what an inference costs. Needs
torch, torchvision and onnxscript (the `train` and `dev` extras).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torchvision.models import densenet121, resnet18

from benchmarks.serving.pictures import Encoding, picture
from model_store.bundle.graph import name_findings
from model_store.bundle.scope_graph import SCOPE_FEATURES, ScopeParameters, with_scope
from model_store.bundle.scope_statistics import statistics
from model_store.image import InputSpec
from training.networks.scope_taps import find_taps

CLASSES = ("normal", "pneumonia")
SAMPLES = 8
TEMPERATURE = 1.5
SCOPE_IMAGES = 1_000  # that calibrate a check
RADIOGRAPH = (2500, 2048)
RADIOGRAPHS: dict[str, Encoding] = {"radiograph": "JPEG", "radiograph-dicom": "DICOM"}


@dataclass(frozen=True)
class Subject:
    """A network with a number of outputs, its input, and the images that are sent: as large as the
    input, or gray and of `size`. With `findings` in place of CLASSES, or a `scope` check.
    """

    name: str
    build: Callable[[int], nn.Module]
    channels: Literal[1, 3]
    side: int
    encoding: Encoding
    noise: int
    size: tuple[int, int] | None = None
    findings: tuple[str, ...] = ()
    scope: bool = False

    def samples(self) -> list[bytes]:
        """Encoded images."""
        random = np.random.default_rng(0)
        size, channels = (self.size, 1) if self.size else ((self.side, self.side), self.channels)
        return [
            picture(
                random,
                size=size,
                channels=channels,
                noise=self.noise,
                encoding=self.encoding,
                quality=90 if self.size else 75,
            )
            for _ in range(SAMPLES)
        ]

    def onnx(self) -> bytes:
        """The network as a self-contained graph: uint8 `image` in, `probabilities` out."""
        torch.manual_seed(0)
        end = _Findings if self.findings else _Calibrated
        outputs = len(self.findings or CLASSES)
        network = end(self.build(outputs), outputs).eval()
        blank = torch.zeros((2, self.channels, self.side, self.side), dtype=torch.uint8)
        spec = InputSpec(self.channels, self.side, self.side)
        taps = find_taps(network, spec) if self.scope else None
        program = torch.onnx.export(
            taps or network,
            (blank,),
            input_names=["image"],
            output_names=["probabilities", *([SCOPE_FEATURES] if taps else [])],
            dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1, max=1024)}},
            dynamo=True,
            verbose=False,
        )
        if program is None:
            raise RuntimeError("torch.onnx.export returned no program; expected an ONNX program")
        proto = program.model_proto  # another object at each access
        if taps:
            _name_as_exported(proto.graph)
        if self.findings:
            name_findings(proto, self.findings)
        graph: bytes = proto.SerializeToString()
        if not self.scope:
            return graph
        features = statistics(blank.numpy()).shape[1] + (taps(blank)[1].shape[1] if taps else 0)
        return with_scope(graph, _made_up(features))


def _name_as_exported(graph: Any) -> None:
    """Take the name of the wrapper off the temperature, where a recalibration seeks it."""
    (end,) = (each for each in graph.initializer if each.name.endswith(".temperature"))
    for node in graph.node:
        node.input[:] = [each.replace(end.name, "temperature") for each in node.input]
    end.name = "temperature"


def _made_up(features: int) -> ScopeParameters:
    """The parameters of a check that costs as much as a fitted one, and flags nothing."""
    whitening = np.eye(features, dtype=np.float32)
    scores = np.full(SCOPE_IMAGES, 1e9, np.float32)
    return ScopeParameters(whitening[0], whitening, scores)


class _Calibrated(nn.Module):
    """Normalization, network, temperature and softmax in one graph, as export writes it."""

    def __init__(self, network: nn.Module, _outputs: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("temperature", torch.tensor([TEMPERATURE]))

    def forward(self, image: torch.Tensor) -> Any:
        logits = self.network((image.float() - 127.5) / 58.0)
        return torch.softmax(logits / self.temperature, dim=1)


class _Findings(nn.Module):
    """The same with a temperature and a bias for each output, and a sigmoid."""

    def __init__(self, network: nn.Module, outputs: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("temperature", torch.full((outputs,), TEMPERATURE))
        self.register_buffer("class_bias", torch.zeros(outputs))

    def forward(self, image: torch.Tensor) -> Any:
        logits = self.network((image.float() - 127.5) / 58.0)
        return torch.sigmoid(logits / self.temperature + self.class_bias)


def _tiny(outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, outputs),
    )


def _resnet18(outputs: int) -> nn.Module:
    return resnet18(num_classes=outputs)


def _densenet121(outputs: int) -> nn.Module:
    return densenet121(num_classes=outputs)


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("resnet18", _resnet18, channels=3, side=224, encoding="JPEG", noise=12),
        Subject("densenet121", _densenet121, channels=3, side=224, encoding="JPEG", noise=12),
        Subject("tiny", _tiny, channels=1, side=28, encoding="PNG", noise=0),
        *(
            Subject(
                name, _resnet18, channels=3, side=224, encoding=encoding, noise=12, size=RADIOGRAPH
            )
            for name, encoding in RADIOGRAPHS.items()
        ),
    )
}
