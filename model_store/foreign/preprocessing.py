"""From the decoded image to a foreign model's input: crop, order of channels, scale, layout.

The same arithmetic twice: in NumPy, to try it on images, and as standard ONNX operators, to be part
of the bundle.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from model_store.bundle.graph_part import GraphPart
from model_store.foreign.image_input import ImageInput
from model_store.image import Resample

Order = Literal["rgb", "bgr"]
Resize = Literal["stretch", "crop"]
Step: TypeAlias = tuple[str, tuple[npt.NDArray[Any], ...], dict[str, Any]]


@dataclass(frozen=True)
class Normalization:
    """value = (pixel / divisor - mean) / std; mean and std: one, or one per channel in order."""

    divisor: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @property
    def formula(self) -> str:
        """The numbers as people write them, such as "(pixel / 255 - 0.5) / 0.5"."""
        mean, std = (
            ", ".join(f"{each:g}" for each in numbers) for numbers in (self.mean, self.std)
        )
        return f"(pixel / {self.divisor:g} - {mean}) / {std}"


class Pixels(NamedTuple):
    """What is said of pixels: a key of NORMALIZATIONS or "given", numbers, and who says so."""

    name: str
    numbers: Normalization
    why: str = "as given"

    @classmethod
    def named(cls, numbers: Normalization, why: str) -> "Pixels":
        """Return numbers with the name that they have, if any."""
        name = next((name for name, usual in NORMALIZATIONS.items() if usual == numbers), "given")
        return cls(name, numbers, why)


NORMALIZATIONS: Final[dict[str, Normalization]] = {
    "imagenet": Normalization(255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": Normalization(255.0),
    "symmetric": Normalization(127.5, (1.0,)),
    "raw": Normalization(),
    "caffe": Normalization(1.0, (103.939, 116.779, 123.68)),
    "clip": Normalization(
        255.0, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    ),
    "mnist": Normalization(255.0, (0.1307,), (0.3081,)),
}
MEANINGS: Final = {
    "imagenet": "0 to 1, minus ImageNet's mean, divided by its deviation (torchvision, timm)",
    "unit": "0 to 1",
    "symmetric": "-1 to 1 (Inception, MobileNet in Keras, most Vision Transformers)",
    "raw": "0 to 255, as it is",
    "caffe": "0 to 255 in BGR, minus ImageNet's mean (VGG and ResNet in Keras)",
    "clip": "0 to 1, minus CLIP's mean, divided by its deviation",
    "mnist": "0 to 1, minus 0.1307, divided by 0.3081",
}
RELATIVE: Final = frozenset({"imagenet", "unit", "symmetric", "clip", "mnist"})  # to the range
BLUE_FIRST: Final = frozenset({"caffe"})


@dataclass(frozen=True)
class Preprocessing:
    """How a decoded image becomes the input.

    Attributes:
        name: a key of NORMALIZATIONS, or "given".
        order: of the channels, as the model expects them.
        resize: how an image gets its size, as on the card.
        decoded: (height, width) to which the image is resized; the model's own size is cut out of
            its center.
        resample: the filter that does it.
        window, bits: how gray DICOM and gray images of 16 bits become 0 to 255, see `InputSpec`.
    """

    name: str
    normalization: Normalization
    order: Order = "rgb"
    resize: Resize = "stretch"
    resample: Resample = "bilinear"
    decoded: tuple[int, int] | None = None
    window: tuple[float, float] | None = None
    bits: int = 16

    def described(self, channels: int) -> str:
        """Return name and order, such as "unit, BGR"; a gray image has no order."""
        return self.name if channels == 1 else f"{self.name}, {self.order.upper()}"

    def sentence(self, channels: int) -> str:
        """Say it to people."""
        meaning = MEANINGS.get(self.name) or self.normalization.formula
        deep = f", {self.bits} bits in 256 steps of {2 ** (self.bits - 8)}" * (self.bits != 16)
        sized = "stretched to size" if self.resize == "stretch" else "scaled and cropped to size"
        return f"{self.described(channels)} ({meaning}){deep}, {sized}, {self.resample}"

    def decoded_size(self, image: ImageInput) -> tuple[int, int]:
        """Height and width of the bundle's input."""
        return self.decoded or (image.height, image.width)

    def apply(self, pixels: npt.NDArray[np.uint8], image: ImageInput) -> npt.NDArray[np.float32]:
        """Return (N, C, H, W) float32 for the model from decoded images (N, C, H, W) uint8."""
        top, left = _margins(self.decoded_size(image), image)
        cut = pixels[:, :, top : top + image.height, left : left + image.width]
        ordered = cut[:, ::-1] if self.order == "bgr" and image.channels == 3 else cut
        numbers = self.normalization
        values = ordered.astype(np.float32) / np.float32(numbers.divisor)
        mean, std = (
            np.array(each, np.float32).reshape(1, -1, 1, 1) for each in (numbers.mean, numbers.std)
        )
        return np.asarray((values - mean) / std, dtype=np.float32)

    def part(self, source: str, output: str, image: ImageInput) -> GraphPart:
        """Return operators that make the tensor `output` of `source` in the same way."""
        steps = [*self._cut(image), _step("Cast", to=TensorProto.FLOAT), *self._scaled()]
        steps += _arranged(image, whole=self.normalization == Normalization())
        part = GraphPart("candor/input_")
        for number, (operator, constants, attributes) in enumerate(steps, 1):
            name = output if number == len(steps) else None
            source = part.add(operator, source, *constants, output=name, **attributes)
        return part

    def _cut(self, image: ImageInput) -> Iterator[Step]:
        size = self.decoded_size(image)
        sides = zip(_margins(size, image), (image.height, image.width), size, strict=True)
        for axis, (margin, kept, whole) in enumerate(sides, 2):
            if kept != whole:
                yield _step("Gather", np.arange(margin, margin + kept), axis=axis)
        if self.order == "bgr" and image.channels == 3:
            yield _step("Gather", np.array([2, 1, 0]), axis=1)

    def _scaled(self) -> Iterator[Step]:
        numbers = self.normalization
        if numbers.divisor != 1:
            yield _step("Div", np.array([numbers.divisor], np.float32))
        if any(numbers.mean):
            yield _step("Sub", np.array(numbers.mean, np.float32).reshape(1, -1, 1, 1))
        if any(each != 1 for each in numbers.std):
            yield _step("Div", np.array(numbers.std, np.float32).reshape(1, -1, 1, 1))


