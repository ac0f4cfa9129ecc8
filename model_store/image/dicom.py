"""A DICOM file becomes an 8-bit image: gray by rescale and window, inverted for MONOCHROME1; color as RGB.

Everything that costs memory or time is bounded before any pixel is decoded: rows and columns by the caller's limit, the
sizes inside compressed frames by the header. A deflated file, which may unpack to any size, is refused. pydicom is
imported with the first DICOM file, so that servers without DICOM start faster. Without pydicom, DICOM is refused with
a message that says so. codecs.py has the compressions that need a package more.

Source: DICOM PS3.3 C.7.6.3.1.2 (photometric interpretation).
"""

import io
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from model_store.errors import BrokenImage, ImageError, ImageTooComplex, ImageTooLarge, UnsupportedImage
from model_store.image.codecs import DECODERS, JPEG_EXTENDED, FrameHeader, available, decode_frame, stored
from model_store.image.cost import Reserve, unlimited
from model_store.image.gray import Gray, Window, as_gray

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Opened = TypeVar("Opened")
Frames = Literal["one", "first"]  # a file with several frames: refuse it, or use the first

NATIVE: Final = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
JPEG: Final = frozenset({"1.2.840.10008.1.2.4.50", JPEG_EXTENDED})  # baseline, and extended with 8 bits
JPEG_2000: Final = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
RLE: Final = "1.2.840.10008.1.2.5"
GRAY_BYTES, COLOR_BYTES, JPEG_2000_BYTES = 10, 36, 8  # memory for a pixel; the last in addition, and for each sample
READ: Final = "uncompressed, RLE, JPEG, JPEG-LS, JPEG 2000 or HTJ2K"


def is_dicom(data: bytes) -> bool:
    """Return whether the bytes begin like a DICOM file: any 128 bytes, then "DICM"."""
    return data[128:132] == b"DICM"


def open_dicom(
    data: bytes, *, max_pixels: int, window: Window | None, frames: Frames, reserve: Reserve = unlimited
) -> Image.Image:
    """Decode the image of a DICOM file at its own size, mode "L" or "RGB".

    Args:
        data: a whole file.
        max_pixels: the limit of rows times columns.
        window: center and width in the units after the rescale (Hounsfield for CT). None takes the file's own: its VOI
            lookup table, else its first window, else the range from the smallest to the largest value without padding.
        frames: "one" refuses a file with several frames, "first" takes the first.
        reserve: called with the peak of memory in bytes before pixels are decoded; may raise to refuse.

    Raises:
        UnsupportedImage: the compression or the kind of object is not read.
        ImageTooLarge, ImageTooComplex, BrokenImage: `model_store.errors` describes each.
    """
    return open_dataset(
        data,
        lambda dataset: Image.fromarray(_render(dataset, window)),
        max_pixels=max_pixels,
        frames=frames,
        reserve=reserve,
    )


def open_dataset(
    data: bytes,
    use: Callable[["Dataset"], Opened],
    *,
    max_pixels: int,
    frames: Frames,
    reserve: Reserve = unlimited,
) -> Opened:
    """Return what `use` makes of the data set, once all checks of `open_dicom` have passed. Raises its errors."""
    try:
        import pydicom
        import pydicom.config
    except ImportError as error:
        raise UnsupportedImage("DICOM, and pydicom is not installed here", "a JPEG or PNG") from error
    pydicom.config.settings.reading_validation_mode = (
        pydicom.config.IGNORE
    )  # odd metadata are fine: only the pixels matter
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    try:
        _refuse_deflated(data)
        dataset = pydicom.dcmread(io.BytesIO(data))
        _check(dataset, max_pixels=max_pixels, frames=frames)
        reserve(_needed_bytes(dataset))
        return use(dataset)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageTooComplex("more memory than there is for a DICOM file", "the memory for one image") from error
    # Untrusted bytes in a parser of many parts, some of whose errors derive from Exception alone.
    except Exception as error:
        raise BrokenImage(f"DICOM: {str(error)[:200] or type(error).__name__}") from error


