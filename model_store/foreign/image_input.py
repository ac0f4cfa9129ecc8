"""What a foreign graph takes: the one input that is an image, its layout, size and type.

The declared shape tells it, or `--size` where sides are free. A free number of channels is found by
running the graph: all readings are given, and only one of them may run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import helper

from calibration.wording import parameter
from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.sandbox import TensorSpec

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
COLORS: Final = (1, 3)  # channels of an image
Size = tuple[int, int]


@dataclass(frozen=True)
class ImageInput:
    """The image tensor of a foreign graph.

    Attributes:
        shape: of one image, without the batch: 1 to 3 dimensions.
        batch: images that a run takes; None: any number.
        channels_last: whether an image is [H, W, C] inside, and not [C, H, W].
    """

    name: str
    dtype: Any
    batch: int | None
    shape: tuple[int, ...]
    channels: int
    height: int
    width: int
    channels_last: bool = False

    @property
    def order(self) -> list[int]:
        """The axes of images (N, C, H, W) in the order of the input."""
        return [0, 2, 3, 1] if self.channels_last and self.channels > 1 else [0, 1, 2, 3]

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
        letters = {1: "flat", 2: "NHW", 3: "NHWC" if self.channels_last else "NCHW"}
        channels = f"{self.channels} channel{'' if self.channels == 1 else 's'}"
        kind = f"{letters[len(self.shape)]} {np.dtype(self.dtype).name}"
        return f"{kind}, {self.height} x {self.width} pixels, {channels}"


def readings(spec: TensorSpec, size: Size | None) -> list[ImageInput]:
    """Return the images that an input may take, by its shape and the `size` that was given.

    Raises:
        ForeignModelRefused: it cannot be an image.
        ForeignModelUnclear: the size is open, and not given.
    """
    if spec.type not in TYPES:
        raise ForeignModelRefused(
            f"its input '{spec.name}' is {spec.type}, which is no image of numbers"
        )
    dims = tuple(each if isinstance(each, int) and each > 0 else None for each in spec.shape)
    found = [
        each
        for each in _readings(spec, dims, size)
        if size in (None, (each.height, each.width))
        and min(each.height, each.width) >= SMALLEST
        and max(each.height, each.width) <= LARGEST
    ]
    if not found:
        shown = ", ".join("?" if each is None else str(each) for each in dims)
        asked = "" if size is None else f" of {size[0]} x {size[1]} pixels"
        raise ForeignModelRefused(
            f"its input '{spec.name}' [{shown}] is no batch of images{asked}, of 1 or 3 channels "
            f"and at most {LARGEST} pixels a side: export it for [N, 1, H, W] or [N, 3, H, W], or "
            "with channels last"
        )
    return found


def _readings(
    spec: TensorSpec, dims: tuple[int | None, ...], size: Size | None
) -> Iterator[ImageInput]:
    name, dtype = spec.name, TYPES[spec.type]
    if len(dims) == 4:
        said = [last for last in (False, True) if dims[3 if last else 1] in COLORS]
        for last in said or (False, True):
            declared = dims[3 if last else 1]
            if declared not in (*COLORS, None):
                continue
            height, width = _size(dims[1:3] if last else dims[2:4], size)
            for channels in COLORS if declared is None else (declared,):
                shape = (height, width, channels) if last else (channels, height, width)
                yield ImageInput(name, dtype, dims[0], shape, channels, height, width, last)
    elif len(dims) == 3 and dims[0] != 3 and dims[2] not in COLORS:  # those are without a batch
        height, width = _size(dims[1:], size)
        yield ImageInput(name, dtype, dims[0], (height, width), 1, height, width)
    elif len(dims) == 2:
        yield _vector(spec, dims[0], dims[1], size)


def _vector(
    spec: TensorSpec, batch: int | None, count: int | None, size: Size | None
) -> ImageInput:
    """A vector of gray pixels, whose size only the caller knows."""
    if size is None:
        numbers = "vectors" if count is None else f"vectors of {count:,} numbers"
        raise ForeignModelUnclear(
            f"its input '{spec.name}' takes {numbers}: give {parameter('size', 'HEIGHTxWIDTH')}, "
            "the size of the image that they are"
        )
    height, width = size
    if count not in (None, height * width):
        raise ForeignModelRefused(
            f"its input '{spec.name}' takes vectors of {count:,} numbers, and a gray image of "
            f"{height} x {width} has {height * width:,}. Of colors, export it for [N, 3, H, W]"
        )
    return ImageInput(spec.name, TYPES[spec.type], batch, (height * width,), 1, height, width)


def _size(declared: tuple[int | None, ...], wished: Size | None) -> Size:
    height, width = declared
    if wished is None and not (height and width):
        raise ForeignModelUnclear(
            f"it takes images of any size: give {parameter('size', 'HEIGHTxWIDTH')}, the size it "
            "was trained on"
        )
    either = wished or (0, 0)
    return height or either[0], width or either[1]
