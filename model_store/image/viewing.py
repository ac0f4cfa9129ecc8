"""An image as a viewer needs it: the values before a window makes them gray, at a bounded size.

The model never sees this. Its input has the window of its specification or of the file (gray.py); a
viewer may choose any other. It is not in TorchServe's archives.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from model_store.image.cost import Reserve, unlimited
from model_store.image.decoder import MAX_PIXELS, open_image
from model_store.image.dicom import is_dicom, open_frames, render
from model_store.image.dicom_pixels import DicomFrame, stored_pixels
from model_store.image.frames import FrameChoice, Frames
from model_store.image.gray import Window, own_window, rescaled

LONGEST: Final = 1536  # pixels of the longer side
_LARGEST: Final = 0xFFFF
Samples = npt.NDArray[np.uint16]


class Viewing(NamedTuple):
    """The values of an image and the window in which to begin.

    Attributes:
        samples: (H, W, 1) for gray, (H, W, 3) for color, uint16.
        offset, slope: the value of a sample is `offset + slope * sample`, in the units after the
        rescale (Hounsfield
            for CT).
        center, width: the window, in the same units.
        inverted: whether the lowest value is white.
        reduced: by which factor each side is smaller than the file's.
    """

    samples: Samples
    offset: float
    slope: float
    center: float
    width: float
    inverted: bool
    reduced: int


def view(
    data: bytes,
    *,
    window: Window | None = None,
    frames: Frames | FrameChoice = "one",
    max_pixels: int = MAX_PIXELS,
    reserve: Reserve = unlimited,
) -> Viewing:
    """Open an encoded image for a viewer.

    Args:
        window: center and width in which to begin with a gray DICOM; None takes the file's own,
            else the whole range.
        frames: of a DICOM file of several; of "all", the first is shown.
        max_pixels, reserve: as for `decode`, whose errors it raises.
    """
    if is_dicom(data):
        shown: Frames | FrameChoice = 1 if frames == "all" else frames
        [found] = open_frames(
            data,
            lambda frame: _of_frame(frame, window),
            max_pixels=max_pixels,
            frames=shown,
            reserve=reserve,
        )
        return found
    return _of_picture(open_image(data, max_pixels=max_pixels, reserve=reserve))


def _of_frame(frame: DicomFrame, window: Window | None) -> Viewing:
    """The values of a gray DICOM image; one in color is a picture, without a window."""
    photometric = str(frame.dataset.get("PhotometricInterpretation") or "")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return _of_picture(render(frame, None))
    pixels, dataset = stored_pixels(frame), frame.gray
    if "ModalityLUTSequence" in dataset:
        pixels = _looked_up(pixels, lambda stored: rescaled(stored, dataset))
        offset, slope = 0.0, 1.0
    else:
        zero, one = rescaled(np.array([0.0, 1.0]), dataset).tolist()
        offset, slope = zero, one - zero
    factor = _factor(pixels.shape)
    samples, low, step = _as_samples(_reduced(pixels, factor))
    offset, slope = offset + slope * low, slope * step
    center, width = window or own_window(dataset) or _whole(samples, offset, slope)
    return Viewing(
        samples[..., np.newaxis], offset, slope, center, width, photometric == "MONOCHROME1", factor
    )


def _of_picture(image: Image.Image) -> Viewing:
    deep, factor = image.mode == "I" or image.mode.startswith("I;16"), _factor(image.size)
    if deep:
        samples = np.clip(_reduced(np.asarray(image), factor), 0, _LARGEST).astype(np.uint16)
    else:
        colors = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
        samples = np.asarray(colors.reduce(factor) if factor > 1 else colors).astype(np.uint16)
    full = float(_LARGEST if deep else 255)
    shaped = samples if samples.ndim == 3 else samples[..., np.newaxis]
    return Viewing(shaped, 0.0, 1.0, full / 2, full, False, factor)


def _factor(shape: tuple[int, ...]) -> int:
    return max(1, -(-max(shape[:2]) // LONGEST))


def _reduced(pixels: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """Means of squares of `factor` pixels, row by row, without a rest at the edges.

    >>> _reduced(np.array([[1, 3, 9], [5, 7, 9]]), 2).tolist()
    [[4]]
    """
    if factor == 1:
        return pixels
    height, width = max(1, pixels.shape[0] // factor), max(1, pixels.shape[1] // factor)
    result = np.empty((height, width, *pixels.shape[2:]), pixels.dtype)
    for row in range(height):
        band = pixels[row * factor : (row + 1) * factor, : width * factor]
        columns = min(factor, pixels.shape[1])
        mean = band.reshape(band.shape[0], width, columns, *pixels.shape[2:]).mean(axis=(0, 2))
        result[row] = np.rint(mean)
    return result


def _as_samples(pixels: npt.NDArray[Any]) -> tuple[Samples, float, float]:
    """The integers as uint16, with the value of sample 0 and the step between two samples.

    >>> samples, low, step = _as_samples(np.array([[-1000, 50]], np.int16))
    >>> samples.tolist(), low, step
    ([[0, 1050]], -1000.0, 1.0)
    """
    low, high = int(pixels.min()), int(pixels.max())
    step = max(1.0, (high - low) / _LARGEST)
    if step == 1.0:
        return (pixels.astype(np.int64) - low).astype(np.uint16), float(low), 1.0
    return np.rint((pixels.astype(np.float64) - low) / step).astype(np.uint16), float(low), step


def _looked_up(pixels: npt.NDArray[Any], values_of: Callable[[Any], Any]) -> npt.NDArray[Any]:
    low, high = int(pixels.min()), int(pixels.max())
    if high - low > _LARGEST:
        raise ValueError("a lookup table of over 16 bits")
    table = np.rint(values_of(np.arange(low, high + 1, dtype=np.float64))).astype(np.int32)
    return np.asarray(table[pixels.astype(np.int64) - low])


def _whole(samples: Samples, offset: float, slope: float) -> Window:
    ends = sorted((offset + slope * int(samples.min()), offset + slope * int(samples.max())))
    return sum(ends) / 2, max(1.0, ends[1] - ends[0])
