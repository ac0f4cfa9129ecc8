"""How an image becomes the model's input: decode, convert the color, resize. Training and serving use nothing else.

The result is uint8; casting and normalization are in the ONNX graph. The size in the header is checked before any pixel
is decoded.
"""

import io
import logging
import struct
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from model_store.errors import BrokenImage, EmptyImage, ImageTooLarge, UnknownImage
from model_store.image.dicom import is_dicom, open_dicom

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")  # read by Pillow; DICOM is read by dicom.py
KNOWN = (*FORMATS, "DICOM")
MAX_PIXELS = 50_000_000
TILE_WIDTH, TILE_LENGTH, PHOTOMETRIC = 322, 323, 262  # TIFF tags
WHITE_IS_ZERO = 0
# Metadata in which Image.getexif finds an orientation; in TIFF it is a tag.
ORIENTED = frozenset({"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"})

Pixels = npt.NDArray[np.uint8]

# Our own check runs first and knows the configured limit, so Pillow's guard against bombs is off.
Image.MAX_IMAGE_PIXELS = None
# Both libraries warn about and log odd metadata, as much as a sender likes; only the pixels matter. The filters are set
# once and not around each call because they are global, and several threads decode images at a time.
logging.getLogger("PIL").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"(PIL|pydicom)\.")


@dataclass(frozen=True)
class InputSpec:
    """The image tensor a model expects.

    Attributes:
        channels: 1 (gray) or 3 (RGB).
        height, width: in pixels.
        resize: "stretch" scales both sides to fit; "crop" scales the shorter side and keeps the center of the longer.
        window: center and width of the window for gray DICOM, in the units after its rescale (Hounsfield for CT); None
            takes the file's own. It does not affect other formats.
        frames: "one" refuses a DICOM file with several frames, "first" takes its first frame.
    """

    channels: Literal[1, 3]
    height: int
    width: int
    resize: Literal["stretch", "crop"] = "stretch"
    window: tuple[float, float] | None = None
    frames: Literal["one", "first"] = "one"


def decode(data: bytes, spec: InputSpec, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode one encoded image into the model's input.

    Args:
        data: the bytes of a JPEG, PNG, TIFF, BMP, WebP or DICOM file. Of several frames the first is taken; for DICOM
            `spec.frames` decides.
        spec: what the model expects.
        max_pixels: the limit of width times height.

    Returns:
        (C, H, W) uint8.

    Raises:
        EmptyImage, UnknownImage, UnsupportedImage, BrokenImage, ImageTooLarge: `model_store.errors` describes each.
    """
    image = open_image(data, max_pixels=max_pixels, window=spec.window, frames=spec.frames)
    try:
        return prepare(image, spec)
    except (ValueError, MemoryError) as error:  # a color space that Pillow reads but cannot convert, such as CIELAB
        raise BrokenImage(str(error)) from error


def open_image(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    window: tuple[float, float] | None = None,
    frames: Literal["one", "first"] = "one",
) -> Image.Image:
    """Decode one encoded image at its own size, rotated as its EXIF orientation says. Raises the errors of `decode`."""
    if not data:
        raise EmptyImage
    if is_dicom(data):
        return open_dicom(data, max_pixels=max_pixels, window=window, frames=frames)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > max_pixels:
            raise ImageTooLarge(image.width, image.height, max_pixels)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            _check_tiles(image, max_pixels)
        image.load()
        return _upright(_dark_is_low(image))
    except UnidentifiedImageError as error:
        raise UnknownImage(KNOWN) from error
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
        MemoryError,
        struct.error,
    ) as error:
        raise BrokenImage(str(error)[:200] or type(error).__name__) from error


def _check_tiles(image: TiffImagePlugin.TiffImageFile, max_pixels: int) -> None:
    """Refuse tiles above the limit: each tile is decoded whole, even if the image is much smaller."""
    width, height = (int(image.tag_v2.get(tag, 1)) for tag in (TILE_WIDTH, TILE_LENGTH))
    if width * height > max_pixels:
        raise ImageTooLarge(width, height, max_pixels)


def _upright(image: Image.Image) -> Image.Image:
    """Rotate a loaded image as its metadata say. Without metadata, skip Pillow's function, which copies the image."""
    oriented = isinstance(image, TiffImagePlugin.TiffImageFile) or not ORIENTED.isdisjoint(image.info)
    return ImageOps.exif_transpose(image) if oriented else image


def _dark_is_low(image: Image.Image) -> Image.Image:
    """Invert 16-bit TIFF that stores white as 0. Pillow itself does so only for 8 bits."""
    tags = getattr(image, "tag_v2", {})
    if not image.mode.startswith("I;16") or tags.get(PHOTOMETRIC) != WHITE_IS_ZERO:
        return image
    return Image.fromarray(0xFFFF - np.asarray(image, np.uint16))


def prepare(image: Image.Image, spec: InputSpec) -> Pixels:
    """Convert a decoded image to the model's colors and size, (C, H, W) uint8, with bilinear filtering.

    >>> prepare(Image.new("L", (56, 56), 128), InputSpec(1, 28, 28)).shape
    (1, 28, 28)
    """
    image = _recolor(image, "L" if spec.channels == 1 else "RGB")
    size = (spec.width, spec.height)
    if image.size != size:
        box = _center_box(image, spec) if spec.resize == "crop" else None
        image = image.resize(size, Image.Resampling.BILINEAR, box=box)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[np.newaxis] if spec.channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _recolor(image: Image.Image, mode: str) -> Image.Image:
    """Convert to "L" or "RGB": transparency over black, 16 bits to their upper byte (Pillow would clip them)."""
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        deep = np.clip(np.asarray(image), 0, 65535)
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
    return image.convert(mode)


def _center_box(image: Image.Image, spec: InputSpec) -> tuple[float, float, float, float]:
    """Return the largest centered box (left, top, right, bottom) with the aspect ratio that the model expects."""
    scale = min(image.width / spec.width, image.height / spec.height)
    width, height = scale * spec.width, scale * spec.height
    left, top = max(0.0, (image.width - width) / 2), max(0.0, (image.height - height) / 2)  # rounding may leave -1e-15
    return left, top, min(left + width, image.width), min(top + height, image.height)
