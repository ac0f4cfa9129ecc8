"""A DICOM file becomes an 8-bit image: gray by rescale and window, inverted for MONOCHROME1; color
as RGB.

Everything that costs memory or time is bounded before any pixel is decoded: rows and columns by the
caller's limit, the sizes inside compressed frames by the header. A deflated file, which may unpack
to any size, is refused. pydicom is imported with the first DICOM file, so that servers without
DICOM start faster. Without pydicom, DICOM is refused with a message that says so. codecs.py has the
compressions that need a package more.

Source: DICOM PS3.3 C.7.6.3.1.2 (photometric interpretation).
"""

import io
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

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
from model_store.image.codecs import (
    DECODERS,
    JPEG_EXTENDED,
    FrameHeader,
    available,
    decode_frame,
    stored,
)
from model_store.image.cost import Reserve, unlimited
from model_store.image.frames import MOST_FRAMES, FrameChoice, Frames, chosen, described
from model_store.image.gray import Gray, Window, as_gray

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Opened = TypeVar("Opened")

NATIVE: Final = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
JPEG: Final = frozenset(
    {"1.2.840.10008.1.2.4.50", JPEG_EXTENDED}
)  # baseline, and extended with 8 bits
JPEG_2000: Final = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
RLE: Final = "1.2.840.10008.1.2.5"
GRAY_BYTES, COLOR_BYTES, JPEG_2000_BYTES = (
    10,
    36,
    8,
)  # memory for a pixel; the last in addition, and for each sample
READ: Final = "uncompressed, RLE, JPEG, JPEG-LS, JPEG 2000 or HTJ2K"


class DicomFrame(NamedTuple):
    """One frame of a data set, by its number from 1; `gray` is what makes its values gray."""

    dataset: "Dataset"
    number: int
    gray: "Dataset"

    @property
    def place(self) -> int:
        """Its number from 0."""
        return self.number - 1


def is_dicom(data: bytes) -> bool:
    """Return whether the bytes begin like a DICOM file: any 128 bytes, then "DICM"."""
    return data[128:132] == b"DICM"


def open_dicom(
    data: bytes,
    *,
    max_pixels: int,
    window: Window | None,
    frames: Frames,
    reserve: Reserve = unlimited,
) -> Image.Image:
    """Decode the image of a DICOM file at its own size, mode "L" or "RGB".

    Args:
        data: a whole file.
        max_pixels: the limit of rows times columns.
        window: center and width in the units after the rescale (Hounsfield for CT). None takes the
            file's own: its VOI lookup table, else its first window, else the range from the
            smallest to the largest value without padding.
        frames: "one" refuses a file with several frames, "first" takes the first.
        reserve: called with the peak of memory in bytes before pixels are decoded; may raise to
            refuse.

    Raises:
        UnsupportedImage: the compression or the kind of object is not read.
        ImageTooLarge, ImageTooComplex, BrokenImage: `model_store.errors` describes each.
    """
    [image] = open_frames(
        data,
        lambda frame: render(frame, window),
        max_pixels=max_pixels,
        frames=frames,
        reserve=reserve,
    )
    return image


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
    """Return what `use` makes of each frame that is meant, once all checks of `open_dicom` have
    passed.

    Args:
        frames: which ones: what a card says, or the choice of somebody.
        max_frames: the limit of their number; their pixels together may be `max_pixels`.
        kept_bytes: what `use` keeps of each.

    Raises:
        NoSuchFrame, TooManyFrames: see `chosen`; and the errors of `open_dicom`.
    """
    try:
        import pydicom
        import pydicom.config
    except ImportError as error:
        raise UnsupportedImage(
            "DICOM, and pydicom is not installed here", "a JPEG or PNG"
        ) from error
    pydicom.config.settings.reading_validation_mode = (
        pydicom.config.IGNORE
    )  # odd metadata are fine: only the pixels matter
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    try:
        _refuse_deflated(data)
        dataset = pydicom.dcmread(io.BytesIO(data))
        _check(dataset, max_pixels=max_pixels)
        numbers = _numbers(dataset, frames, max_frames=max_frames, max_pixels=max_pixels)
        reserve(_needed_bytes(dataset) + len(numbers) * kept_bytes)
        return [use(frame) for frame in _frames(dataset, numbers)]
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageTooComplex(
            "more memory than there is for a DICOM file", "the memory for one image"
        ) from error
    # Untrusted bytes in a parser of many parts, some of whose errors derive from Exception alone.
    except Exception as error:
        raise BrokenImage(f"DICOM: {str(error)[:200] or type(error).__name__}") from error


