"""What a foreign graph takes: the one input that is an image, its layout, size and type.

The declared shape tells most of it. Where dimensions are free, the first convolution or batch norm
tells how many channels there are, and a transposition in front of it that they come last.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isqrt
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.sandbox import TensorSpec
from model_store.foreign.surgery import constant_shape

TYPES: Final[dict[str, tuple[int, Any]]] = {
    "tensor(float)": (TensorProto.FLOAT, np.float32),
    "tensor(float16)": (TensorProto.FLOAT16, np.float16),
    "tensor(double)": (TensorProto.DOUBLE, np.float64),
    "tensor(uint8)": (TensorProto.UINT8, np.uint8),
    "tensor(int8)": (TensorProto.INT8, np.int8),
    "tensor(int32)": (TensorProto.INT32, np.int32),
    "tensor(int64)": (TensorProto.INT64, np.int64),
}
LARGEST: Final = 4096  # pixels on a side, as on the card
SMALLEST: Final = 2
UNBATCHED: Final = 0
# Operators that leave the meaning of the channels alone.
_PASSING: Final = frozenset(
    {
        "Cast",
        "Mul",
        "Sub",
        "Add",
        "Div",
        "Identity",
        "Pad",
        "BatchNormalization",
        "QuantizeLinear",
        "DequantizeLinear",
        "Clip",
        "Transpose",
        "Resize",
        "Relu",
    }
)
_CONVOLUTIONS: Final = {
    "Conv": 1,
    "FusedConv": 1,
    "ConvInteger": 1,
    "QLinearConv": 3,
}  # op -> place of its weight


@dataclass(frozen=True)
class ImageInput:
    """The image tensor of a foreign graph.

    Attributes:
        name: the input's name.
        elem_type: its type in ONNX; `dtype` the same in NumPy.
        channels_last: whether an image is [H, W, C] inside.
        shape: of one image, without the batch: 1 to 3 dimensions.
        batch: images a run takes: None any number, UNBATCHED (0) one without a dimension for it.
        channels, height, width: of the image.
    """

    name: str
    elem_type: int
    dtype: Any
    channels_last: bool
    shape: tuple[int, ...]
    batch: int | None
    channels: int
    height: int
    width: int

    def arrange(self, images: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Bring images, (N, C, H, W) float32, into the layout and type of the input."""
        ordered = images.transpose(0, 2, 3, 1) if self.channels_last else images
        shaped = ordered.reshape(len(images), *self.shape)
        whole = np.issubdtype(self.dtype, np.integer)
        return np.ascontiguousarray(np.rint(shaped) if whole else shaped).astype(self.dtype)

    @property
    def described(self) -> str:
        """The layout as people write it, such as "NHWC float32, 224 x 224, 3 channels"."""
        letters = (
            ("HWC" if self.channels_last else "CHW")
            if len(self.shape) == 3
            else "HW"
            if len(self.shape) == 2
            else "flat "
        )
        batch = "" if self.batch == UNBATCHED else "N"
        type_name = np.dtype(self.dtype).name
        channels = f"{self.channels} channel{'' if self.channels == 1 else 's'}"
        layout = letters.strip() if len(self.shape) == 1 else batch + letters
        return f"{layout} {type_name}, {self.height} x {self.width} pixels, {channels}"


@dataclass(frozen=True)
class InputWishes:
    """What the caller says about the input; size is (height, width)."""

    size: tuple[int, int] | None = None
    channels: int | None = None
    channels_last: bool | None = None


def candidates(model: onnx.ModelProto, spec: TensorSpec, wishes: InputWishes) -> list[ImageInput]:
    """Return the readings of an input that its shape allows, most likely first; each has still to
    be run.

    Raises:
        ForeignModelRefused: it cannot be an image.
        ForeignModelUnclear: the size is free, or is that of a flat vector, and `wishes` do not give
            it.
    """
    if spec.type not in TYPES:
        raise ForeignModelRefused(
            f"its input '{spec.name}' is {spec.type}, which is no image of numbers"
        )
    dims = tuple(each if isinstance(each, int) and each > 0 else None for each in spec.shape)
    if not 1 <= len(dims) <= 4:
        raise ForeignModelRefused(
            f"its input '{spec.name}' has {len(dims)} dimensions; an image batch has up to four"
        )
    readings = [each for each in _readings(model, spec, dims, wishes) if _fits(each, wishes)]
    if not readings:
        shown = ", ".join("?" if each is None else str(each) for each in dims)
        asked = " with the size and layout that were given" if wishes != InputWishes() else ""
        raise ForeignModelRefused(
            f"its input '{spec.name}' [{shown}] is no image of 1 or 3 channels and at most "
            f"{LARGEST} pixels a side{asked}; give --size HEIGHTxWIDTH if it is one"
        )
    return readings


