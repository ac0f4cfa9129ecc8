"""The measured networks, with random weights, and the images to send.

A ResNet-18 at 224 pixels and a tiny CNN at 28, which get images of that size; and the same
ResNet-18, which gets radiographs. Weights do not change what an inference costs. Needs torch,
torchvision and onnxscript (the `train` and `dev` extras).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn
from torchvision.models import resnet18

from benchmarks.serving.pictures import Encoding, picture

CLASSES = ("normal", "pneumonia")
SAMPLES = 8
TEMPERATURE = 1.5
RADIOGRAPH = (2500, 2048)


@dataclass(frozen=True)
class Subject:
    """A network, its input, and the images that are sent: as large as the input, or gray and of
    `size`.
    """

    name: str
    build: Callable[[], nn.Module]
    channels: Literal[1, 3]
    side: int
    encoding: Encoding
    noise: int
    size: tuple[int, int] | None = None

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
        network = _Calibrated(self.build()).eval()
        blank = torch.zeros((2, self.channels, self.side, self.side), dtype=torch.uint8)
        program = torch.onnx.export(
            network,
            (blank,),
            input_names=["image"],
            output_names=["probabilities"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1, max=1024)}},
            dynamo=True,
            verbose=False,
        )
        if program is None:
            raise RuntimeError("torch.onnx.export returned no program; expected an ONNX program")
        graph: bytes = program.model_proto.SerializeToString()
        return graph


class _Calibrated(nn.Module):
    """Normalization, network, temperature and softmax in one graph, as export writes it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("temperature", torch.tensor([TEMPERATURE]))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = self.network((image.float() - 127.5) / 58.0)
        return torch.softmax(logits / self.temperature, dim=1)


def _tiny() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, len(CLASSES)),
    )


def _resnet18() -> nn.Module:
    return resnet18(num_classes=len(CLASSES))


def _radiograph(name: str, encoding: Encoding) -> Subject:
    return Subject(name, _resnet18, 3, side=224, encoding=encoding, noise=12, size=RADIOGRAPH)


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("resnet18", _resnet18, channels=3, side=224, encoding="JPEG", noise=12),
        Subject("tiny", _tiny, channels=1, side=28, encoding="PNG", noise=0),
        _radiograph("radiograph", "JPEG"),
        _radiograph("radiograph-dicom", "DICOM"),
    )
}
