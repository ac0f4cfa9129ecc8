"""The images that are sent: noise on a smooth ground, compressed about as well as photographs."""

import io
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

Encoding: TypeAlias = Literal["JPEG", "PNG", "DICOM"]
BITS = 12  # of a DICOM radiograph


def picture(
    random: np.random.Generator,
    *,
    size: tuple[int, int],
    channels: int,
    noise: int,
    encoding: Encoding,
    quality: int = 75,
) -> bytes:
    """An encoded image of `size` (width, height) in pixels, with noise of at most `noise` gray
    values of 256.

    `quality` is that of a JPEG.
    """
    coarse = random.integers(0, 255, (7, 7, channels), dtype=np.uint8)
    mode = "L" if channels == 1 else "RGB"
    smooth = Image.fromarray(coarse.squeeze()).convert(mode).resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(smooth, dtype=np.int32)
    depth = 2 ** (BITS - 8) if encoding == "DICOM" else 1
    noisy = pixels * depth + random.integers(-noise * depth, noise * depth + 1, pixels.shape)
    if encoding == "DICOM":
        return _dicom(noisy.clip(0, 2**BITS - 1).astype(np.uint16))
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, encoding, quality=quality)
    return file.getvalue()


def _dicom(pixels: npt.NDArray[np.uint16]) -> bytes:
    """A digital radiograph, uncompressed, (H, W)."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3.4"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, BITS, BITS - 1
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (BITS - 1), 2**BITS
    dataset.PixelData = pixels.tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
