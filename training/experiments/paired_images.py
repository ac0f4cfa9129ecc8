"""Differences against cross-entropy on the same test images: how far they might be other on other
images.

The intervals over seeds (paired.py) say how sure a difference is on these images, for other seeds.
Here each image has its mean difference over seeds, and the interval is over images, or over
patients if they are known.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from calibration.measures.metrics import of_true_class
from training.experiments.cell import CellResult
from training.experiments.summary import BASELINE, Estimate, calibrators_of
from training.experiments.table import ResultTable, file_stem, format_estimate

CALIBRATORS = ("none", "temperature")
EXPLAINED = (
    "Method minus cross-entropy with the same calibrator and seed, averaged over seeds for each "
    "test image: mean ± "
    "half of the 95 % interval over images, or over patients if they are known. It is for other "
    "images like these."
)
COLUMNS = ("method, calibrator", "seeds", "images", "accuracy", "NLL")


def image_table(
    pair: tuple[str, str], methods: Mapping[str, Mapping[int, CellResult]]
) -> ResultTable:
    """A row per method and calibrator, for the results of `methods` by title and seed;
    cross-entropy is among them.
    """
    base = methods[BASELINE[0]]
    rows = [
        _row(
            method,
            calibrator,
            [(result, base[seed]) for seed, result in by_seed.items() if seed in base],
        )
        for method, by_seed in methods.items()
        for calibrator in CALIBRATORS
        if method != BASELINE[0] and by_seed.keys() & base.keys()
    ]
    title = f"Against cross-entropy, on the same test images: {', '.join(pair)}"
    return ResultTable(file_stem("by-image", *pair), title, COLUMNS, tuple(rows), (EXPLAINED,))


def _row(
    method: str, calibrator: str, pairs: list[tuple[CellResult, CellResult]]
) -> tuple[str, ...]:
    differences = [
        [
            own - other
            for own, other in zip(_by_image(a, calibrator), _by_image(b, calibrator), strict=True)
        ]
        for a, b in pairs
    ]
    accuracy, nll = np.mean(differences, axis=0)
    groups = pairs[0][0].predictions["test"].groups
    estimates = (format_estimate(over_units(each, groups)) for each in (accuracy, nll))
    return (f"{method}, {calibrator}", str(len(pairs)), str(len(accuracy)), *estimates)


def _by_image(
    result: CellResult, calibrator: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correctness and NLL of each test image, (N,)."""
    (kind, seen), known = calibrators_of(result)[calibrator], result.predictions["test"]
    probabilities = kind.fit(seen.logits, seen.labels)(known.logits)
    truth = np.maximum(of_true_class(probabilities, known.labels), np.finfo(np.float64).tiny)
    return (probabilities.argmax(axis=1) == known.labels).astype(np.float64), -np.log(truth)


def over_units(values: NDArray[np.float64], groups: NDArray[np.int64] | None) -> Estimate:
    """Mean of `values` (N,), and half of its 95 % normal interval over images, or over the `groups`
    (N,) of images.

    >>> over_units(np.array([0.0, 1.0, 0.0, 1.0]), None)  # 1.96 * sqrt(4 * .25) / 4
    Estimate(mean=0.5, half=0.49, count=4)
    >>> # two units, each off by 1
    >>> over_units(np.array([0.0, 0.0, 1.0, 1.0]), np.array([5, 5, 7, 7]))
    Estimate(mean=0.5, half=0.693, count=2)
    """
    mean = float(values.mean())
    _, unit = np.unique(np.arange(len(values)) if groups is None else groups, return_inverse=True)
    totals = np.bincount(unit, weights=values - mean)
    half = norm.ppf(0.975) * math.sqrt(float(totals @ totals)) / len(values)
    return Estimate(mean, round(float(half), 3), len(totals))
