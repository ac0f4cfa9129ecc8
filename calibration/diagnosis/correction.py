"""What confidence should have been inside a group: the correction that conditions on an error."""

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import BLOCKS
from calibration.diagnosis.evidence import POSITIONS, REACH, bend, logit, sigmoid
from calibration.diagnosis.facts import Shape
from calibration.diagnosis.scan import Hypothesis
from calibration.diagnosis.stream import Stream

_RIDGE = np.diag([0.05, 4.0, 0.5])  # toward no error
_START = np.array([0.0, 1.0, 0.0])
_STEPS = 15
NOISE = np.linspace(0.002, 0.35, 60)  # shares of wrong labels that are tried


def corrected(stream: Stream, found: list[Hypothesis]) -> Stream:
    """The stream as if the confidences of these groups, in their windows, had been put right."""
    for each in found:
        rows = np.flatnonzero(each.rows(stream))
        if len(rows):
            z = stream.z.copy()
            z[rows] = _right_logits(stream, rows)
            stream = stream.supposing(z)
    return stream


def _right_logits(stream: Stream, rows: IntArray) -> FloatArray:
    """Logits of P(right) by the better of two curves: a + b z + c u, u the time; or noise."""
    member = np.zeros(len(stream.z), dtype=np.int64)
    member[rows] = 1
    counts = stream.counts(member, 2)[1]  # (BLOCKS, CELLS)
    line, ll_line = _fit_curve(counts)
    noise, ll_noise = fit_noise(counts.sum(axis=0))
    z, time = stream.z[rows], stream.block[rows] / BLOCKS - _mean_time(counts)
    if ll_noise > ll_line:
        return logit(bend(z, Shape.NOISE, noise))
    return np.asarray(np.clip(line[0] + line[1] * z + line[2] * time, -REACH, REACH))


def _mean_time(counts: FloatArray) -> float:
    weight = counts.sum(axis=1)
    return float(weight @ (np.arange(BLOCKS) / BLOCKS) / max(weight.sum(), 1e-9))


def _fit_curve(counts: FloatArray) -> tuple[FloatArray, float]:
    """Parameters (3,) of a + b z + c u for `counts` (BLOCKS, CELLS), and the log likelihood."""
    wrong, right = np.split(counts, 2, axis=1)
    time = np.repeat(np.arange(BLOCKS) / BLOCKS - _mean_time(counts), len(POSITIONS))
    x = np.stack([np.ones(time.size), np.tile(POSITIONS, BLOCKS), time], axis=1)
    return _fit(x, right.ravel(), wrong.ravel(), _RIDGE)


def fit_line(counts: FloatArray) -> float:
    """Log likelihood of the best line a + b z for `counts` (CELLS,)."""
    wrong, right = np.split(counts, 2)
    x = np.stack([np.ones(len(POSITIONS)), POSITIONS, np.zeros(len(POSITIONS))], axis=1)
    return _fit(x, right, wrong, np.diag([1e-6, 1e-6, 1.0]))[1]


def _fit(
    x: FloatArray, r: FloatArray, wrong: FloatArray, ridge: FloatArray
) -> tuple[FloatArray, float]:
    """Penalized maximum likelihood with Newton's steps, from no error on."""
    used = r + wrong > 0
    x, r, w = x[used], r[used], (r + wrong)[used]
    theta = _START.copy()
    for _ in range(_STEPS):
        q = sigmoid(x @ theta)
        curvature = (x * (w * q * (1 - q))[:, None]).T @ x + ridge
        slope = x.T @ (r - w * q) - ridge @ (theta - _START)
        step = np.clip(np.linalg.solve(curvature, slope), -1, 1)
        theta = theta + step
        if np.abs(step).max() < 1e-4:
            break
    return theta, likelihood(np.clip(sigmoid(x @ theta), 1e-9, 1 - 1e-9), r, w - r)


def fit_noise(counts: FloatArray) -> tuple[float, float]:
    """The share of labels turned round that explains `counts` (CELLS,) best, and the likelihood."""
    wrong, right = np.split(counts, 2)
    fits = [likelihood(bend(POSITIONS, Shape.NOISE, each), right, wrong) for each in NOISE]
    best = int(np.argmax(fits))
    return float(NOISE[best]), fits[best]


def likelihood(q: FloatArray, right: FloatArray, wrong: FloatArray) -> float:
    return float(right @ np.log(q) + wrong @ np.log1p(-q))