def _refuse_deflated(data: bytes) -> None:
    """Read only the file meta group: reading on would unpack a deflated file to any size."""
    from pydicom.filereader import read_dataset, read_preamble

    stream = io.BytesIO(data)
    read_preamble(stream, force=False)
    meta = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2)
    _check_syntax(str(meta.get("TransferSyntaxUID") or ""))


def _check_syntax(syntax: str) -> None:
    if syntax and syntax not in NATIVE | JPEG | JPEG_2000 | {RLE} | DECODERS.keys():
        raise UnsupportedImage(f"DICOM compressed as {_name(syntax)}", READ)
    if syntax in DECODERS and syntax not in JPEG:
        _check_available(f"DICOM compressed as {_name(syntax)}")


def _check_available(found: str) -> None:
    if not available():
        raise UnsupportedImage(
            f"{found}, whose decoder is not installed here (extra `dicom`: pip install imagecodecs)",
            "uncompressed, RLE, 8-bit JPEG or JPEG 2000",
        )


def _name(syntax: str) -> str:
    from pydicom.uid import UID

    return str(UID(syntax).name[:80])


def _check(dataset: "Dataset", *, max_pixels: int, frames: Frames) -> None:
    """Check the header: refuse what is not an image, is too large, or has too many frames."""
    if "PixelData" not in dataset or "Rows" not in dataset or "Columns" not in dataset:
        kind = getattr(dataset.get("SOPClassUID"), "name", "unknown kind")
        raise UnsupportedImage(f"a DICOM object without integer pixels ({str(kind)[:80]})", "an image")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows < 1 or columns < 1:
        raise ValueError(f"{rows} rows and {columns} columns")
    if rows * columns > max_pixels:
        raise ImageTooLarge(columns, rows, max_pixels)
    count = int(dataset.get("NumberOfFrames") or 1)
    if count != 1 and frames == "one":
        raise UnsupportedImage(f"a DICOM file of {count} frames", "a single frame")


def _needed_bytes(dataset: "Dataset") -> int:
    """Peak memory of decoding the first frame."""
    samples = int(dataset.get("SamplesPerPixel") or 1)
    per_pixel = GRAY_BYTES if samples == 1 else COLOR_BYTES
    syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "")
    if syntax in JPEG_2000 or _needs_codec(dataset):
        per_pixel += JPEG_2000_BYTES * samples
    return int(dataset.Rows) * int(dataset.Columns) * (per_pixel + int(dataset.get("BitsAllocated") or 8) // 4)


def _render(dataset: "Dataset", window: Window | None) -> Gray:
    """Return the pixels as uint8, (H, W) or (H, W, 3)."""
    from pydicom.pixels.processing import apply_color_lut

    pixels = stored_pixels(dataset)
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    if photometric == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
        return _upper_byte(pixels, 8 * pixels.dtype.itemsize)
    if pixels.ndim == 3:
        return _upper_byte(pixels, int(dataset.BitsStored))
    if not photometric.startswith("MONOCHROME"):
        raise UnsupportedImage(f"DICOM with photometric interpretation {photometric[:40]!r}", "MONOCHROME or RGB")
    gray = as_gray(pixels, dataset, window)
    return 255 - gray if photometric == "MONOCHROME1" else gray


def _upper_byte(pixels: npt.NDArray[Any], bits: int) -> Gray:
    return (pixels >> max(0, bits - 8)).astype(np.uint8)


def stored_pixels(dataset: "Dataset") -> npt.NDArray[Any]:
    """Return the first frame as stored: integers (H, W) or RGB (H, W, 3). pydicom removes unused bits."""
    from pydicom.pixels.utils import pixel_array

    syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "")
    if syntax == RLE:
        pixels = _unpacked(dataset)
    elif _needs_codec(dataset):
        pixels = _decoded(dataset, syntax)
    else:
        if syntax in JPEG | JPEG_2000:
            _check_frame(dataset)
        pixels = pixel_array(dataset, index=0, raw=False)
    if pixels.dtype.kind not in "ui":
        raise UnsupportedImage("a DICOM file with floating-point pixels", "integer pixels")
    return pixels


