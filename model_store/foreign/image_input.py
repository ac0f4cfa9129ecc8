"""What a foreign graph takes: the one input that is an image, its layout, size and type.

The declared shape tells most of it. Where dimensions are free, the first convolution or batch norm
tells how many channels there are, and a transposition in front of it that they come last.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isqrt
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from calibration.wording import parameter
from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.sandbox import TensorSpec
from model_store.foreign.surgery import CASTING, ELEMENTWISE, constant_shape

TYPES: Final[dict[str, Any]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
LARGEST: Final = 4096  # pixels on a side, as on the card
SMALLEST: Final = 2
# Operators that leave the meaning of the channels alone.
_SHAPING: Final = frozenset({"BatchNormalization", "Clip", "Pad", "Relu", "Resize", "Transpose"})
_PASSING: Final = CASTING | ELEMENTWISE | _SHAPING
# Convolutions, and the place of the weight among their inputs.
_CONVOLUTIONS: Final = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}


@dataclass(frozen=True)
class ImageInput:
    """The image tensor of a foreign graph.

    Attributes:
        channels_last: whether an image is [H, W, C] inside, and not [C, H, W].
        columns_first: whether W comes before H.
        shape: of one image, without the batch: 1 to 3 dimensions.
        batch: images that a run takes; None: any number.
    """

    name: str
    dtype: Any
    channels_last: bool
    shape: tuple[int, ...]
    batch: int | None
    channels: int
    height: int
    width: int
    columns_first: bool = False

    @property
    def order(self) -> list[int]:
        """The axes of images (N, C, H, W) in the order of the input."""
        plane = [3, 2] if self.columns_first else [2, 3]
        return [0, *plane, 1] if self.channels_last and self.channels > 1 else [0, 1, *plane]

    @property
    def turned_layout(self) -> str:
        """The layout with rows and columns exchanged."""
        plane = "hw" if self.columns_first else "wh"
        return f"n{plane}c" if self.channels_last else f"nc{plane}"

    @property
    def elem_type(self) -> int:
        return int(helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype)))

    def arrange(self, images: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Bring images, (N, C, H, W) float32, into the layout and type of the input."""
        shaped = images.transpose(self.order).reshape(len(images), *self.shape)
        whole = np.issubdtype(self.dtype, np.integer)
        return np.ascontiguousarray(np.rint(shaped) if whole else shaped).astype(self.dtype)

    @property
    def described(self) -> str:
        """The layout as people write it, such as "NHWC float32, 224 x 224, 3 channels"."""
        plane = "WH" if self.columns_first else "HW"
        whole = f"{plane}C" if self.channels_last else f"C{plane}"
        letters = {1: "flat", 2: plane, 3: whole}[len(self.shape)]
        batch = "" if len(self.shape) == 1 else "N"
        channels = f"{self.channels} channel{'' if self.channels == 1 else 's'}"
        kind = np.dtype(self.dtype).name
        return f"{batch}{letters} {kind}, {self.height} x {self.width} pixels, {channels}"


Layout = Literal["nchw", "nhwc", "ncwh", "nwhc"]


@dataclass(frozen=True, kw_only=True)
class InputWishes:
    """What the caller says about the input; size is (height, width)."""

    size: tuple[int, int] | None = None
    layout: Layout | None = None

    @property
    def channels_last(self) -> bool | None:
        return None if self.layout is None else self.layout.endswith("c")

    @property
    def columns_first(self) -> bool:
        return self.layout in ("ncwh", "nwhc")


def candidates(model: onnx.ModelProto, spec: TensorSpec, wishes: InputWishes) -> list[ImageInput]:
    """Return the readings of an input that its shape allows, most likely first.

    Raises:
        ForeignModelRefused: it cannot be an image.
        ForeignModelUnclear: the size is free, or that or the layout is hidden in a flat vector, and
            `wishes` do not give it.
    """
    if spec.type not in TYPES:
        raise ForeignModelRefused(
            f"its input '{spec.name}' is {spec.type}, which is no image of numbers"
        )
    if wishes.columns_first and wishes.size is not None:
        wishes = replace(wishes, size=wishes.size[::-1])  # the first side of the input is its width
    dims = tuple(each if isinstance(each, int) and each > 0 else None for each in spec.shape)
    readings = [each for each in _readings(model, spec, dims, wishes) if _fits(each, wishes)]
    if not readings:
        shown = ", ".join("?" if each is None else str(each) for each in dims)
        said = wishes.size or wishes.layout
        asked = " with the size and layout that were given" if said else ""
        remedy = f"give {parameter('size', 'HEIGHTxWIDTH')} if it is one"
        if len(dims) != 2:
            remedy = "export it for [N, 1, H, W] or [N, 3, H, W], or with channels last"
        raise ForeignModelRefused(
            f"its input '{spec.name}' [{shown}] is no batch of images, of 1 or 3 channels and at "
            f"most {LARGEST} pixels a side{asked}; {remedy}"
        )
    return [_turned(each) for each in readings] if wishes.columns_first else readings


