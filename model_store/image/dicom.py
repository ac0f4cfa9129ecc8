"""A DICOM file becomes an 8-bit image: gray by rescale and window, or RGB.

Everything that costs memory or time is bounded before any pixel is decoded: rows and columns by the
caller's limit, the sizes inside compressed frames by the header. A deflated file, which may unpack
to any size, is refused. pydicom is imported with the first DICOM file, so that servers without
DICOM start faster. Without pydicom, DICOM is refused with a message that says so.

Source: DICOM PS3.3 C.7.6.3.1.2 (photometric interpretation).
"""

import io
import itertools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from model_store.errors import (
    BrokenImage,
    ImageError,
    ImageTooComplex,
    ImageTooLarge,
    TooManyFrames,
    UnsupportedImage,
)
from model_store.image.cost import Reserve, unlimited
from model_store.image.dicom_pixels import (
    DicomFrame,
    check_syntax,
    needed_bytes,
    number_of,
    stored_pixels,
)
from model_store.image.frames import MOST_FRAMES, FrameChoice, Frames, chosen, described
from model_store.image.gray import Gray, Window, as_gray

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Opened = TypeVar("Opened")
MAX_ELEMENTS: Final = 20_000
MAX_ITEMS: Final = 20_000  # fragments of compressed pixels among them
_ITEM: Final = b"\xfe\xff\x00\xe0"
PATIENT_ID: Final = 0x0010_0020


def is_dicom(data: bytes | memoryview) -> bool:
    """Return whether the bytes begin like a DICOM file: any 128 bytes, then "DICM"."""
    return data[128:132] == b"DICM"


def patient_of(data: bytes) -> str | None:
    """Return the PatientID of a file, None without one, from the elements up to it.

    Raises UnsupportedImage, ImageTooComplex, BrokenImage: as `open_frames`.
    """
    limit = _element_limit()
    try:
        from pydicom.filereader import read_partial

        _check_items(data)
        _refuse_deflated(data)
        dataset = read_partial(
            io.BytesIO(data), stop_when=lambda tag, *more: limit(tag, *more) or tag > PATIENT_ID
        )
        return str(dataset.get("PatientID") or "").strip() or None
    except ImageError:
        raise
    except Exception as error:  # as in `open_frames`
        raise BrokenImage(f"DICOM: {str(error)[:200] or type(error).__name__}") from error


def open_frames(
    data: bytes,
    use: Callable[[DicomFrame], Opened],
    *,
    max_pixels: int,
    frames: Frames | FrameChoice,
    max_frames: int = MOST_FRAMES,
    kept_bytes: int = 0,
    reserve: Reserve = unlimited,
) -> list[Opened]:
    """Return what `use` makes of each frame that is meant, after all checks.

    Args:
        frames: which ones: what a card says, or the choice of somebody.
        max_frames: the limit of their number; their pixels together may be `max_pixels`.
        kept_bytes: what `use` keeps of each.
        reserve: called with the peak of memory in bytes before pixels are decoded; may refuse.

    Raises what `chosen` raises, UnsupportedImage, ImageTooLarge, ImageTooComplex and BrokenImage.
    """
    try:
        import pydicom
        import pydicom.config
    except ImportError as error:
        raise UnsupportedImage(
            "DICOM, and pydicom is not installed here", "a JPEG or PNG"
        ) from error
    # Odd metadata are fine: only the pixels matter.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    try:
        _check_items(data)
        _refuse_deflated(data)
        dataset = pydicom.filereader.read_partial(io.BytesIO(data), stop_when=_element_limit())
        _check(dataset, max_pixels=max_pixels)
        numbers = _numbers(dataset, frames, max_frames=max_frames, max_pixels=max_pixels)
        reserve(needed_bytes(dataset) + len(numbers) * kept_bytes)
        return [use(DicomFrame(dataset, number, described(dataset, number))) for number in numbers]
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageTooComplex(
            "more memory than there is for a DICOM file", "the memory for one image"
        ) from error
    # Untrusted bytes in a parser of many parts, some of whose errors derive from Exception alone.
    except Exception as error:
        raise BrokenImage(f"DICOM: {str(error)[:200] or type(error).__name__}") from error


