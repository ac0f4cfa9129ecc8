"""The gray values of a DICOM image: rescale and window map the stored integers to 0..255.

Source of the formulas: DICOM PS3.3 C.11.1 (rescale), C.11.2.1.2 (window).
"""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Window = tuple[float, float]  # center and width, in the units after the rescale
Gray = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]
# What NumPy makes of so many, eight bytes each, stays in the processor's cache.
BAND_PIXELS: Final = 2**16
LARGEST: Final = 0xFFFF


def as_gray(pixels: npt.NDArray[Any], dataset: "Dataset", window: Window | None) -> Gray:
    """Return what a viewer shows of stored integers (H, W): (H, W) uint8, the lowest value as 0.

    `window` (center, width) overrides the file's own. Up to 16 bits, the curve is computed once per
    value and looked up per pixel. Raises whatever pydicom raises for an inconsistent data set.
    """
    low, high = int(pixels.min()), int(pixels.max())
    padding = _number(dataset, "PixelPaddingValue")
    ends = low, high
    if padding is not None and (inside := pixels[pixels != padding]).size:
        ends = int(inside.min()), int(inside.max())
    gray = np.empty(pixels.shape, np.uint8)
    table = None
    if high - low <= LARGEST:  # the gray of each value, at its place modulo 2^16
        values = np.arange(low, high + 1)
        table = np.zeros(LARGEST + 1, np.uint8)
        table[values & LARGEST] = _curve(values.astype(np.float64), ends, dataset, window)
    rows = max(1, BAND_PIXELS // pixels.shape[1])
    for top in range(0, pixels.shape[0], rows):
        band, shown = pixels[top : top + rows], gray[top : top + rows]
        if table is None:
            shown[:] = _curve(band.astype(np.float64), ends, dataset, window)
        else:
            # The mode "raise" would copy once more.
            np.take(table, band.astype(np.uint16), out=shown, mode="clip")
    return gray


def _curve(
    stored: Values, ends: tuple[int, int], dataset: "Dataset", window: Window | None
) -> Gray:
    """Return the gray of each value. Without a window, `ends` become black and white."""
    values = rescaled(stored, dataset)
    if window is not None:
        return _windowed(values, *window, "LINEAR")
    if "VOILUTSequence" in dataset:
        return _looked_up(values, dataset)
    own = own_window(dataset)
    if own is not None:
        return _windowed(values, *own, _function(dataset))
    low, high = sorted(rescaled(np.array(ends, np.float64), dataset).tolist())
    return _bytes((values - low) / (high - low) if high > low else np.zeros_like(values))


def own_window(dataset: "Dataset") -> Window | None:
    """Return the file's first window, center and width; None if it has none that is valid."""
    center, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if center is None or width is None or width < (1 if _function(dataset) == "LINEAR" else 1e-12):
        return None
    return center, width


def _function(dataset: "Dataset") -> str:
    return str(dataset.get("VOILUTFunction") or "LINEAR").upper()


def rescaled(stored: Values, dataset: "Dataset") -> Values:
    """Return stored values in the units after the rescale, such as Hounsfield."""
    if "ModalityLUTSequence" in dataset:
        from pydicom.pixels.processing import apply_modality_lut

        return np.asarray(apply_modality_lut(stored.astype(np.int64), dataset), np.float64)
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    return stored * (1.0 if slope is None else slope) + (0.0 if intercept is None else intercept)


def _windowed(values: Values, center: float, width: float, function: str) -> Gray:
    """PS3.3 C.11.2.1.2.1 (LINEAR), .3.2 (LINEAR_EXACT), .3.1 (SIGMOID), for output 0..255.

    >>> _windowed(np.array([-1.0, 0.0, 40.0, 79.0, 80.0]), 40.0, 80.0, "LINEAR").tolist()
    [0, 0, 129, 255, 255]
    """
    if function == "SIGMOID":
        return _bytes(1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700))))
    if function == "LINEAR_EXACT":
        return _bytes((values - center) / width + 0.5)
    if width == 1:
        return np.where(values > center - 0.5, 255, 0).astype(np.uint8)
    return _bytes((values - (center - 0.5)) / (width - 1) + 0.5)


def _looked_up(values: Values, dataset: "Dataset") -> Gray:
    from pydicom.pixels.processing import apply_voi

    bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
    shown = apply_voi(np.rint(values).astype(np.int64), dataset)
    return _bytes(np.asarray(shown, np.float64) / (2**bits - 1))


def _bytes(shares: Values) -> Gray:
    """Map 0..1 to 0..255, clipped and rounded."""
    return np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)


def _number(dataset: "Dataset", keyword: str) -> float | None:
    """Return the first value of an element, None if it is absent or empty."""
    value = dataset.get(keyword)
    if value == "":
        return None
    if not isinstance(value, str) and hasattr(value, "__iter__"):
        value = next(iter(value), None)
    if value is None:
        return None
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(f"{keyword} is {number}")
    return number