def _frame(dataset: "Dataset") -> bytes:
    from pydicom.encaps import get_frame

    frame: bytes = get_frame(dataset.PixelData, 0, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    return frame


def _needs_codec(dataset: "Dataset") -> bool:
    """Whether Pillow cannot decode the compression."""
    syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "")
    return syntax in DECODERS and (syntax != JPEG_EXTENDED or int(dataset.BitsStored) > 8)


def _decoded(dataset: "Dataset", syntax: str) -> npt.NDArray[Any]:
    """The first frame by imagecodecs."""
    _check_available(f"DICOM with a JPEG of {dataset.BitsStored} bits")
    samples, allocated, bits = (
        int(dataset.get(name) or 1) for name in ("SamplesPerPixel", "BitsAllocated", "BitsStored")
    )
    if samples not in (1, 3) or allocated not in (8, 16) or not 1 < bits <= allocated:
        raise UnsupportedImage(f"{samples} samples of {bits} of {allocated} bits", "1 or 3 samples of 8 or 16 bits")
    expected = FrameHeader(int(dataset.Columns), int(dataset.Rows), samples, allocated)
    signed = bool(int(dataset.get("PixelRepresentation") or 0))
    pixels = stored(decode_frame(_frame(dataset), syntax, expected), allocated=allocated, bits=bits, signed=signed)
    photometric = str(dataset.PhotometricInterpretation)
    return _rgb(pixels, photometric) if samples == 3 and photometric in ("YBR_FULL", "YBR_FULL_422") else pixels


def _check_frame(dataset: "Dataset") -> None:
    """Check that the header of the compressed image agrees with the file's."""
    with Image.open(io.BytesIO(_frame(dataset)), formats=("JPEG", "JPEG2000")) as image:
        if image.size != (int(dataset.Columns), int(dataset.Rows)):
            raise ValueError(f"holds {image.size}, announces {dataset.Columns} x {dataset.Rows}")


def _unpacked(dataset: "Dataset") -> npt.NDArray[Any]:
    """Decode RLE (PS3.5 annex G): byte planes, most significant first, each packed separately.

    Pillow's PackBits is fast and never unpacks more than the expected plane. pydicom's own decoder is Python, works
    byte by byte, and trusts what it reads.
    """
    rows, columns, samples = int(dataset.Rows), int(dataset.Columns), int(dataset.get("SamplesPerPixel") or 1)
    width = int(dataset.BitsAllocated) // 8
    if samples not in (1, 3) or width not in (1, 2, 4) or (samples == 3 and width > 1):
        raise UnsupportedImage(f"RLE with {samples} samples of {dataset.BitsAllocated} bits", READ)
    frame = _frame(dataset)
    header = np.frombuffer(frame[:64], "<u4")
    if header[0] != samples * width:
        raise ValueError(f"{header[0]} RLE segments, expected {samples * width}")
    ends = [*header[2 : 1 + header[0]].tolist(), len(frame)]
    planes = np.empty((rows, columns, samples * width), np.uint8)
    for index, (start, end) in enumerate(zip(header[1 : 1 + header[0]].tolist(), ends, strict=True)):
        plane = Image.frombytes("L", (rows * columns, 1), frame[start:end], "packbits", "L")
        planes[..., index] = np.asarray(plane).reshape(rows, columns)
    if samples == 3:
        return _rgb(planes, str(dataset.PhotometricInterpretation))
    kind = "i" if int(dataset.get("PixelRepresentation") or 0) else "u"
    return planes.view(f">{kind}{width}")[..., 0].astype(f"{kind}{width}")


def _rgb(pixels: npt.NDArray[np.uint8], photometric: str) -> npt.NDArray[Any]:
    from pydicom.pixels.processing import convert_color_space

    return pixels if photometric == "RGB" else convert_color_space(pixels, photometric, "RGB")
