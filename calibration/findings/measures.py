"""Measures of findings: of each one, and their means.

The probability is that of presence, so the calibration error compares it with how often the finding
was there, in bins of equally many images (`calibration.bins.equal_mass_sums`): most probabilities
of a rare finding would share one bin of equal width.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, FloatArray, equal_mass_sums
from calibration.document import FigureTable
from calibration.markdown import markdown
from calibration.measures import metrics
from calibration.measures.ranking import auroc, average_precision
from calibration.wording import percent

BoolArray = npt.NDArray[np.bool_]


def known_answers(
    probability: npt.ArrayLike, label: npt.ArrayLike
) -> tuple[FloatArray, BoolArray, BoolArray]:
    """Return probabilities (M,) and outcomes (M,) of the images whose label is known, and which.

    A label is 1, 0, or NaN for unknown. ValueError for shapes that differ, other labels, or
    probabilities outside [0, 1].

    >>> known_answers([0.9, 0.2, 0.4], [1, np.nan, 0])[:2]
    (array([0.9, 0.4]), array([ True, False]))
    """
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(label, dtype=np.float64)
    if p.shape != y.shape or p.ndim != 1:
        raise ValueError(f"probabilities {p.shape} and labels {y.shape} must both be (N,)")
    known = ~np.isnan(y)
    if not np.isin(y[known], (0, 1)).all():
        raise ValueError("the label of a finding must be 1, 0, or NaN for unknown")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("the probability of a finding must be in [0, 1]")
    return p[known], y[known] == 1, known


@dataclass(frozen=True, kw_only=True)
class FindingMeasures:
    """One finding on the images whose label is known; NaN where that is undefined.

    Attributes:
        labeled: images whose label is known.
        positives: of these, images with the finding.
        observed_expected: positives / sum of probabilities; above 1, probabilities are too low.
        auprc: average precision; that of chance is the prevalence.
        nll: mean negative log-likelihood, in nats.
        ece: mean distance between probability and frequency, bins of equal mass.
        ece_floor: the `ece` that true probabilities would show on as many labels.
    """

    labeled: int
    positives: int
    observed_expected: float
    auroc: float
    auprc: float
    nll: float
    brier: float
    ece: float
    ece_floor: float

    def as_dict(self) -> dict[str, float | None]:
        """Return plain data for JSON; NaN and infinities become None."""
        return {
            name: value if math.isfinite(value) else None for name, value in asdict(self).items()
        }


def measure_finding(
    probability: npt.ArrayLike, label: npt.ArrayLike, *, bin_count: int = BIN_COUNT
) -> FindingMeasures:
    """Measure one finding; arguments and errors as in `known_answers`, `bin_count` of equal mass.

    >>> found = measure_finding([0.5, 0.5, 0.1, 0.1], [1, 0, 0, np.nan])
    >>> found.labeled, found.positives, round(found.observed_expected, 2), found.auroc
    (3, 1, 0.91, 0.75)
    """
    p, y, _ = known_answers(probability, label)
    observed, expected, sums = int(y.sum()), float(p.sum()), equal_mass_sums(p, y, bin_count)
    return FindingMeasures(
        labeled=len(y),
        positives=observed,
        observed_expected=observed / expected if expected else math.nan,
        auroc=auroc(p, y),
        auprc=average_precision(p, y),
        nll=metrics.nll(np.stack([1 - p, p], axis=1), y.astype(np.int64)),
        brier=metrics.mean((p - y) ** 2),
        ece=metrics.ece(sums),
        ece_floor=metrics.noise_floor(sums),
    )


def measure_findings(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, bin_count: int = BIN_COUNT
) -> tuple[FindingMeasures, ...]:
    """Measure K findings, from probabilities (N, K) and labels (N, K); see `measure_finding`."""
    p, y = np.asarray(probabilities), np.asarray(labels)
    if p.shape != y.shape or p.ndim != 2:
        raise ValueError(f"probabilities {p.shape} and labels {y.shape} must both be (N, K)")
    return tuple(measure_finding(p[:, k], y[:, k], bin_count=bin_count) for k in range(p.shape[1]))


MACRO = ("auroc", "auprc", "nll", "brier", "ece", "ece_floor")


def macro(each: Sequence[FindingMeasures]) -> dict[str, float | None]:
    """Return the means of measures over the findings for which they are defined, or None.

    `findings` counts those with an AUROC, that is with positives and negatives.
    """
    values = {name: [getattr(one, name) for one in each] for name in MACRO}
    known = {name: [v for v in of if not math.isnan(v)] for name, of in values.items()}
    means = {name: math.fsum(of) / len(of) if of else None for name, of in known.items()}
    return means | {"findings": len(known["auroc"])}


@dataclass(frozen=True)
class FindingsMeasures:
    """The measures of each finding by its name, and `macro`, their means."""

    findings: dict[str, FindingMeasures]

    @property
    def macro(self) -> dict[str, float | None]:
        """Means over the findings for which a measure is defined."""
        return macro([*self.findings.values()])

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        found = {name: each.as_dict() for name, each in self.findings.items()}
        return {"findings": found, "macro": self.macro}

    def _repr_markdown_(self) -> str:
        columns = ("", "labels", "positives", "ECE", "floor")
        rows = [
            [
                name,
                f"{each.labeled:,}",
                f"{each.positives:,}",
                percent(each.ece),
                percent(each.ece_floor),
            ]
            for name, each in self.findings.items()
        ]
        return markdown([FigureTable("", columns, rows)])
