"""Early warnings: changes in the input that show before any label arrives. None of them says that
answers are wrong.

Histograms are compared by the population stability index, PSI = sum (a - b) ln(a / b) over the
shares a and b of the bins. By convention PSI below 0.1 is no change and above 0.25 a large one.
Chance alone gives about (bins - 1) (1/n + 1/m), so a warning is raised above 0.1 and above what
chance exceeds once in a thousand times.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Select, select

from calibration.bins import BinSums
from monitoring.findings.phrases import percent
from monitoring.ledger.schema import bin_day, bin_total
from monitoring.ledger.statement import summed
from monitoring.ledger.sums import LedgerSums
from monitoring.ledger.versions import WatchedVersion

ENOUGH = 1_000  # answers before a histogram is compared
RECENT_DAYS = 7
NOTABLE_PSI = 0.1
NOTABLE_MEAN = 0.02  # the smallest change of mean confidence that is reported
_PREDICTED = "predicted:"


@dataclass(frozen=True)
class EarlyWarning:
    """What was compared, its value, the limit above which it is `raised`, and a sentence."""

    name: str
    value: float
    limit: float
    raised: bool
    sentence: str


def quiet(name: str, limit: float, sentence: str) -> EarlyWarning:
    """Return a warning that is not raised, because there is too little to compare."""
    return EarlyWarning(name, math.nan, limit, False, sentence)


def find_early_warnings(
    served: LedgerSums,
    reference: BinSums,
    classes_recent: Mapping[str, int],
    classes_before: Mapping[str, int],
) -> tuple[EarlyWarning, ...]:
    """Return the early warnings of a window; NaN, not raised, with too little to compare."""
    return (
        _confidence_histogram(served, reference),
        _expected_accuracy(served, reference),
        _class_mix(classes_recent, classes_before),
    )


def served_by_class(
    connection: Connection, row: WatchedVersion, *, since_day: int | None = None
) -> dict[str, int]:
    """Count the answers served by slice of the predicted class."""
    table = bin_total if since_day is None else bin_day
    columns = table.c
    wanted: Select[Any] = select(columns.slice, summed(columns.served)).where(
        columns.watched_version_id == row.watched_version_id,
        columns.slice.in_([f"{_PREDICTED}{name}" for name in row.classes]),
    )
    if since_day is not None:
        wanted = wanted.where(columns.day >= since_day)
    return {
        name: int(served) for name, served in connection.execute(wanted.group_by(columns.slice))
    }


def psi(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Population stability index of two histograms of counts.

    Bins that are empty in both are ignored; every other bin gets half an answer more, so that no
    share is 0.

    >>> psi([50, 50], [50, 50]), round(psi([75, 25], [25, 75]), 2)
    (0.0, 1.07)
    """
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    filled = (a + b) > 0
    a, b = a[filled] + 0.5, b[filled] + 0.5
    a, b = a / a.sum(), b / b.sum()
    return float(((a - b) * np.log(a / b)).sum())


def psi_limit(bins: int, n: float, m: float, *, chance: float = 0.001) -> float:
    """The PSI that `chance` exceeds: a chi-squared quantile (Wilson-Hilferty) times 1/n + 1/m."""
    freedom = max(bins - 1, 1)
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + NormalDist().inv_cdf(1 - chance) * math.sqrt(spread)) ** 3
    return max(NOTABLE_PSI, quantile * (1 / n + 1 / m))


def _confidence_histogram(served: LedgerSums, reference: BinSums) -> EarlyWarning:
    name, n, m = "confidence_histogram", int(served.served.sum()), reference.total
    if n < ENOUGH or not m or len(reference.n) != len(served.served):
        return quiet(name, NOTABLE_PSI, _not_compared("The confidence histogram", n))
    value = psi(served.served, reference.n)
    limit = psi_limit(int(((served.served + reference.n) > 0).sum()), n, m)
    verb = "differs from" if value > limit else "matches"
    sentence = (
        f"The confidence histogram {verb} the card's reference (PSI {value:.2f}, limit "
        f"{limit:.2f})."
    )
    return EarlyWarning(name, value, limit, value > limit, sentence)


def _expected_accuracy(served: LedgerSums, reference: BinSums) -> EarlyWarning:
    name, n = "expected_accuracy", int(served.served.sum())
    if n < ENOUGH or not reference.total:
        return quiet(name, NOTABLE_MEAN, _not_compared("Expected accuracy", n))
    now = float(served.served_confidence.sum()) / n
    then = float(reference.confidence.sum()) / reference.total
    noise = NormalDist().inv_cdf(0.9995) * math.sqrt(
        _spread(served.served, served.served_confidence) / n
        + _spread(reference.n, reference.confidence) / reference.total
    )
    limit, value = max(NOTABLE_MEAN, noise), now - then
    sentence = (
        f"The model expects to be right {percent(now)} of the time; on the card's reference data "
        f"it expected {percent(then)}."
    )
    return EarlyWarning(name, value, limit, abs(value) > limit, sentence)


def _not_compared(what: str, answers: int) -> str:
    if answers < ENOUGH:
        return (
            f"{what} is compared with the card once there are {ENOUGH:,} answers ({answers:,} so "
            "far)."
        )
    return f"{what} is not compared: the card has no reference to compare it with."


def _spread(n: npt.NDArray[Any], confidence: npt.NDArray[Any]) -> float:
    """Variance of confidence, from counts and sums (B,): between bins, and of a uniform in one."""
    total = float(n.sum())
    mean = float(confidence.sum()) / total
    between = float((n * (confidence / np.maximum(n, 1) - mean) ** 2).sum()) / total
    return between + 1 / (12 * len(n) ** 2)


def _class_mix(recent: Mapping[str, int], before: Mapping[str, int]) -> EarlyWarning:
    """The predicted classes of the last days against those before; the card has no class mix."""
    name, names = "predicted_class_mix", sorted({*recent, *before})
    now, then = (np.array([mix.get(each, 0) for each in names]) for mix in (recent, before))
    if now.sum() < ENOUGH or then.sum() < ENOUGH:
        sentence = (
            f"Predicted classes are compared once there are {ENOUGH:,} answers in the last "
            f"{RECENT_DAYS} days and {ENOUGH:,} before."
        )
        return quiet(name, NOTABLE_PSI, sentence)
    value, limit = psi(now, then), psi_limit(len(names), float(now.sum()), float(then.sum()))
    shares, shares_before = now / now.sum(), then / then.sum()
    moved = int(np.abs(shares - shares_before).argmax())
    sentence = (
        f"{percent(shares[moved])} of answers in the last {RECENT_DAYS} days were "
        f'"{names[moved].removeprefix(_PREDICTED)}", compared with '
        f"{percent(shares_before[moved])} before (PSI {value:.2f}, limit {limit:.2f})."
    )
    return EarlyWarning(name, value, limit, value > limit, sentence)