def _frames(dataset: "Dataset", numbers: range) -> Iterator[DicomFrame]:
    return (DicomFrame(dataset, number, described(dataset, number)) for number in numbers)


def _refuse_deflated(data: bytes) -> None:
    """Read only the file meta group: reading on would unpack a deflated file to any size."""
    from pydicom.filereader import read_dataset, read_preamble

    stream = io.BytesIO(data)
    read_preamble(stream, force=False)
    meta = read_dataset(
        stream,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, *_: tag.group != 2,
    )
    _check_syntax(str(meta.get("TransferSyntaxUID") or ""))


def _check_syntax(syntax: str) -> None:
    if syntax and syntax not in NATIVE | JPEG | JPEG_2000 | {RLE} | DECODERS.keys():
        raise UnsupportedImage(f"DICOM compressed as {_name(syntax)}", READ)
    if syntax in DECODERS and syntax not in JPEG:
        _check_available(f"DICOM compressed as {_name(syntax)}")


def _check_available(found: str) -> None:
    if not available():
        raise UnsupportedImage(
            f"{found}, whose decoder is not installed here (extra `dicom`: pip install "
            "imagecodecs)",
            "uncompressed, RLE, 8-bit JPEG or JPEG 2000",
        )


def _name(syntax: str) -> str:
    from pydicom.uid import UID

    return str(UID(syntax).name[:80])


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
    numbers = chosen(_count(dataset), frames, most=max_frames)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if len(numbers) * rows * columns > max_pixels:
        raise TooManyFrames(
            f"{len(numbers)} x {columns} x {rows} pixels in its", f"{max_pixels} pixels"
        )
    return numbers


def _count(dataset: "Dataset") -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def _needed_bytes(dataset: "Dataset") -> int:
    """Peak memory of decoding a frame."""
    samples = int(dataset.get("SamplesPerPixel") or 1)
    per_pixel = GRAY_BYTES if samples == 1 else COLOR_BYTES
    syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "")
    if syntax in JPEG_2000 or _needs_codec(dataset):
        per_pixel += JPEG_2000_BYTES * samples
    return (
        int(dataset.Rows)
        * int(dataset.Columns)
        * (per_pixel + int(dataset.get("BitsAllocated") or 8) // 4)
    )


def render(frame: DicomFrame, window: Window | None) -> Image.Image:
    """Decode a frame at its own size, mode "L" or "RGB"."""
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


def stored_pixels(frame: DicomFrame) -> npt.NDArray[Any]:
    """Return a frame as stored: integers (H, W) or RGB (H, W, 3). pydicom removes unused bits."""
    from pydicom.pixels.utils import pixel_array

    dataset = frame.dataset
    syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "")
    if syntax == RLE:
        pixels = _unpacked(frame)
    elif _needs_codec(dataset):
        pixels = _decoded(frame, syntax)
    else:
        if syntax in JPEG | JPEG_2000:
            _check_frame(frame)
        pixels = pixel_array(dataset, index=frame.place, raw=False)
    if pixels.dtype.kind not in "ui":
        raise UnsupportedImage("a DICOM file with floating-point pixels", "integer pixels")
    return pixels


def _encoded(frame: DicomFrame) -> bytes:
    """The bytes of a compressed frame."""
    from pydicom.encaps import get_frame

    dataset = frame.dataset
    table = [dataset.get(f"ExtendedOffsetTable{which}") for which in ("", "Lengths")]
    offsets = (table[0], table[1]) if all(table) else None
    found: bytes = get_frame(
        dataset.PixelData, frame.place, number_of_frames=_count(dataset), extended_offsets=offsets
    )
    return found


