"""Do images out of scope explain an error? Affected images that are in scope tell.

A scope check promises nothing about images that it does not flag: where those err as well, a
changed input is possible, not ruled out.
"""

import math
from typing import Final

from calibration.bins import FloatArray
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.diagnosis.facts import Cause, Deviation, Rival, RivalStatus
from calibration.diagnosis.figures import gap_of
from calibration.diagnosis.groups import ALL, members
from calibration.diagnosis.planner import labels_needed
from calibration.diagnosis.selection import affected as affected_by
from calibration.measures.reliability import wilson_interval

IN_SCOPE: Final = "in_scope"
_FEWEST = 20  # labels of images in scope that can speak for the model
_NEARLY_ALL = 0.8  # of the affected images


def changed_input(
    answers: Answers, deviation: Deviation, labeled: Answers, weight: FloatArray, rows: BoolArray
) -> Rival | None:
    """Judge whether doubtful images explain a deviation; None without a scope check.

    They may if there are more among the affected than among the rest. They do if the affected
    images in scope show less than half of the gap, or hardly any is in scope.

    Args:
        answers: labeled or not.
        deviation: what was found.
        labeled: the n labeled answers, with their `weight` (n,); `rows` (n,) are affected.
    """
    if answers.doubtful is None or labeled.doubtful is None:
        return None
    inside = affected_by(answers, deviation)
    flagged, others = answers.doubtful[inside], answers.doubtful[_rest(answers, deviation, inside)]
    shares = [float(each.mean()) if len(each) else 0.0 for each in (flagged, others)]
    least = wilson_interval(shares[0], len(flagged))[0] if len(flagged) else 0.0
    most = wilson_interval(shares[1], len(others))[1] if len(others) else 1.0
    if least <= most:
        return Rival(Cause.INPUT, RivalStatus.RULED_OUT, deviation.score, 0, "", None, *shares)
    status, needs = _status(deviation, labeled, weight, rows & ~labeled.doubtful, shares[0])
    left = 0.0 if status is RivalStatus.EXPLAINS_ALL else deviation.score
    return Rival(Cause.INPUT, status, left, needs, IN_SCOPE if needs else "", None, *shares)


def _rest(answers: Answers, deviation: Deviation, inside: BoolArray) -> BoolArray:
    """Who else was answered since the onset; of an error of all, those before it."""
    since = answers.served_s >= deviation.since.likeliest
    if deviation.group.key == ALL:
        return ~inside & ~since
    return since & ~members(deviation.group, answers)


def _status(
    deviation: Deviation, labeled: Answers, weight: FloatArray, kept: BoolArray, doubtful: float
) -> tuple[RivalStatus, int]:
    """What the labels of affected images in scope say, and how many more of them would tell."""
    gap, n = deviation.inside.gap.estimate, int(kept.sum())
    if n >= _FEWEST:
        found = gap_of(labeled.confidence[kept], labeled.correct[kept] == 1, weight[kept])
        least, most = sorted((math.copysign(1, gap) * each) for each in (found.lower, found.upper))
        if most < abs(gap) / 2:
            return RivalStatus.EXPLAINS_ALL, 0
        if least > 0:  # images in scope err as well
            return RivalStatus.POSSIBLE, 0
    if doubtful >= _NEARLY_ALL:
        return RivalStatus.EXPLAINS_ALL, 0
    some = labeled.confidence[kept] if n else labeled.confidence
    return RivalStatus.POSSIBLE, max(labels_needed(some, gap) - n, 1)
