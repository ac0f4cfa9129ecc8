"""DICOM files made on the spot: any pixels, any tags, any transfer syntax."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless

SERIES = "1.3.6.1.4.1.9590.100.1.2.1"


def header(shape: tuple[int, ...], dtype: Any, **tags: Any) -> Dataset:
    """A CT slice's data set for pixels of `shape` (H, W[, 3]) and `dtype`; `tags` by keyword."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3.4"
    dataset.PatientID, dataset.SeriesInstanceUID = "P1", SERIES
    dataset.Rows, dataset.Columns = shape[:2]
    dataset.SamplesPerPixel = 3 if len(shape) == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if len(shape) == 3 else "MONOCHROME2"
    if len(shape) == 3:
        dataset.PlanarConfiguration = 0
    bits = 8 * np.dtype(dtype).itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(np.dtype(dtype).kind == "i")
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    if "BitsStored" in tags and "HighBit" not in tags:
        dataset.HighBit = tags["BitsStored"] - 1
    return dataset


def saved(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The data set as a file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def dicom(
    pixels: npt.NDArray[Any], *, keep: int | None = None, frames: int = 1, **tags: Any
) -> bytes:
    """An uncompressed file of pixels (H, W[, 3]); `keep` cuts bytes, `frames` repeats them."""
    dataset = header(pixels.shape, pixels.dtype, **tags)
    data = (np.ascontiguousarray(pixels).tobytes() * frames)[:keep]
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.add_new(
        "PixelData", "OW" if pixels.dtype.itemsize > 1 else "OB", data + b"\0" * (len(data) % 2)
    )
    return saved(dataset)


def dicom_stack(frames: npt.NDArray[Any], **tags: Any) -> bytes:
    """An uncompressed file of different frames, (N, H, W[, 3])."""
    dataset = header(frames.shape[1:], frames.dtype, NumberOfFrames=len(frames), **tags)
    data = frames.tobytes()
    dataset.add_new(
        "PixelData", "OW" if frames.dtype.itemsize > 1 else "OB", data + b"\0" * (len(data) % 2)
    )
    return saved(dataset)


def dicom_rle(pixels: npt.NDArray[Any], **tags: Any) -> bytes:
    """The same packed by pydicom's RLE encoder."""
    dataset = header(pixels.shape, pixels.dtype, **tags)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.compress(RLELossless, pixels, encoding_plugin="pydicom", generate_instance_uid=False)
    return saved(dataset, RLELossless)


def dicom_frames(
    frames: Sequence[bytes], syntax: str, shape: tuple[int, ...], dtype: Any, **tags: Any
) -> bytes:
    """A file of frames that are encoded already."""
    dataset = header(shape, dtype, **tags)
    dataset.add_new("PixelData", "OB", encapsulate(list(frames)))
    dataset["PixelData"].is_undefined_length = True
    return saved(dataset, syntax)


def encoded(pixels: npt.NDArray[Any], image_format: str, **options: Any) -> bytes:
    """Pixels as Pillow writes them."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, image_format, **options)
    return stream.getvalue()