def _element_limit() -> Callable[..., bool]:
    """What pydicom asks before each element, which it reads in Python; raises ImageTooComplex."""
    count = itertools.count(1)

    def check(*_: object) -> bool:
        if next(count) > MAX_ELEMENTS:
            limit = f"{MAX_ELEMENTS:,}"
            raise ImageTooComplex(f"a DICOM file of over {limit} elements", limit)
        return False

    return check


def _check_items(data: bytes) -> None:
    """pydicom reads the items of a sequence, and fragments, one by one in Python, and twice."""
    if (items := data.count(_ITEM)) > MAX_ITEMS:
        raise ImageTooComplex(f"a DICOM file of {items:,} items or fragments", f"{MAX_ITEMS:,}")


def _refuse_deflated(data: bytes) -> None:
    """Read only the file meta group: reading on would unpack a deflated file to any size."""
    from pydicom.filereader import read_dataset, read_preamble

    stream = io.BytesIO(data)
    read_preamble(stream, force=False)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2)
    check_syntax(str(meta.get("TransferSyntaxUID") or ""))
    if stream.read(2) == b"\0\0":  # group 0, of which pydicom would read any number
        raise UnsupportedImage("a DICOM message", "a DICOM file")


def _check(dataset: "Dataset", *, max_pixels: int) -> None:
    """Check the header: refuse what is not an image, or is too large."""
    if "PixelData" not in dataset or "Rows" not in dataset or "Columns" not in dataset:
        kind = getattr(dataset.get("SOPClassUID"), "name", "unknown kind")
        raise UnsupportedImage(
            f"a DICOM object without integer pixels ({str(kind)[:80]})", "an image"
        )
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows < 1 or columns < 1:
        raise ValueError(f"{rows} rows and {columns} columns")
    if rows * columns > max_pixels:
        raise ImageTooLarge(columns, rows, max_pixels)


def _numbers(
    dataset: "Dataset", frames: Frames | FrameChoice, *, max_frames: int, max_pixels: int
) -> range:
    """The numbers of the frames that are meant, all of which together are within the limits."""
    numbers = chosen(number_of(dataset, "NumberOfFrames", 1), frames, most=max_frames)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if len(numbers) * rows * columns > max_pixels:
        raise TooManyFrames(
            f"{len(numbers)} x {columns} x {rows} pixels in its", f"{max_pixels} pixels"
        )
    return numbers


def render(frame: DicomFrame, window: Window | None) -> Image.Image:
    """Decode a frame at its own size, mode "L" or "RGB".

    `window`: center and width in the units after the rescale (Hounsfield for CT). None takes the
    file's own: its VOI lookup table, else its first window, else the range of its values without
    padding.
    """
    return Image.fromarray(_shown(frame, window))


def _shown(frame: DicomFrame, window: Window | None) -> Gray:
    """Return the pixels as uint8, (H, W) or (H, W, 3)."""
    from pydicom.pixels.processing import apply_color_lut

    dataset, pixels = frame.dataset, stored_pixels(frame)
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    if photometric == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
        return _upper_byte(pixels, 8 * pixels.dtype.itemsize)
    if pixels.ndim == 3:
        return _upper_byte(pixels, int(dataset.BitsStored))
    if not photometric.startswith("MONOCHROME"):
        raise UnsupportedImage(
            f"DICOM with photometric interpretation {photometric[:40]!r}", "MONOCHROME or RGB"
        )
    gray = as_gray(pixels, frame.gray, window)
    return 255 - gray if photometric == "MONOCHROME1" else gray


def _upper_byte(pixels: npt.NDArray[Any], bits: int) -> Gray:
    return (pixels >> max(0, bits - 8)).astype(np.uint8)
