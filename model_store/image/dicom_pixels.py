"""The integers that a frame of a DICOM file stores, in every compression that is read.

codecs.py has the compressions that need a package more. The size inside a compressed frame is
compared with the data set's before any pixel is decoded.
"""

import io
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from model_store.errors import UnsupportedImage
from model_store.image.codecs import (
    DECODERS,
    JPEG_EXTENDED,
    FrameHeader,
    available,
    decode_frame,
    stored,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

NATIVE: Final = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
JPEG: Final = frozenset(
    {"1.2.840.10008.1.2.4.50", JPEG_EXTENDED}
)  # baseline, and extended of 8 bits
JPEG_2000: Final = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
RLE: Final = "1.2.840.10008.1.2.5"
READ: Final = "uncompressed, RLE, JPEG, JPEG-LS, JPEG 2000 or HTJ2K"
# Memory for a pixel; that of JPEG 2000 in addition, and for each sample.
GRAY_BYTES, COLOR_BYTES, JPEG_2000_BYTES = 10, 36, 8


class DicomFrame(NamedTuple):
    """One frame of a data set, by its number from 1; `gray` is what makes its values gray."""

    dataset: "Dataset"
    number: int
    gray: "Dataset"


def check_syntax(syntax: str) -> None:
    """Raise UnsupportedImage for a transfer syntax that is not read, or not here."""
    if syntax and syntax not in NATIVE | JPEG | JPEG_2000 | {RLE} | DECODERS.keys():
        raise UnsupportedImage(f"DICOM compressed as {_name(syntax)}", READ)
    if syntax in DECODERS and syntax not in JPEG:
        _check_available(f"DICOM compressed as {_name(syntax)}")


def _check_available(what: str) -> None:
    if not available():
        raise UnsupportedImage(
            f"{what}, whose decoder is not installed here (extra `dicom`: pip install imagecodecs)",
            "uncompressed, RLE, 8-bit JPEG or JPEG 2000",
        )


def _name(syntax: str) -> str:
    from pydicom.uid import UID

    return str(UID(syntax).name[:80])


def number_of(dataset: "Dataset", name: str, default: int = 0) -> int:
    """Return an integer of a data set, `default` where it is absent or empty."""
    return int(dataset.get(name) or default)


def _syntax(dataset: "Dataset") -> str:
    return str(dataset.file_meta.get("TransferSyntaxUID") or "")


def needed_bytes(dataset: "Dataset") -> int:
    """Peak memory of decoding a frame."""
    samples = number_of(dataset, "SamplesPerPixel", 1)
    per_pixel = GRAY_BYTES if samples == 1 else COLOR_BYTES
    if _syntax(dataset) in JPEG_2000 or _needs_codec(dataset):
        per_pixel += JPEG_2000_BYTES * samples
    per_pixel += number_of(dataset, "BitsAllocated", 8) // 4
    return int(dataset.Rows) * int(dataset.Columns) * per_pixel


def stored_pixels(frame: DicomFrame) -> npt.NDArray[Any]:
    """Return a frame as stored: integers (H, W) or RGB (H, W, 3). pydicom removes unused bits."""
    from pydicom.pixels.utils import pixel_array

    dataset, syntax = frame.dataset, _syntax(frame.dataset)
    if syntax == RLE:
        pixels = _unpacked(frame)
    elif _needs_codec(dataset):
        pixels = _decoded(frame, syntax)
    else:
        if syntax in JPEG | JPEG_2000:
            _check_frame(frame)
        pixels = pixel_array(dataset, index=frame.number - 1, raw=False)
    if pixels.dtype.kind not in "ui":
        raise UnsupportedImage("a DICOM file with floating-point pixels", "integer pixels")
    return pixels


def _encoded(frame: DicomFrame) -> bytes:
    from pydicom.encaps import get_frame

    dataset = frame.dataset
    offsets, lengths = (dataset.get(f"ExtendedOffsetTable{part}") for part in ("", "Lengths"))
    encoded: bytes = get_frame(
        dataset.PixelData,
        frame.number - 1,
        number_of_frames=number_of(dataset, "NumberOfFrames", 1),
        extended_offsets=(offsets, lengths) if offsets and lengths else None,
    )
    return encoded


def _needs_codec(dataset: "Dataset") -> bool:
    """Whether Pillow cannot decode the compression."""
    syntax = _syntax(dataset)
    return syntax in DECODERS and (syntax != JPEG_EXTENDED or int(dataset.BitsStored) > 8)


def _decoded(frame: DicomFrame, syntax: str) -> npt.NDArray[Any]:
    dataset = frame.dataset
    _check_available(f"DICOM with a JPEG of {dataset.BitsStored} bits")
    samples, allocated, bits = (
        number_of(dataset, name, 1) for name in ("SamplesPerPixel", "BitsAllocated", "BitsStored")
    )
    if samples not in (1, 3) or allocated not in (8, 16) or not 1 < bits <= allocated:
        raise UnsupportedImage(
            f"{samples} samples of {bits} of {allocated} bits", "1 or 3 samples of 8 or 16 bits"
        )
    expected = FrameHeader(int(dataset.Columns), int(dataset.Rows), samples, allocated)
    values = decode_frame(_encoded(frame), syntax, expected)
    signed = bool(number_of(dataset, "PixelRepresentation"))
    pixels = stored(values, allocated=allocated, bits=bits, signed=signed)
    photometric = str(dataset.PhotometricInterpretation)
    is_video = samples == 3 and photometric in ("YBR_FULL", "YBR_FULL_422")
    return _rgb(pixels, photometric) if is_video else pixels


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
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    samples, width = number_of(dataset, "SamplesPerPixel", 1), int(dataset.BitsAllocated) // 8
    if samples not in (1, 3) or width not in (1, 2, 4) or (samples == 3 and width > 1):
        raise UnsupportedImage(f"RLE with {samples} samples of {dataset.BitsAllocated} bits", READ)
    packed = _encoded(frame)
    count, *starts = np.frombuffer(packed[:64], "<u4").tolist()
    if count != samples * width:
        raise ValueError(f"{count} RLE segments, expected {samples * width}")
    ends = [*starts[1:count], len(packed)]
    planes = np.empty((rows, columns, count), np.uint8)
    for index, (start, end) in enumerate(zip(starts[:count], ends, strict=True)):
        plane = Image.frombytes("L", (rows * columns, 1), packed[start:end], "packbits", "L")
        planes[..., index] = np.asarray(plane).reshape(rows, columns)
    if samples == 3:
        return _rgb(planes, str(dataset.PhotometricInterpretation))
    kind = "i" if number_of(dataset, "PixelRepresentation") else "u"
    return planes.view(f">{kind}{width}")[..., 0].astype(f"{kind}{width}")


def _rgb(pixels: npt.NDArray[np.uint8], photometric: str) -> npt.NDArray[Any]:
    from pydicom.pixels.processing import convert_color_space

    return pixels if photometric == "RGB" else convert_color_space(pixels, photometric, "RGB")
