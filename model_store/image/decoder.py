"""How an image becomes the model's input: decode, color, resize. Training and serving both call this and nothing else.

The result is uint8; casting and normalization are in the ONNX graph. The size is read from the header and checked
before a pixel is decoded.
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

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")  # those that Pillow reads; DICOM comes beside them
KNOWN = (*FORMATS, "DICOM")
MAX_PIXELS = 50_000_000
TILE_WIDTH, TILE_LENGTH, PHOTOMETRIC = 322, 323, 262  # TIFF tags
WHITE_IS_ZERO = 0
# Where Image.getexif finds an orientation; in TIFF it is a tag.
ORIENTED = frozenset({"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"})

Pixels = npt.NDArray[np.uint8]

# Pillow's own bomb guard stands in the way of ours, which knows the configured limit and is checked first.
Image.MAX_IMAGE_PIXELS = None
# Both libraries warn and log of oddities in metadata, as much as a sender likes; the pixels decide. Once for the
# process and not around each call: the filters are global, and images are decoded in several threads at a time.
logging.getLogger("PIL").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"(PIL|pydicom)\.")


@dataclass(frozen=True)
class InputSpec:
    """The image tensor a model expects.

    Attributes:
        channels: 1 (gray) or 3 (RGB).
        height, width: in pixels.
        resize: "stretch" scales both sides to fit; "crop" scales the shorter side and keeps the center of the longer.
        window: center and width by which gray DICOM is shown, in the units after its rescale (Hounsfield for CT);
            None: the file's own. Other formats are not touched by it.
        frames: of a DICOM file with several frames, "one" refuses it and "first" takes the first.
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
        data: the bytes of a JPEG, PNG, TIFF, BMP, WebP or DICOM file; of several frames the first is taken, but for
            DICOM, where `spec.frames` says so.
        spec: what the model expects.
        max_pixels: the largest width times height that is decoded.

    Returns:
        (C, H, W) uint8.

    Raises:
        EmptyImage, UnknownImage, UnsupportedImage, BrokenImage, ImageTooLarge: as their names say.
    """
    image = open_image(data, max_pixels=max_pixels, window=spec.window, frames=spec.frames)
    try:
        return prepare(image, spec)
    except (ValueError, MemoryError) as error:  # a color space that Pillow reads and cannot convert: CIELAB
        raise BrokenImage(str(error)) from error


def open_image(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    window: tuple[float, float] | None = None,
    frames: Literal["one", "first"] = "one",
) -> Image.Image:
    """Decode one encoded image, at its own size, upright as its EXIF orientation says; errors as `decode`."""
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
    # Pillow's decoders signal damaged data with whatever their parsers happen to raise.
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
    """Refuse tiles beyond the limit: each is decoded whole, however small the image that is cut from it."""
    width, height = (int(image.tag_v2.get(tag, 1)) for tag in (TILE_WIDTH, TILE_LENGTH))
    if width * height > max_pixels:
        raise ImageTooLarge(width, height, max_pixels)


def _upright(image: Image.Image) -> Image.Image:
    """Turn a loaded image as its metadata say; Pillow's own way also copies and parses where there are none."""
    told = isinstance(image, TiffImagePlugin.TiffImageFile) or not ORIENTED.isdisjoint(image.info)
    return ImageOps.exif_transpose(image) if told else image


def _dark_is_low(image: Image.Image) -> Image.Image:
    """Invert 16-bit TIFF that stores white as 0, as Pillow itself does for 8 bits and not for 16."""
    tags = getattr(image, "tag_v2", {})
    if not image.mode.startswith("I;16") or tags.get(PHOTOMETRIC) != WHITE_IS_ZERO:
        return image
    return Image.fromarray(0xFFFF - np.asarray(image, np.uint16))


def prepare(image: Image.Image, spec: InputSpec) -> Pixels:
    """Bring a decoded image to the model's colors and size: (C, H, W) uint8, by bilinear filtering.

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
    """Convert to "L" or "RGB": transparency over black, 16 bits by their upper byte (Pillow alone would clip them)."""
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
    """Return the largest centered box (left, top, right, bottom) of the aspect ratio that the model expects."""
    scale = min(image.width / spec.width, image.height / spec.height)
    width, height = scale * spec.width, scale * spec.height
    left, top = max(0.0, (image.width - width) / 2), max(0.0, (image.height - height) / 2)  # rounding may leave -1e-15
    return left, top, min(left + width, image.width), min(top + height, image.height)
