"""How an image becomes the model's input, in training, serving and TorchServe: one decoder.

These files are copied into TorchServe archives, so they may import NumPy, Pillow, each other and `model_store.errors`,
and pydicom once DICOM comes; no more.
"""

from model_store.image.decoder import FORMATS, KNOWN, MAX_PIXELS, InputSpec, decode, open_image, prepare
from model_store.image.dicom import is_dicom

__all__ = ["FORMATS", "KNOWN", "MAX_PIXELS", "InputSpec", "decode", "is_dicom", "open_image", "prepare"]