def _fits(reading: ImageInput, wishes: InputWishes) -> bool:
    return (
        wishes.size in (None, (reading.height, reading.width))
        and wishes.channels in (None, reading.channels)
        and wishes.channels_last in (None, reading.channels_last)
        and min(reading.height, reading.width) >= SMALLEST
        and max(reading.height, reading.width) <= LARGEST
    )


def _readings(
    model: onnx.ModelProto, spec: TensorSpec, dims: tuple[int | None, ...], wishes: InputWishes
) -> Iterator[ImageInput]:
    elem_type, dtype = TYPES[spec.type]
    plain = ImageInput(spec.name, elem_type, dtype, False, (), None, 1, 0, 0)
    if len(dims) == 4:
        yield from _batched(model, plain, dims, wishes)
    elif len(dims) == 3:
        yield from _three(plain, dims, wishes)
    elif len(dims) == 2:
        if dims[0] is not None and dims[0] > 1 and dims[1] is not None:
            yield _gray(plain, (dims[0], dims[1]), UNBATCHED)
        yield from _flat(plain, dims[1], dims[0], wishes)
    else:
        yield from _flat(plain, dims[0], UNBATCHED, wishes)


def _batched(
    model: onnx.ModelProto, plain: ImageInput, dims: tuple[int | None, ...], wishes: InputWishes
) -> Iterator[ImageInput]:
    channels, last = first_channels(model, plain.name)
    for channels_last in sorted((False, True), key=lambda each: each != (last is True)):
        at = 3 if channels_last else 1
        known = (
            dims[at]
            if dims[at] is not None
            else channels
            if last in (None, channels_last)
            else None
        )
        if known not in (1, 3):
            continue
        size = dims[1:3] if channels_last else dims[2:4]
        height, width = _size(size, wishes)
        shape = (height, width, known) if channels_last else (known, height, width)
        yield replace(
            plain,
            channels_last=channels_last,
            shape=shape,
            batch=dims[0],
            channels=known,
            height=height,
            width=width,
        )


def _three(
    plain: ImageInput, dims: tuple[int | None, ...], wishes: InputWishes
) -> Iterator[ImageInput]:
    first, second, third = dims
    if third in (1, 3) and (first is None or first > 3):
        height, width = _size((first, second), wishes)
        yield replace(
            plain,
            channels_last=True,
            shape=(height, width, third),
            batch=UNBATCHED,
            channels=third,
            height=height,
            width=width,
        )
    if first == 3:
        height, width = _size((second, third), wishes)
        yield replace(
            plain, shape=(3, height, width), batch=UNBATCHED, channels=3, height=height, width=width
        )
    yield _gray(plain, _size((second, third), wishes), first)


def _gray(plain: ImageInput, size: tuple[int, int], batch: int | None) -> ImageInput:
    return replace(plain, shape=size, batch=batch, channels=1, height=size[0], width=size[1])


def _flat(
    plain: ImageInput, count: int | None, batch: int | None, wishes: InputWishes
) -> Iterator[ImageInput]:
    """A vector of pixels: square, in gray or three colors, unless the caller gives the size."""
    if count is None and wishes.size is None:
        raise ForeignModelUnclear(
            f"its input '{plain.name}' takes vectors of any length: give --size HEIGHTxWIDTH"
        )
    for channels in (1, 3):
        size = wishes.size or (isqrt((count or 0) // channels),) * 2
        if count not in (None, channels * size[0] * size[1]) or (
            count is None and channels != (wishes.channels or 1)
        ):
            continue
        for channels_last in (True, False) if channels == 3 else (False,):
            yield replace(
                plain,
                channels_last=channels_last,
                shape=(channels * size[0] * size[1],),
                batch=batch,
                channels=channels,
                height=size[0],
                width=size[1],
            )


def _size(found: tuple[int | None, ...], wishes: InputWishes) -> tuple[int, int]:
    height, width = found
    wished = wishes.size or (height or width, width or height)
    if wished[0] is None or wished[1] is None:
        raise ForeignModelUnclear(
            "it takes images of any size: give --size HEIGHTxWIDTH, the size it was trained on"
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
