"""How an image becomes the model's input, everywhere: decode, convert the color, resize.

The result is uint8; casting and normalization are in the ONNX graph. What decoding costs is checked
before any pixel is decoded (cost.py), and colors are converted in bands, so that a large image
needs little more than its own memory.
"""

import io
import logging
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from model_store.errors import (
    BrokenImage,
    EmptyImage,
    ImageTooComplex,
    NoSuchFrame,
    UnknownImage,
    UnsupportedImage,
)
from model_store.image.cost import Reserve, check_encoded, check_opened, needed_bytes, unlimited
from model_store.image.dicom import is_dicom, open_frames, render
from model_store.image.dicom_pixels import DicomFrame
from model_store.image.frames import MOST_FRAMES, DecodedFrames, FrameChoice
from model_store.image.plain_png import PLAIN_SIDE, read_plain_png

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")  # read by Pillow; DICOM is read by dicom.py
KNOWN = (*FORMATS, "DICOM")
MAX_PIXELS = 50_000_000
BAND_PIXELS: Final = 2**20
PHOTOMETRIC = 262  # TIFF tag
WHITE_IS_ZERO = 0
# Metadata in which Image.getexif finds an orientation; in TIFF it is a tag.
ORIENTED = frozenset({"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"})

Pixels = npt.NDArray[np.uint8]

# Our own check runs first and knows the configured limit, so Pillow's guard against bombs is off.
Image.MAX_IMAGE_PIXELS = None
# Both libraries warn about and log odd metadata, as much as a sender likes; only the pixels matter.
# The filters are set once and not around each call because they are global, and several threads
# decode images at a time.
logging.getLogger("PIL").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"(PIL|pydicom)\.")

Resample = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


@dataclass(frozen=True)
class InputSpec:
    """The image tensor a model expects.

    Attributes:
        channels: 1 (gray) or 3 (RGB).
        height, width: in pixels.
        resize: "stretch" scales both sides to fit; "crop" scales the shorter side and keeps the
            center of the longer.
        window: center and width of the window for gray DICOM, in the units after its rescale
            (Hounsfield for CT); None takes the file's own. It does not affect other formats.
        bits: of gray images of 16 bits, how many hold values, 9 to 16: with 12, 0 to 4095 become 0
            to 255, and what is above is white. It does not affect other formats.
        frames: "one" refuses a DICOM file with several frames, "first" takes its first frame.
        resample: the filter with which an image gets its size, as Pillow calls it.
    """

    channels: Literal[1, 3]
    height: int
    width: int
    resize: Literal["stretch", "crop"] = "stretch"
    window: tuple[float, float] | None = None
    frames: Literal["one", "first"] = "one"
    bits: int = 16
    resample: Resample = "bilinear"


def decode(
    data: bytes, spec: InputSpec, *, max_pixels: int = MAX_PIXELS, reserve: Reserve = unlimited
) -> Pixels:
    """Decode one encoded image into the model's input.

    Args:
        data: the bytes of a JPEG, PNG, TIFF, BMP, WebP or DICOM file. Of several frames the first
            is taken; for DICOM `spec.frames` decides.
        spec: what the model expects.
        max_pixels: the limit of width times height.
        reserve: called with the peak of memory in bytes before pixels are decoded; may raise to
            refuse.

    Returns:
        (C, H, W) uint8.

    Raises:
        EmptyImage, UnknownImage, UnsupportedImage, BrokenImage, ImageTooLarge, ImageTooComplex:
            `model_store.errors` describes each.
    """
    window, frames = spec.window, spec.frames
    image = open_image(data, max_pixels=max_pixels, window=window, frames=frames, reserve=reserve)
    return _prepared(image, spec)


def decode_plain(data: bytes, spec: InputSpec, *, max_pixels: int = MAX_PIXELS) -> Pixels | None:
    """`decode` in milliseconds, of a plain PNG for an input of at most PLAIN_SIDE pixels a side.

    None for every other file, and for a broken one: `decode` takes or refuses it.
    """
    if max(spec.height, spec.width) > PLAIN_SIDE:
        return None
    plain = read_plain_png(data, max_pixels=max_pixels)
    image = None if plain is None else plain.decoded()
    return None if image is None else _prepared(image, spec)


def _prepared(image: Image.Image, spec: InputSpec) -> Pixels:
    try:
        return prepare(image, spec)
    except MemoryError as error:
        raise _out_of_memory(image) from error
    except ValueError as error:  # a color space that Pillow cannot convert, such as CIELAB
        raise BrokenImage(str(error)) from error


def decode_frames(
    data: bytes,
    spec: InputSpec,
    frame: FrameChoice,
    *,
    max_frames: int = MOST_FRAMES,
    max_pixels: int = MAX_PIXELS,
    reserve: Reserve = unlimited,
) -> DecodedFrames:
    """Decode chosen frames of an image, each as `decode` does a file that holds it alone.

    Args:
        frame: the number of a frame from 1, "middle" or "all"; in place of `spec.frames`.
        max_pixels: the limit of width times height times frames.

    Raises NoSuchFrame, TooManyFrames: before any pixel is decoded; and the errors of `decode`.
    """
    if not is_dicom(data):
        image = open_image(data, max_pixels=max_pixels, reserve=reserve)
        _require_one(data, frame)
        return DecodedFrames(_prepared(image, spec)[np.newaxis], 1)
    numbers: list[int] = []

    def prepared(shown: DicomFrame) -> Pixels:
        numbers.append(shown.number)
        return _prepared(render(shown, spec.window), spec)

    pixels = open_frames(
        data,
        prepared,
        max_pixels=max_pixels,
        frames=frame,
        max_frames=max_frames,
        kept_bytes=2 * spec.channels * spec.height * spec.width,
        reserve=reserve,
    )
    return DecodedFrames(np.stack(pixels), numbers[0])