def _step(operator: str, *constants: npt.NDArray[Any], **attributes: Any) -> Step:
    return operator, constants, attributes


def _arranged(image: ImageInput, *, whole: bool) -> Iterator[Step]:
    """Layout and type of the model's own input."""
    if image.order != [0, 1, 2, 3]:
        yield _step("Transpose", perm=image.order)
    if image.channels_last or len(image.shape) != 3:
        yield _step("Reshape", np.array([-1, *image.shape]))
    if image.elem_type == TensorProto.FLOAT:
        return
    if np.issubdtype(image.dtype, np.integer) and not whole:  # Round came with opset 11
        yield _step("Add", np.array([0.5], np.float32))
        yield _step("Floor")
    yield _step("Cast", to=image.elem_type)


def _margins(size: tuple[int, int], image: ImageInput) -> tuple[int, int]:
    return (size[0] - image.height) // 2, (size[1] - image.width) // 2


def of_bits(option: Preprocessing, bits: int) -> Preprocessing:
    """Return the preprocessing whose numbers are of values of `bits` bits, for pixels 0 to 255.

    >>> of_bits(Preprocessing("given", Normalization(4095.0)), 12).normalization.divisor
    255.0
    """
    numbers = option.normalization
    if option.name not in RELATIVE:
        numbers = replace(numbers, divisor=numbers.divisor * 255 / (2**bits - 1))
    return replace(option, normalization=numbers, bits=bits)


def usual(image: ImageInput) -> Iterator[Preprocessing]:
    """Give the preprocessings that makers of image classifiers use, for this input."""
    for name, numbers in _of_type(image):
        if image.channels == 1:
            if len(numbers.mean) == 1:
                yield Preprocessing(name, numbers)
        elif name != "mnist":
            orders: tuple[Order, ...] = ("bgr",) if name in BLUE_FIRST else ("rgb", "bgr")
            for order in orders:
                yield Preprocessing(name, numbers, order)


def _of_type(image: ImageInput) -> Iterator[tuple[str, Normalization]]:
    """The normalizations that the input's type can hold; int8 pixels are minus 128."""
    if not np.issubdtype(image.dtype, np.integer):
        yield from NORMALIZATIONS.items()
        return
    if image.dtype != np.int8:
        yield "raw", NORMALIZATIONS["raw"]
    if np.issubdtype(image.dtype, np.signedinteger):
        yield "symmetric", Normalization(1.0, (128.0,))
