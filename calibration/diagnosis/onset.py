"""When an error began, whether it came at once or grew, and whether it has ended.

Suppose that confidence was true up to label j - 1 and wrong in one of the scan's ways from j on.
The likelihood ratio of that is the product of q/p or (1-q)/(1-p) from j on, so its share is the
posterior of j. Half of the prior is on the first label: an error that was always there. The median
of the posterior dates the error. Its mode would not: the first label alone may well be likelier
than any other where the error was hardly always there. A growing error shifts log-odds, or scales
them, by an amount that rises linearly from j to the end.

Sources: Shiryaev 1963; Pollak 1985.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import BLOCKS, BoolArray
from calibration.diagnosis.evidence import (
    POSITIONS,
    SHAPE_PRIOR,
    histogram,
    in_cells,
    log_e_values,
    log_sum_exp,
    sigmoid,
)
from calibration.diagnosis.facts import Course, Since
from calibration.diagnosis.scan import Hypothesis, group_evidence
from calibration.diagnosis.stream import Stream

_MOST_CHUNKS = 512
_STARTS = 48  # of growing errors
_SHIFTS: Final = np.linspace(-4, 4, 33)
_ENDS = (
    -4.0,
    -3.2,
    -2.6,
    -2.1,
    -1.7,
    -1.3,
    -1.0,
    -0.7,
    -0.5,
    0.5,
    0.8,
    1.2,
    1.8,
    2.6,
)  # shifts that a growing error reaches
_LOGS: Final = np.linspace(-1.6, 1.0, 27)  # logarithms of scales
_LOG_ENDS = (-1.5, -1.1, -0.8, -0.6, -0.4, -0.25, 0.25, 0.5, 0.8)
# half on the scan's alternatives, half on shifts of all sizes
_STEP_PRIOR = np.append(SHAPE_PRIOR, np.full(len(_SHIFTS), -math.log(len(_SHIFTS)))) - math.log(2)
_GROWING = 0.05  # prior
_CLEAR = math.log(1000)  # an error that goes on may seem to have ended at 100 to 1
_TAIL = 0.005  # outside each end of the interval: the shapes tried are not all there are


@dataclass(frozen=True)
class DatedOnset:
    """`since` and `until` of an error, its course, and which labels (k,) of the group it hit."""

    since: Since
    until: float | None
    course: Course
    affected: IntArray


def onset(
    stream: Stream, found: Hypothesis, served_s: FloatArray, settled: BoolArray
) -> DatedOnset:
    """Date the error of a group.

    Args:
        stream: labels; other groups' errors have been put right in it.
        found: the group and its window.
        served_s: (n,) when each labeled answer was served.
        settled: (n,) served when labels have come if they come at all. Where some are still due,
            those that came first may be the right ones, so they show no healing.
    """
    members = found.members(stream)
    healed = _has_healed(stream.weighing(stream.weight * settled), found)
    rows = np.flatnonzero(members & (stream.block < found.end) if healed else members)
    if not len(rows):
        rows = np.flatnonzero(members)
    since, course, first = _dated(stream, rows, served_s)
    until, affected = None, rows[first:]
    if healed:
        last = _last(stream, np.flatnonzero(members)[first:])
        affected = np.flatnonzero(members)[first : first + last + 1]
        until = float(served_s[affected[-1]])
    return DatedOnset(since, until, course, affected)


def _has_healed(stream: Stream, found: Hypothesis) -> bool:
    """Whether a window that has closed explains the labels 1,000 times better than an open one."""
    if found.end == BLOCKS:
        return False
    is_open, closed = group_evidence(stream, found.members(stream))
    return closed - is_open > _CLEAR


def _dated(stream: Stream, rows: IntArray, served_s: FloatArray) -> tuple[Since, Course, int]:
    """When labels `rows` began to be wrong, and the number of the first that was served then."""
    chunk, first = _chunks(len(rows))
    labels = in_cells(stream.z[rows], stream.right[rows], stream.weight[rows])
    counts = histogram(chunk, len(first), labels)
    step, growing = _steps(counts), _ramps(counts)
    share = log_sum_exp(step) - log_sum_exp(growing)
    posterior = np.exp(
        np.logaddexp(step, growing) - np.logaddexp(*map(log_sum_exp, (step, growing)))
    )
    low, middle, high = np.searchsorted(posterior.cumsum(), [_TAIL, 0.5, 1 - _TAIL])
    likeliest = served_s[rows[first[middle]]]
    ends = np.append(first[1:], len(rows)) - 1
    since = Since(
        float(likeliest),
        None if low == 0 else float(served_s[rows[first[low] - 1]]),
        float(served_s[rows[ends[min(int(high), len(ends) - 1)]]]),
        float(posterior[0]),
    )
    course = Course.GRADUAL if share < -math.log(5) else Course.STEP
    return since, course, int(np.searchsorted(served_s[rows], likeliest))


def _chunks(n: int) -> tuple[IntArray, IntArray]:
    """Chunk of each of n labels, and the first label of each; the first chunk is one label."""
    count = min(n, _MOST_CHUNKS)
    first = np.unique(np.linspace(0, n, count, endpoint=False).astype(np.int64))
    return np.searchsorted(first, np.arange(n), side="right") - 1, first


def _start_prior(count: int) -> FloatArray:
    """Log prior (count,) of the chunk of the first wrong label: half on the first."""
    prior = np.full(count, math.log(0.5 / max(count - 1, 1)))
    prior[0] = math.log(0.5) if count > 1 else 0.0
    return prior


def _steps(counts: FloatArray) -> FloatArray:
    """Log posterior weight (chunks,) of an error that came at once, by its first chunk."""
    evidence = counts @ np.concatenate([log_e_values(tolerant=False), _shift_table()], axis=1)
    tail = evidence[::-1].cumsum(axis=0)[::-1]
    likelihood = log_sum_exp(tail + _STEP_PRIOR, axis=1)
    return np.asarray(likelihood + _start_prior(len(counts)) + math.log(1 - _GROWING))


def _ramps(counts: FloatArray) -> FloatArray:
    """Log posterior weight (chunks,) of an error that has grown since, by its first chunk."""
    n = len(counts)
    starts = np.unique(np.linspace(0, n, min(_STARTS, n), endpoint=False).astype(np.int64))
    shifts, scales = counts @ _shift_table(), counts @ _scale_table()
    each = [
        (_ramp(shifts, _SHIFTS, _ENDS, start), _ramp(scales, _LOGS, _LOG_ENDS, start))
        for start in starts.tolist()
    ]
    weights = log_sum_exp(np.array(each), axis=1) - math.log(2)
    cell = np.searchsorted(starts, np.arange(n), side="right") - 1
    return np.asarray(weights[cell] - math.log(n) + math.log(_GROWING))


def _ramp(evidence: FloatArray, sizes: FloatArray, ends: tuple[float, ...], start: int) -> float:
    """Log likelihood ratio of an error that grows from chunk `start`, over what it reaches.

    Args:
        evidence: (chunks, sizes) of an error of each size in each chunk.
        sizes: evenly spaced.
        ends: sizes that the error may reach.
        start: chunk.
    """
    n = len(evidence)
    progress = (np.arange(start, n) - start + 0.5) / (n - start)
    place = (np.outer(ends, progress) - sizes[0]) / (sizes[1] - sizes[0])
    low = place.astype(np.int64).clip(0, len(sizes) - 2)
    chunk = np.arange(start, n)
    upper = place - low
    each = evidence[chunk, low] * (1 - upper) + evidence[chunk, low + 1] * upper
    return float(log_sum_exp(each.sum(axis=1))) - math.log(len(ends))


@lru_cache(maxsize=1)
def _shift_table() -> FloatArray:
    """Log likelihood ratio (CELLS, shifts) of log-odds moved by each shift."""
    return _ratios(sigmoid(POSITIONS[:, None] + _SHIFTS))


@lru_cache(maxsize=1)
def _scale_table() -> FloatArray:
    """Log likelihood ratio (CELLS, scales) of log-odds multiplied by each factor."""
    return _ratios(sigmoid(POSITIONS[:, None] * np.exp(_LOGS)))


def _ratios(q: FloatArray) -> FloatArray:
    p, q = sigmoid(POSITIONS)[:, None], np.clip(q, 1e-9, 1 - 1e-9)
    return np.concatenate([np.log((1 - q) / (1 - p)), np.log(q / p)])


def _last(stream: Stream, rows: IntArray) -> int:
    """Number of the last wrong label among `rows`, which begin wrong: the likeliest end."""
    chunk, first = _chunks(len(rows))
    labels = in_cells(stream.z[rows], stream.right[rows], stream.weight[rows])
    counts = histogram(chunk, len(first), labels)
    evidence = (counts @ log_e_values(tolerant=False)).cumsum(axis=0)
    best = int(log_sum_exp(evidence + SHAPE_PRIOR, axis=1).argmax())
    return int(np.append(first[1:], len(rows))[best]) - 1
