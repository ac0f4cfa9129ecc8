"""One decoder turns an image into the model's input, in training, serving and TorchServe.

These files are copied into TorchServe archives. So they import only NumPy, Pillow, each other and
`model_store.errors`, and pydicom when the first DICOM file arrives.
"""

from model_store.image.decoder import (
    FORMATS,
    KNOWN,
    MAX_PIXELS,
    InputSpec,
    Resample,
    decode,
    decode_frames,
    decode_plain,
    open_image,
    prepare,
)
from model_store.image.dicom import is_dicom, patient_of
from model_store.image.frames import DecodedFrames, FrameChoice, read_choice

__all__ = [
    "FORMATS",
    "KNOWN",
    "MAX_PIXELS",
    "DecodedFrames",
    "FrameChoice",
    "InputSpec",
    "Resample",
    "decode",
    "decode_frames",
    "decode_plain",
    "is_dicom",
    "open_image",
    "patient_of",
    "prepare",
    "read_choice",
]
