"""Noise of the readers: labels that are wrong at random, though the model is right.

If a share e of two readers' labels is turned round, accuracy stops at 1 - e where confidence goes
to 1, and nothing changes where it is a half. A model that has become overconfident errs less and
less where it is more confident. The likelihoods of both tell them apart. Images on which the model
fails at random look the same as noise; a few second readings decide.
"""

import math
from typing import Final

import numpy as np

from calibration.bins import FloatArray
from calibration.diagnosis.answers import BoolArray
from calibration.diagnosis.correction import NOISE, fit_line, fit_noise, likelihood
from calibration.diagnosis.evidence import POSITIONS, bend, logit, sigmoid
from calibration.diagnosis.facts import Cause, Rival, RivalStatus, Shape
from calibration.diagnosis.groups import CONFIDENCE, PREDICTED
from calibration.diagnosis.outcome import Outcome
from calibration.diagnosis.scan import scan
from calibration.diagnosis.search import STRONG
from calibration.diagnosis.stream import Stream

SECOND_READING: Final = "second_reading"  # of wrong answers with confidence over 0.9
_MOST = 0.25  # share of wrong labels that readers are believed to give
_CLEAR = math.log(10)
_UNLIKE = 0.0
_CONFIDENT = 0.9
_SIZES: Final = {
    Shape.SHIFT: np.linspace(-4, 2, 61),
    Shape.SCALE: np.linspace(0.05, 2, 40),
    Shape.GAP: np.linspace(0, 0.4, 41),
}


def noise(outcome: Outcome, rows: BoolArray) -> Rival:
    """Judge whether wrong labels explain the first finding.

    Args:
        outcome: of the search, with a finding.
        rows: (n,) the labels that it affects.
    """
    stream, best = outcome.stream, outcome.found[0].best
    if best.key == CONFIDENCE:  # noise shows where confidence is high
        rows = (stream.block >= best.begin) & (stream.block < best.end)
    counts = _counts(stream, rows)
    share, _ = fit_noise(counts)
    for_noise, over_like = _advantages(counts, share)
    left = scan(_granted(stream, rows, share))[0].score
    readings = _readings(stream, rows, share)
    of_form = best.key == PREDICTED or best.within is not None
    if share > _MOST or not readings or for_noise < _UNLIKE or of_form or left > STRONG:
        return Rival(Cause.NOISE, RivalStatus.RULED_OUT, left)
    clear = for_noise > _CLEAR and over_like > -STRONG
    status = RivalStatus.EXPLAINS_ALL if clear else RivalStatus.POSSIBLE
    return Rival(Cause.NOISE, status, left, readings, SECOND_READING)


def _counts(stream: Stream, rows: BoolArray) -> FloatArray:
    return np.asarray(stream.counts(rows.astype(np.int64), 2)[1].sum(axis=0))


def _granted(stream: Stream, rows: BoolArray, share: float) -> Stream:
    """The stream if that share of the labels `rows` is wrong at random."""
    return stream.supposing(np.where(rows, logit(bend(stream.z, Shape.NOISE, share)), stream.z))


def _advantages(counts: FloatArray, share: float) -> tuple[float, float]:
    """Log likelihood ratios of noise to the best change of a calibrator, and to what is like it.

    Like noise are a flat gap, and noise from some confidence on alone.
    """
    wrong, right = np.split(counts, 2)
    n = max(float(counts.sum()), 1.0)
    of_noise = likelihood(bend(POSITIONS, Shape.NOISE, share), right, wrong)
    fits = {
        shape: max(likelihood(bend(POSITIONS, shape, size), right, wrong) for size in sizes)
        for shape, sizes in _SIZES.items()
    }
    like = max(fits.pop(Shape.GAP), _noise_above(right, wrong))
    line = fit_line(counts) - math.log(n) / 2  # one more parameter
    return of_noise - max(line, *fits.values()), of_noise - like


def _noise_above(right: FloatArray, wrong: FloatArray) -> float:
    """Log likelihood of the best noise that begins at some confidence."""
    q = np.stack([sigmoid(POSITIONS), *(bend(POSITIONS, Shape.NOISE, each) for each in NOISE)])
    below, *noisy = (right * np.log(q) + wrong * np.log1p(-q)).cumsum(axis=1)
    above = np.array(noisy)
    return float((below + above[:, -1:] - above).max())


def _readings(stream: Stream, rows: BoolArray, share: float) -> int:
    """Second readings of confident wrong answers that would show a wrong label, if there are any.

    Of these answers e / (e + 1 - p) have a wrong label under noise. Where none of so many has,
    noise is excluded with 95 %.
    """
    p = sigmoid(stream.z)
    confident = rows & (p > _CONFIDENT) & ~stream.right
    if not confident.any():
        return 0
    wrong = share / (share + float((1 - p[confident]).mean()))
    return max(1, math.ceil(math.log(0.05) / math.log1p(-min(wrong, 0.95))))