def _needs_codec(dataset: "Dataset") -> bool:
    """Whether Pillow cannot decode the compression."""
    syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "")
    return syntax in DECODERS and (syntax != JPEG_EXTENDED or int(dataset.BitsStored) > 8)


def _decoded(frame: DicomFrame, syntax: str) -> npt.NDArray[Any]:
    """A frame by imagecodecs."""
    dataset = frame.dataset
    _check_available(f"DICOM with a JPEG of {dataset.BitsStored} bits")
    samples, allocated, bits = (
        int(dataset.get(name) or 1) for name in ("SamplesPerPixel", "BitsAllocated", "BitsStored")
    )
    if samples not in (1, 3) or allocated not in (8, 16) or not 1 < bits <= allocated:
        raise UnsupportedImage(
            f"{samples} samples of {bits} of {allocated} bits", "1 or 3 samples of 8 or 16 bits"
        )
    expected = FrameHeader(int(dataset.Columns), int(dataset.Rows), samples, allocated)
    signed = bool(int(dataset.get("PixelRepresentation") or 0))
    pixels = stored(
        decode_frame(_encoded(frame), syntax, expected),
        allocated=allocated,
        bits=bits,
        signed=signed,
    )
    photometric = str(dataset.PhotometricInterpretation)
    return (
        _rgb(pixels, photometric)
        if samples == 3 and photometric in ("YBR_FULL", "YBR_FULL_422")
        else pixels
    )


def _check_frame(frame: DicomFrame) -> None:
    """Check that the header of the compressed image agrees with the file's."""
    dataset = frame.dataset
    with Image.open(io.BytesIO(_encoded(frame)), formats=("JPEG", "JPEG2000")) as image:
        if image.size != (int(dataset.Columns), int(dataset.Rows)):
            raise ValueError(f"holds {image.size}, announces {dataset.Columns} x {dataset.Rows}")


def _unpacked(frame: DicomFrame) -> npt.NDArray[Any]:
    """Decode RLE (PS3.5 annex G): byte planes, most significant first, each packed separately.

    Pillow's PackBits is fast and never unpacks more than the expected plane. pydicom's own decoder
    is Python, works byte by byte, and trusts what it reads.
    """
    dataset = frame.dataset
    rows, columns, samples = (
        int(dataset.Rows),
        int(dataset.Columns),
        int(dataset.get("SamplesPerPixel") or 1),
    )
    width = int(dataset.BitsAllocated) // 8
    if samples not in (1, 3) or width not in (1, 2, 4) or (samples == 3 and width > 1):
        raise UnsupportedImage(f"RLE with {samples} samples of {dataset.BitsAllocated} bits", READ)
    packed = _encoded(frame)
    header = np.frombuffer(packed[:64], "<u4")
    if header[0] != samples * width:
        raise ValueError(f"{header[0]} RLE segments, expected {samples * width}")
    ends = [*header[2 : 1 + header[0]].tolist(), len(packed)]
    planes = np.empty((rows, columns, samples * width), np.uint8)
    for index, (start, end) in enumerate(
        zip(header[1 : 1 + header[0]].tolist(), ends, strict=True)
    ):
        plane = Image.frombytes("L", (rows * columns, 1), packed[start:end], "packbits", "L")
        planes[..., index] = np.asarray(plane).reshape(rows, columns)
    if samples == 3:
        return _rgb(planes, str(dataset.PhotometricInterpretation))
    kind = "i" if int(dataset.get("PixelRepresentation") or 0) else "u"
    return planes.view(f">{kind}{width}")[..., 0].astype(f"{kind}{width}")


def _rgb(pixels: npt.NDArray[np.uint8], photometric: str) -> npt.NDArray[Any]:
    from pydicom.pixels.processing import convert_color_space

    return pixels if photometric == "RGB" else convert_color_space(pixels, photometric, "RGB")
