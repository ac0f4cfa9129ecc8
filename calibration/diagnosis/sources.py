"""Do the labels of one source alone accuse the model? Labels of others about like answers tell.

Labels that were mined from reports, for example, err where the model does not. If they were not
declared a proxy, they look like an error of the model, of one class or of one site.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.diagnosis.facts import AnswerGroup, Cause, Deviation, Figures, Rival, RivalStatus
from calibration.diagnosis.figures import figures_of
from calibration.diagnosis.groups import members
from calibration.diagnosis.noise import SECOND_READING

SOURCE: Final = "source"
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
    """Judge whether labels of one source explain a deviation; None if all are of one source.

    They may if labels of another source, about the same group and time, show less than half of the
    gap, and do if their interval says so. They may as well if nearly all labels of the group and
    time are of a source that labeled the group hardly ever before, or nobody else.

    Args:
        labeled: n labeled answers.
        weight: (n,) what each label is worth.
        deviation: what was found.
        affected: (n,) the answers of its group and time.
    """
    tag, gap = labeled.source, deviation.inside.gap.estimate
    if tag is None or len(np.unique(tag.codes)) < 2:
        return None
    found = _sources(labeled, tag.codes, weight, affected, math.copysign(1, gap))
    accuser = max(found, key=lambda each: each.figures.n * each.gap)
    others = [each for each in found if each is not accuser and each.speaks(abs(gap))]
    denying = [each for each in others if each.gap < abs(gap) / 2]
    outside = members(deviation.group, labeled) & ~affected
    if int(outside.sum()) < _FEWEST:
        outside = ~affected
    own = tag.codes == accuser.code
    if not denying and (others or not _coincide(own, affected, outside)):
        return Rival(Cause.PROXY, RivalStatus.RULED_OUT, deviation.score)
    is_clear = any(each.most < abs(gap) / 2 for each in denying)
    status = RivalStatus.EXPLAINS_ALL if is_clear else RivalStatus.POSSIBLE
    name = tag.names[accuser.code] if accuser.code >= 0 else ""
    group = AnswerGroup(SOURCE, (name,))
    return Rival(Cause.PROXY, status, 0.0, _readings(accuser, gap), SECOND_READING, group)


def _sources(
    labeled: Answers, codes: IntArray, weight: FloatArray, affected: BoolArray, side: float
) -> list[_Source]:
    found = []
    for code in np.unique(codes[affected]).tolist():
        rows = affected & (codes == code)
        right = labeled.correct[rows] == 1
        figures = figures_of(labeled.confidence[rows], right, weight[rows])
        if figures is not None:
            gap = figures.gap
            most = max(side * gap.lower, side * gap.upper)
            found.append(_Source(code, figures, side * gap.estimate, most))
    return found


def _coincide(own: BoolArray, affected: BoolArray, outside: BoolArray) -> bool:
    if int(outside.sum()) < _FEWEST:
        return False
    return bool(own[affected].mean() >= _MOSTLY and own[outside].mean() <= _HARDLY)


def _readings(accuser: _Source, gap: float) -> int:
    """Second readings of its accusing labels of which, with 95 %, one differs if they are wrong."""
    right = accuser.figures.accuracy.estimate
    different = abs(gap) / max(1 - right if gap > 0 else right, abs(gap))
    return max(1, math.ceil(math.log(0.05) / math.log1p(-min(different, 0.95))))
