"""Do the labels accuse the model, or do labels err? Those of one source, and those of any reader.

Labels of other sources about like answers tell. Labels that were mined from reports, for example,
err where the model does not. If they were not declared a proxy, they look like an error of the
model, of one class or of one site.

Noise of the readers is labels that are wrong at random, though the model is right. If a share e of
two readers' labels is turned round, accuracy stops at 1 - e where confidence goes to 1, and nothing
changes where it is a half. A model that has become overconfident errs less and less where it is
more confident. The likelihoods of both tell them apart. Images on which the model fails at random
look the same as noise; a few second readings decide.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import BLOCKS, Answers, BoolArray, Tag
from calibration.diagnosis.correction import NOISE, fit_line, fit_noise, likelihood
from calibration.diagnosis.evidence import (
    POSITIONS,
    REACH,
    bend,
    logit,
    sigmoid,
)
from calibration.diagnosis.facts import (
    AnswerGroup,
    Cause,
    Deviation,
    Figures,
    Rival,
    RivalStatus,
    Shape,
)
from calibration.diagnosis.figures import figures_of
from calibration.diagnosis.groups import ALL, CONFIDENCE, PREDICTED, members
from calibration.diagnosis.outcome import Outcome
from calibration.diagnosis.scan import scan
from calibration.diagnosis.search import SPELL, STRONG
from calibration.diagnosis.stream import Stream
from calibration.measures.reliability import wilson_interval

SECOND_READING: Final = "second_reading"  # of answers that labels call wrong
OF_RIGHT: Final = "second_reading_of_right"
_MOST = 0.25  # share of wrong labels that readers are believed to give
_CLEAR = math.log(10)
_CONTRARY = math.log(5)  # log likelihood ratio of a second reading that contradicts
_CONFIDENT = 0.9
_TAKEN = np.linspace(0.02, 0.98, 49)  # shares of wrong answers that readers take over
_RARELY = math.log(100)  # readings cost little, and a remedy for such labels harms
_SIZES: Final = {
    Shape.SHIFT: np.linspace(-4, 2, 61),
    Shape.SCALE: np.linspace(0.05, 2, 40),
    Shape.GAP: np.linspace(0, 0.4, 41),
}


def noise(outcome: Outcome, rows: BoolArray, when: BoolArray) -> Rival:
    """Judge whether wrong labels explain the first finding; second readings decide.

    Args:
        outcome: of the search, with a finding.
        rows: (n,) the labels that it affects; `when`: (n,) all of that time.
    """
    stream, best = outcome.stream, outcome.found[0].best
    if best.key == CONFIDENCE:  # noise shows where confidence is high
        rows = when
    counts = stream.counts(rows.astype(np.int64), 2)[1].sum(axis=0)
    share, _ = fit_noise(counts)
    for_noise, over_like = _advantages(counts, share)
    left = scan(_granted(stream, rows | best.members(stream)))[0].score
    confident = rows & (sigmoid(stream.z) > _CONFIDENT) & (outcome.labeled.as_labeled == 0)
    of_form = best.key == PREDICTED or best.within is not None
    if share > _MOST or not confident.any() or for_noise < 0 or of_form or left > STRONG:
        return Rival(Cause.NOISE, RivalStatus.RULED_OUT)
    clear = for_noise > _CLEAR and over_like > -STRONG
    status = RivalStatus.EXPLAINS_ALL if clear else RivalStatus.POSSIBLE
    wrong = share / (share + float((1 - sigmoid(stream.z[confident])).mean()))
    everybody = AnswerGroup(ALL) if best.key == CONFIDENCE else None
    rival = Rival(Cause.NOISE, status, group=everybody)
    return _reread(rival, outcome.labeled, confident, wrong)


def _granted(stream: Stream, members: BoolArray) -> Stream:
    """The stream if labels of the members are wrong at random, in each spell as often as fits."""
    counts = stream.counts(members.astype(np.int64), 2)[1]
    spells = np.add.reduceat(counts, range(0, BLOCKS, SPELL), axis=0)
    share = np.array([fit_noise(each)[0] for each in spells])[stream.block // SPELL]
    noisy = logit(share + (1 - 2 * share) * sigmoid(stream.z))
    return stream.supposing(np.where(members, noisy, stream.z))


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


def _reread(rival: Rival, labeled: Answers, doubted: BoolArray, wrong: FloatArray | float) -> Rival:
    """What second readings of doubted labels say, or how many more would tell, the best first.

    Those that are wrong are a share `wrong` of the doubted if the rival is true, and a fifth of
    that if it is not: the likelihood ratio decides at 20 to 1.

    Args:
        rival: that labels are wrong.
        doubted: (n,) the labels in doubt, as they came first.
        wrong: (n,) or of each, in (0, 1).
    """
    second = np.full(len(labeled), -1) if labeled.second is None else labeled.second
    said = np.where(labeled.as_labeled != labeled.correct, 0, second)[doubted]
    share = np.minimum(np.broadcast_to(wrong, len(labeled))[doubted], 0.95)
    for_agreeing = np.log1p(-share / 5) - np.log1p(-share)
    evidence = (said == 0).sum() * _CONTRARY - for_agreeing[said == 1].sum()
    if abs(evidence) < STRONG and (said < 0).any():
        of_right = bool(labeled.as_labeled[doubted].all())
        order = np.argsort(labeled.confidence[doubted] * (1 if of_right else -1))
        left = for_agreeing[order][said[order] < 0].cumsum()
        needs = int(np.searchsorted(left, STRONG + evidence)) + 1
        kind = OF_RIGHT if of_right else SECOND_READING
        return replace(rival, needs=min(needs, len(left)), needs_kind=kind)
    status = RivalStatus.EXPLAINS_ALL if evidence > 0 else RivalStatus.RULED_OUT
    return replace(rival, status=status)


def followed(outcome: Outcome, deviation: Deviation, rows: BoolArray) -> Rival | None:
    """Judge whether labels follow the model, whose answers their readers saw: then more answers are
    right than confidence says. None if no more are, or if the claim is no class.

    If readers take over a share of the wrong answers, as many of them are left at each confidence;
    a model that is too modest errs less and less. Readers who have not seen its answers decide
    where the likelihoods do not. If the share rises with confidence, labels look like a modest
    model's: no label can show that.
    """
    labeled, p = outcome.labeled, sigmoid(outcome.stream.z)
    agreed = rows & (labeled.as_labeled == 1)
    if deviation.inside.gap.estimate >= 0 or labeled.of_one or not agreed.any():
        return None
    counts = outcome.stream.counts(rows.astype(np.int64), 2)[1].sum(axis=0)
    taken, advantage = _for_followers(counts, len(labeled.classes))
    if advantage < -_RARELY:
        return Rival(Cause.FOLLOWED, RivalStatus.RULED_OUT)
    wrong = taken * (1 - p) / (p + taken * (1 - p))
    return _reread(Rival(Cause.FOLLOWED, RivalStatus.POSSIBLE), labeled, agreed, wrong)


def _for_followers(counts: FloatArray, classes: int) -> tuple[float, float]:
    """The share of wrong answers that readers take over, and the log likelihood ratio to the best
    model that is too modest: by a bias, or by a temperature, which spreads logits about 1 / K.
    """
    (wrong, right), chance = np.split(counts, 2), -math.log(classes - 1)
    of_followers = [
        likelihood(1 - (1 - each) * sigmoid(-POSITIONS), right, wrong) for each in _TAKEN
    ]
    moved = [POSITIONS + each for each in np.linspace(0, 4, 41)]
    spread = [chance + (POSITIONS - chance) * each for each in np.linspace(1, 4, 61)]
    of_model = [
        likelihood(sigmoid(each.clip(-2 * REACH, 2 * REACH)), right, wrong)
        for each in (*moved, *spread)
    ]
    return float(_TAKEN[np.argmax(of_followers)]), max(of_followers) - max(of_model)


def coding(labeled: Answers, affected: BoolArray) -> Rival | None:
    """Judge whether labels are coded the other way round, or are of other answers; None if they do
    not look so.

    They are turned round if in two predicted classes and more no more answers are right than
    confidence says are wrong, and fewer than by chance. They may be of others if in each class as
    many are right as have this label whatever the answer was, and probabilities do not tell labels.
    """
    chance, judged = 1 / len(labeled.classes), []
    label = labeled.correct if labeled.label is None else labeled.label
    for code in np.unique(labeled.predicted[affected]):
        rows = affected & (labeled.predicted == code)
        if (n := int(rows.sum())) >= _FEWEST:
            lower, upper = wilson_interval(labeled.correct[rows].mean(), n)
            is_turned = lower <= 1 - labeled.confidence[rows].mean() and upper < chance
            judged.append((is_turned, lower <= (label[affected] == code).mean() <= upper))
    is_turned, is_unrelated = np.all(judged, axis=0) if len(judged) > 1 else (False, False)
    if not is_turned and (not is_unrelated or _is_told(labeled, affected)):
        return None
    status = RivalStatus.EXPLAINS_ALL if is_turned else RivalStatus.POSSIBLE
    doubted = affected & (labeled.as_labeled == 0)
    return _reread(Rival(Cause.CODING, status), labeled, doubted, labeled.confidence)


def _is_told(labeled: Answers, affected: BoolArray) -> bool:
    """Whether answers give their own labels more probability than labels of others, by more than
    twice the standard deviation of that over all orders of the labels.
    """
    if labeled.probabilities is None or labeled.label is None or (labeled.label < 0).any():
        return False
    p, label = labeled.probabilities[affected], labeled.label[affected]
    share = np.bincount(label, minlength=p.shape[1]) / len(label)
    beyond = p - (p @ share)[:, None]
    beyond -= beyond.mean(axis=0)
    spread = math.sqrt(len(label) * (beyond**2 @ share).mean())
    return bool(beyond[np.arange(len(label)), label].sum() > 2 * spread)


SOURCE: Final = "source"
READER: Final = "reader"
_FEWEST = 20  # labels of a source that can speak for the model
_WIDE = 4 / 3  # of the gap: an interval that is wider says nothing about it
_MOSTLY, _HARDLY = 0.8, 0.2  # of the labels inside and outside, where a source and a group coincide


@dataclass(frozen=True)
class _Source:
    """The labels of a source about the answers that a deviation names; gaps have its sign."""

    code: int
    figures: Figures
    gap: float
    most: float

    def speaks(self, gap: float) -> bool:
        """Whether its labels are enough to confirm or contradict that gap."""
        interval = self.figures.gap
        return self.figures.n >= _FEWEST and interval.upper - interval.lower <= _WIDE * gap


def label_sources(
    labeled: Answers, weight: FloatArray, deviation: Deviation, affected: BoolArray
) -> Rival | None:
    """Judge whether labels of one source, or of one reader, explain a deviation; None if all are
    of one.

    They may if labels of another source, about the same group and time, show less than half of the
    gap, and do if their interval says so. They may as well if nearly all labels of the group and
    time are of a source that labeled the group hardly ever before, or nobody else. Second readings
    of the labels that accuse the model decide.

    Args:
        labeled: n labeled answers.
        weight: (n,) what each label is worth.
        deviation: what was found.
        affected: (n,) the answers of its group and time.
    """
    rivals = [
        _of_key(key, tag, labeled, weight, deviation, affected)
        for key, tag in ((SOURCE, labeled.source), (READER, labeled.reader))
        if tag is not None and len(np.unique(tag.codes)) > 1
    ]
    doubts = [each for each in rivals if each.status is not RivalStatus.RULED_OUT]
    return next(iter(doubts or rivals), None)


def _of_key(
    key: str,
    tag: Tag,
    labeled: Answers,
    weight: FloatArray,
    deviation: Deviation,
    affected: BoolArray,
) -> Rival:
    gap = deviation.inside.gap.estimate
    found = _sources(labeled, tag.codes, weight, affected, math.copysign(1, gap))
    accuser = max(found, key=lambda each: each.figures.n * each.gap)
    others = [each for each in found if each is not accuser and each.speaks(abs(gap))]
    denying = [each for each in others if each.gap < abs(gap) / 2]
    outside = members(deviation.group, labeled) & ~affected
    if int(outside.sum()) < _FEWEST:
        outside = ~affected
    own = tag.codes == accuser.code
    if not denying and (others or not _coincide(own, affected, outside)):
        return Rival(Cause.PROXY, RivalStatus.RULED_OUT)
    is_clear = any(each.most < abs(gap) / 2 for each in denying)
    status = RivalStatus.EXPLAINS_ALL if is_clear else RivalStatus.POSSIBLE
    name = tag.names[accuser.code] if accuser.code >= 0 else ""
    rival = Rival(Cause.PROXY, status, group=AnswerGroup(key, (name,)))
    accusing = affected & own & (labeled.as_labeled == int(gap < 0))
    share = float(accusing.sum() / (affected & own).sum())
    return _reread(rival, labeled, accusing, abs(gap) / max(share, abs(gap)))


def _sources(
    labeled: Answers, codes: IntArray, weight: FloatArray, affected: BoolArray, side: float
) -> list[_Source]:
    found = []
    for code in np.unique(codes[affected]).tolist():
        rows = affected & (codes == code)
        right = labeled.correct[rows] == 1
        figures = figures_of(labeled.confidence[rows], right, weight[rows])
        most = max(side * figures.gap.lower, side * figures.gap.upper)
        found.append(_Source(code, figures, side * figures.gap.estimate, most))
    return found


def _coincide(own: BoolArray, affected: BoolArray, outside: BoolArray) -> bool:
    if int(outside.sum()) < _FEWEST:
        return False
    return bool(own[affected].mean() >= _MOSTLY and own[outside].mean() <= _HARDLY)