def _turned(reading: ImageInput) -> ImageInput:
    """The same input read as one whose columns come first."""
    return replace(reading, columns_first=True, height=reading.width, width=reading.height)


def _fits(reading: ImageInput, wishes: InputWishes) -> bool:
    return (
        wishes.size in (None, (reading.height, reading.width))
        and wishes.channels_last in (None, reading.channels_last)
        and min(reading.height, reading.width) >= SMALLEST
        and max(reading.height, reading.width) <= LARGEST
    )


def _readings(
    model: onnx.ModelProto, spec: TensorSpec, dims: tuple[int | None, ...], wishes: InputWishes
) -> Iterator[ImageInput]:
    plain = ImageInput(spec.name, TYPES[spec.type], False, (), None, 1, 0, 0)
    if len(dims) == 4:
        yield from _batched(model, plain, dims, wishes)
    elif len(dims) == 3 and dims[0] != 3 and dims[2] not in (1, 3):  # those are without a batch
        yield _image(plain, 1, _size(dims[1:], wishes), dims[0], rank=2)
    elif len(dims) == 2:
        yield from _flat(plain, dims[1], dims[0], wishes)


def _image(
    plain: ImageInput,
    channels: int,
    size: tuple[int, int],
    batch: int | None,
    *,
    last: bool = False,
    rank: int = 3,
) -> ImageInput:
    """The input as an image of `rank` dimensions, with channels `last` or first."""
    height, width = size
    shapes = {
        1: (channels * height * width,),
        2: size,
        3: (*size, channels) if last else (channels, *size),
    }
    return replace(
        plain,
        channels_last=last,
        shape=shapes[rank],
        batch=batch,
        channels=channels,
        height=height,
        width=width,
    )


def _batched(
    model: onnx.ModelProto, plain: ImageInput, dims: tuple[int | None, ...], wishes: InputWishes
) -> Iterator[ImageInput]:
    of_layer, last = first_channels(model, plain.name)
    for channels_last in sorted((False, True), key=lambda each: each != (last is True)):
        channels = dims[3 if channels_last else 1]
        if channels is None and last in (None, channels_last):
            channels = of_layer
        if channels in (1, 3):
            size = _size(dims[1:3] if channels_last else dims[2:4], wishes)
            yield _image(plain, channels, size, dims[0], last=channels_last)


def _flat(
    plain: ImageInput, count: int | None, batch: int | None, wishes: InputWishes
) -> Iterator[ImageInput]:
    """A vector of pixels: square, in gray or three colors, unless the caller gives the size."""
    if count is None and wishes.size is None:
        raise ForeignModelUnclear(
            f"its input '{plain.name}' takes vectors of any length: give "
            f"{parameter('size', 'HEIGHTxWIDTH')}"
        )
    for channels in (1, 3) if count is not None else (1,):
        size = wishes.size or (isqrt((count or 0) // channels),) * 2
        if count in (None, channels * size[0] * size[1]):
            if channels == 3 and wishes.channels_last is None:
                raise ForeignModelUnclear(
                    f"its input '{plain.name}' is a vector of three colors: give "
                    f"{parameter('layout', 'nhwc')} if the colors of a pixel stand together, or "
                    "nchw if those of the image do"
                )
            last = channels == 3 and bool(wishes.channels_last)
            yield _image(plain, channels, size, batch, last=last, rank=1)


def _size(declared: tuple[int | None, ...], wishes: InputWishes) -> tuple[int, int]:
    height, width = declared
    wished = wishes.size or (height or width, width or height)
    if wished[0] is None or wished[1] is None:
        raise ForeignModelUnclear(
            f"it takes images of any size: give {parameter('size', 'HEIGHTxWIDTH')}, the size it "
            "was trained on"
        )
    return height or wished[0], width or wished[1]


def first_channels(model: onnx.ModelProto, name: str) -> tuple[int | None, bool | None]:
    """Return how many channels the first layer takes, and whether they came last before it."""
    reached: dict[str, bool | None] = {name: None}
    for node in model.graph.node:
        source = next((each for each in node.input if each in reached), None)
        if source is None:
            continue
        if node.op_type in _CONVOLUTIONS:
            place = _CONVOLUTIONS[node.op_type]
            shape = constant_shape(model, node.input[place]) if len(node.input) > place else None
            if shape is not None and len(shape) == 4:
                group = next((each.i for each in node.attribute if each.name == "group"), 1)
                return shape[1] * max(1, group), bool(reached[source])
        if node.op_type in _PASSING:
            last = reached[source]
            perm = next((list(each.ints) for each in node.attribute if each.name == "perm"), None)
            reached |= {each: True if perm == [0, 3, 1, 2] else last for each in node.output}
    return None, None
