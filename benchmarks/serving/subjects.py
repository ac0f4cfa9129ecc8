"""The measured networks: a ResNet-18 at 224 pixels and a tiny CNN at 28, both with random weights, with images to send.

Weights do not change what an inference costs. Needs torch, torchvision and onnxscript (the `train` and `dev`
extras).
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models import resnet18

CLASSES = ("normal", "pneumonia")
SAMPLES = 8
TEMPERATURE = 1.5


@dataclass(frozen=True)
class Subject:
    """A network, its input, and the encoding in which its images are sent."""

    name: str
    build: Callable[[], nn.Module]
    channels: Literal[1, 3]
    side: int
    encoding: str
    noise: int

    def samples(self) -> list[bytes]:
        """Encoded images, smooth with some noise, so that they compress about as well as photographs."""
        random = np.random.default_rng(0)
        return [self._sample(random) for _ in range(SAMPLES)]

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

    def _sample(self, random: np.random.Generator) -> bytes:
        coarse = random.integers(0, 255, (7, 7, self.channels), dtype=np.uint8)
        mode = "L" if self.channels == 1 else "RGB"
        smooth = (
            Image.fromarray(coarse.squeeze(), mode=None)
            .convert(mode)
            .resize((self.side, self.side), Image.Resampling.BICUBIC)
        )
        pixels = np.asarray(smooth, dtype=np.int16)
        noisy = (pixels + random.integers(-self.noise, self.noise + 1, pixels.shape)).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, self.encoding)
        return file.getvalue()


class _Calibrated(nn.Module):
    """Normalization, network, temperature and softmax in one graph, as `candor export` writes it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("temperature", torch.tensor([TEMPERATURE]))

    def forward(self, image: torch.Tensor) -> Any:
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


SUBJECTS = {
    "resnet18": Subject(
        "resnet18",
        lambda: resnet18(num_classes=len(CLASSES)),
        channels=3,
        side=224,
        encoding="JPEG",
        noise=12,
    ),
    "tiny": Subject("tiny", _tiny, channels=1, side=28, encoding="PNG", noise=0),
}
