"""What labels are worth that depend on each other: images of one patient err together.

With patients known, an image counts 1 / (1 + (m - 1) rho): m images of one patient whose errors
correlate by rho are worth m / (1 + (m - 1) rho) independent ones (the design effect of Kish 1965).
Of the others, errors of answers that were served one after the other give the design effect.
"""

import math

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import BLOCKS, BoolArray
from calibration.diagnosis.evidence import sigmoid
from calibration.diagnosis.stream import Stream

_LAGS = 50
_SPANS = (1, 3, 10, 30)  # lags that are tested together
_SIGNIFICANT = 4.5
_FEWEST = 60


def patient_correlation(stream: Stream, patient: IntArray) -> float:
    """Correlation of errors within a patient, plus a standard error, in [0, 1]; 0 without repeats.

    Args:
        stream: labels, and what P(right) is supposed to be.
        patient: (n,) codes from 0; patients of one image alike count for nothing.
    """
    residual = _residuals(stream)
    squares = np.bincount(patient, residual**2)
    alike = (np.bincount(patient) - 1) * squares  # the products if errors were the same
    if not alike.sum():
        return 0.0
    products = np.bincount(patient, residual) ** 2 - squares
    correlation = float(products.sum() / alike.sum())
    error = math.sqrt(float(((products - correlation * alike) ** 2).sum())) / float(alike.sum())
    return float(np.clip(correlation + error, 0.0, 1.0))


def patient_weights(patient: IntArray, correlation: float) -> FloatArray:
    """Weights (n,) of the images of patients whose errors correlate so."""
    images = np.bincount(patient)[patient]
    return np.asarray(1 / (1 + (images - 1) * correlation))


def design_effect(stream: Stream, rows: BoolArray) -> float:
    """How many neighboring labels of `rows` (n,) are worth one; 1 if they do not err together.

    1 + 2 sum of the autocorrelations of errors, up to the lag where it is largest. Errors are
    centered in each block of time.
    """
    residual, block = _residuals(stream)[rows], stream.block[rows]
    if len(residual) < _FEWEST:
        return 1.0
    count = np.maximum(np.bincount(block, minlength=BLOCKS), 1)
    residual = residual - (np.bincount(block, residual, BLOCKS) / count)[block]
    return _effect(_autocorrelations(residual), len(residual))


def _residuals(stream: Stream) -> FloatArray:
    p = sigmoid(stream.z)
    return np.asarray((stream.right - p) / np.sqrt(np.maximum(p * (1 - p), 1e-3)))


def _autocorrelations(residual: FloatArray) -> FloatArray:
    power = max(float(residual @ residual), 1e-9)
    lags = min(_LAGS, len(residual) // 4)
    spectrum = np.fft.rfft(residual, 1 << (len(residual) + lags).bit_length())
    return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2)[1 : lags + 1] / power)


def _effect(correlations: FloatArray, n: int) -> float:
    sums = correlations.cumsum()
    spans = [span for span in _SPANS if span <= len(sums)]
    if max(sums[span - 1] * math.sqrt(n / span) for span in spans) < _SIGNIFICANT:
        return 1.0
    return float(1 + 2 * sums.max())