def _require_one(data: bytes, frame: FrameChoice) -> None:
    """Refuse to choose frames of anything but DICOM. Raises NoSuchFrame or UnsupportedImage."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if getattr(image, "is_animated", False):
            raise UnsupportedImage(
                f"a {image.format} of several pictures",
                "a single picture, or DICOM, to choose a frame",
            )
    if frame not in (1, "middle", "all"):
        raise NoSuchFrame(int(frame), 1)


def open_image(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    window: tuple[float, float] | None = None,
    frames: Literal["one", "first"] = "one",
    reserve: Reserve = unlimited,
) -> Image.Image:
    """Decode an image at its own size, upright. Raises the errors of `decode`."""
    if not data:
        raise EmptyImage
    if is_dicom(data):
        render_one = partial(render, window=window)
        [shown] = open_frames(
            data, render_one, max_pixels=max_pixels, frames=frames, reserve=reserve
        )
        return shown
    image: Image.Image | None = None
    try:
        if (plain := read_plain_png(data, max_pixels=max_pixels)) is not None:
            reserve(plain.needed_bytes)
            if (image := plain.decoded()) is not None:
                return image
        check_encoded(data, max_pixels=max_pixels, reserve=reserve)
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        check_opened(image, data, max_pixels=max_pixels)
        reserve(needed_bytes(image, data))
        image.load()
        return _upright(_dark_is_low(image))
    except UnidentifiedImageError as error:
        raise UnknownImage(KNOWN, data=data) from error
    except MemoryError as error:
        raise _out_of_memory(image) from error
    # Pillow's decoders raise whatever their parsers happen to raise for damaged data.
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
        struct.error,
    ) as error:
        if "out of memory" in str(error):
            raise _out_of_memory(image) from MemoryError()
        raise BrokenImage(str(error)[:200] or type(error).__name__) from error


def _out_of_memory(image: Image.Image | None) -> ImageTooComplex:
    size = "its header" if image is None else f"{image.width} x {image.height} pixels"
    return ImageTooComplex(f"more memory than there is for {size}", "the memory for one image")


def _upright(image: Image.Image) -> Image.Image:
    """Rotate an image as its metadata say; Pillow copies it even if they say nothing."""
    oriented = isinstance(image, TiffImagePlugin.TiffImageFile) or not ORIENTED.isdisjoint(
        image.info
    )
    return ImageOps.exif_transpose(image) if oriented else image


def _dark_is_low(image: Image.Image) -> Image.Image:
    """Invert 16-bit TIFF that stores white as 0. Pillow itself does so only for 8 bits."""
    tags = getattr(image, "tag_v2", {})
    if not image.mode.startswith("I;16") or tags.get(PHOTOMETRIC) != WHITE_IS_ZERO:
        return image
    return Image.fromarray(0xFFFF - np.asarray(image, np.uint16))


def prepare(image: Image.Image, spec: InputSpec) -> Pixels:
    """Convert an image to the model's colors and size, (C, H, W) uint8.

    What is gray stays gray until it has its size: the three channels would be equal, at three times
    the cost.

    >>> prepare(Image.new("L", (56, 56), 128), InputSpec(1, 28, 28)).shape
    (1, 28, 28)
    """
    mode = "L" if spec.channels == 1 or _is_gray(image) else "RGB"
    image = _recolor(image, mode, spec.bits)
    size = (spec.width, spec.height)
    if image.size != size:
        box = _center_box(image, spec) if spec.resize == "crop" else None
        image = image.resize(size, Image.Resampling[spec.resample.upper()], box=box)
    # np.asarray(image) takes longer than a small image's inference, moving colors apart as well.
    pixels = b"".join([image.tobytes("raw", color) for color in mode])
    colors = np.frombuffer(pixels, np.uint8).reshape(len(mode), spec.height, spec.width)
    return colors if spec.channels == len(mode) else np.repeat(colors, 3, axis=0)


def _is_gray(image: Image.Image) -> bool:
    """Whether all three colors of each pixel would be equal."""
    return image.mode in ("1", "L", "LA", "I") or image.mode.startswith("I;16")


def _recolor(image: Image.Image, mode: str, bits: int) -> Image.Image:
    """Convert to "L" or "RGB": transparency over black, of `bits` bits the upper byte."""
    transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    if image.mode == mode and not transparent:
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        return _in_bands(image, mode, partial(_upper_byte, bits=bits))
    return _in_bands(image, mode, _over_black) if transparent else image.convert(mode)


def _upper_byte(band: Image.Image, bits: int) -> Image.Image:
    values = np.clip(np.asarray(band), 0, 2**bits - 1)
    return Image.fromarray((values >> (bits - 8)).astype(np.uint8))


def _over_black(band: Image.Image) -> Image.Image:
    rgba = band.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)


def _in_bands(
    image: Image.Image, mode: str, change: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Apply `change`, which treats each pixel by itself, to bands of rows; convert those."""
    rows = max(1, BAND_PIXELS // image.width)
    if rows >= image.height:
        return change(image).convert(mode)
    result = Image.new(mode, image.size)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        result.paste(change(band).convert(mode), (0, top))
    return result


def _center_box(image: Image.Image, spec: InputSpec) -> tuple[float, float, float, float]:
    """Return the largest centered box of the model's aspect: left, top, right, bottom."""
    scale = min(image.width / spec.width, image.height / spec.height)
    width, height = scale * spec.width, scale * spec.height
    left = max(0.0, (image.width - width) / 2)  # rounding may leave -1e-15
    top = max(0.0, (image.height - height) / 2)
    return left, top, min(left + width, image.width), min(top + height, image.height)
