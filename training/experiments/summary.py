"""From cells to figures: measures by post-hoc calibrator, with mean and interval over seeds.

Calibrators are fitted on validation and measured on test. Nothing here chooses
a method.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from calibration.calibrators.protocol import Calibrator
from calibration.measures.summary import Measures
from training.evaluation.calibrators import ALL_CALIBRATORS
from training.evaluation.evaluation import EvaluatedSplit, Predictions
from training.experiments.cell import CellResult

BASELINE = ("ce", "none")  # method and calibrator that all others are compared with
FIGURES = ("ece", "accuracy", "mce", "nll", "brier", "noise_floor", "ece_z", "signed_gap")


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds and half its 95 % t interval, None for a single seed."""

    mean: float
    half: float | None
    count: int


@dataclass(frozen=True)
class MethodSummary:
    """Figures over seeds of one method and calibrator on one data set with one network."""

    data: str
    network: str
    method: str
    calibrator: str
    keeps_argmax: bool
    figures: Mapping[str, Estimate]
    failures: tuple[str, ...] = ()

    @property
    def pair(self) -> tuple[str, str]:
        """Data set and network."""
        return self.data, self.network


def estimate(values: Iterable[float]) -> Estimate:
    """Mean and t interval of independent values.

    >>> estimate([1.0, 2.0, 3.0])  # sd 1, t 4.303 at two degrees of freedom: 4.303 / sqrt(3)
    Estimate(mean=2.0, half=2.484, count=3)
    """
    known = np.array(list(values), dtype=np.float64)
    count = len(known)
    if count < 2:
        return Estimate(float(known.mean()) if count else math.nan, None, count)
    half = student.ppf(0.975, count - 1) * known.std(ddof=1) / math.sqrt(count)
    return Estimate(float(known.mean()), round(float(half), 3), count)


def measure(result: CellResult, split: EvaluatedSplit = "test") -> dict[str, Measures]:
    """Measures of `split` by calibrator, each fitted on validation."""
    if split not in result.measured:
        known = result.predictions[split]
        result.measured[split] = {
            name: Measures.from_probabilities(
                kind.fit(seen.logits, seen.labels)(known.logits), known.labels
            )
            for name, (kind, seen) in calibrators_of(result).items()
        }
    return result.measured[split]


def calibrators_of(result: CellResult) -> dict[str, tuple[type[Calibrator], Predictions]]:
    """Every calibrator for `result`, and the predictions to fit it on."""
    return {name: (kind, result.predictions["val"]) for name, kind in ALL_CALIBRATORS.items()}


def summarize(results: Sequence[CellResult], split: EvaluatedSplit = "test") -> list[MethodSummary]:
    """A summary per data set, network, method and calibrator, in the order of `results`."""
    groups: dict[tuple[str, str, str], list[CellResult]] = {}
    for result in results:
        groups.setdefault((result.cell.data, result.cell.network, result.cell.method), []).append(
            result
        )
    return [line for key, group in groups.items() for line in _lines(key, group, split)]


def _lines(
    key: tuple[str, str, str], group: Sequence[CellResult], split: EvaluatedSplit
) -> list[MethodSummary]:
    failures = tuple(result.failure for result in group if result.failure)
    measured = [measure(result, split) for result in group if not result.failure]
    return [
        MethodSummary(
            *key,
            calibrator=name,
            keeps_argmax=name not in ALL_CALIBRATORS or ALL_CALIBRATORS[name].keeps_argmax,
            figures={
                figure: estimate(getattr(each[name], figure) for each in measured)
                for figure in FIGURES
            },
            failures=failures,
        )
        for name in (measured[0] if measured else ALL_CALIBRATORS)
    ]
