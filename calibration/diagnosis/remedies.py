"""What a remedy would do to whom: gaps before and after, on labels that it was not fitted on.

Each fifth of the patients is judged by a remedy that was fitted on the others; where the newest
labels err otherwise than the older, as of an error that grows or rolls out, they alone are judged,
by a remedy that was fitted on the older. It harms a group of 50 labels or more whose gap it makes
larger by more than a point, if that gap is significant after Bonferroni's correction for all groups
that are looked at. A temperature is tried first, as a recalibration does that may not change the
predicted class; then one with a bias for each class.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.calibrators.affine import Affine
from calibration.calibrators.remedies import (
    MIN_PER_CLASS,
    TEMPERATURE,
    TEMPERATURE_BIAS,
    Remedy,
    simplest,
    undetermined,
)
from calibration.calibrators.subgroups import SMALLEST
from calibration.cross_fitting import FOLDS, cross_fit, fold_numbers, newest_if_changed
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.diagnosis.case_mix import Mix
from calibration.diagnosis.facts import AnswerGroup, GroupEffect, RemedyKind, TriedRemedy
from calibration.diagnosis.groups import (
    ALL,
    CONFIDENCE,
    DRAWN,
    PREDICTED,
    UNKNOWN,
    Key,
    keys_of,
    members,
)
from calibration.diagnosis.outcome import patient_codes
from calibration.findings.calibrator import FEWEST_POSITIVES
from calibration.measures.metrics import last_decimal, log_loss

_MOST_ROWS, _CELLS = 6_000, 200_000
FEWEST_ROWS: Final = 100  # as a recalibration needs, unless somebody lowers it
FEWEST_NAMED: Final = 50  # of a group that is named as worse; fewer labels bar no remedy of others
_FEWEST_OF_GROUP, _MANY_CLASSES = 20, 30
_WORSE = 0.01


@dataclass(frozen=True)
class Treated:
    """Whom a remedy changes, the labels (n,) that it is fitted on, since when (None: all), and the
    groups that erred.
    """

    group: AnswerGroup
    rows: BoolArray
    since_s: float | None
    wrong: tuple[AnswerGroup, ...]


def remedies_of(
    labeled: Answers, weight: FloatArray, treated: Sequence[Treated], mix: Mix | None = None
) -> tuple[TriedRemedy, ...]:
    """Return what recalibrating all answers would do, and each group alone.

    Args:
        labeled: n labeled answers with probabilities.
        weight: (n,) what each label is worth.
        treated: all answers, then each group that is wrong.
        mix: the changed case mix; None if that has not changed.
    """
    if labeled.probabilities is None or labeled.label is None or (labeled.label < 0).any():
        return ()
    found = [_remedy(labeled, weight, each) for each in treated]
    if mix is not None and mix.rows.sum() >= FEWEST_ROWS:
        mixed = np.flatnonzero(mix.rows)
        served = labeled.rows(mixed)
        effects = effects_of(
            served, weight[mixed], mix.confidence[mixed], served.predicted, mix.group
        )
        since_s = float(labeled.served_s[mixed[0]]) if mixed[0] else None
        kind, changes_labels = RemedyKind.CASE_MIX, not labeled.of_one
        found.append(TriedRemedy(kind, mix.group, effects, len(mixed), since_s, changes_labels))
    return tuple(each for each in found if each)


def _remedy(labeled: Answers, weight: FloatArray, treated: Treated) -> TriedRemedy | None:
    """The remedy and its effects on those it changes; None with too few labels.

    It has a bias for each class only if that helps, a temperature alone does not, and a
    recalibration would take it.
    """
    changed = labeled.rows(np.flatnonzero(treated.rows))
    if not _is_enough(changed):
        return None
    forms = _forms(changed)
    if not forms:
        return None
    first = _tried(labeled, weight, treated, forms[0])
    for form in forms[1:] if _is_by_class(first) else ():
        other = _tried(labeled, weight, treated, form)
        is_taken = _is_taken(form, changed, weight[treated.rows])
        if not other.harms and _of_classes(other)[1] < _of_classes(first)[1] and is_taken:
            return other
    return first


def _is_taken(form: Remedy, answers: Answers, weight: FloatArray) -> bool:
    """Whether a recalibration would take this form, and not a temperature."""
    y, folds = _labels(answers), _folds(answers)
    losses = {
        each.name: log_loss(_unseen(answers, weight, each, folds), y)
        for each in (TEMPERATURE, form)
    }
    share = weight / weight.sum()
    return simplest(losses, share, patient_codes(answers), len(answers.classes)) == form.name


def _is_enough(answers: Answers) -> bool:
    """Whether a recalibration takes these labels."""
    if len(answers) < FEWEST_ROWS or int(patient_codes(answers).max()) + 1 < 2 * FOLDS:
        return False
    counts = np.bincount(_labels(answers), minlength=2).tolist()
    return sum(map(bool, counts)) > 1 and min(counts) >= FEWEST_POSITIVES * answers.of_one


def _forms(answers: Answers) -> list[Remedy]:
    """What labels determine, the simplest first."""
    y, folds, classes = _labels(answers), _folds(answers), len(answers.classes)
    parts = (y[folds != each] for each in range(FOLDS))
    fewest = min(np.bincount(part, minlength=classes).min() for part in parts)
    forms = [TEMPERATURE_BIAS] if answers.of_one else [TEMPERATURE, TEMPERATURE_BIAS]
    if classes > _MANY_CLASSES or fewest < MIN_PER_CLASS:
        forms = [TEMPERATURE]
    rows, z = _newest(np.arange(len(y)), classes), _log_probabilities(answers)
    return [each for each in forms if not undetermined(each.fit(z[rows], y[rows]))]


def _tried(labeled: Answers, weight: FloatArray, treated: Treated, form: Remedy) -> TriedRemedy:
    group, chosen = treated.group, np.flatnonzero(treated.rows)
    answers, worth = labeled.rows(chosen), weight[chosen]
    found, everywhere = try_remedy(answers, worth, form, group, treated.wrong)
    beyond = _beyond(labeled, weight, chosen, *everywhere, found)
    kind = RemedyKind.ALL if group.key == ALL else RemedyKind.GROUP
    changes_labels = not form.keeps_argmax and not answers.of_one
    effects = worst_first([*found.values(), *beyond])
    return TriedRemedy(kind, group, effects, len(answers), treated.since_s, changes_labels)


def try_remedy(
    answers: Answers,
    weight: FloatArray,
    form: Remedy,
    group: AnswerGroup,
    wrong: tuple[AnswerGroup, ...] = (),
) -> tuple[dict[AnswerGroup, GroupEffect], tuple[FloatArray, IntArray]]:
    """Return what a remedy of this form would do to whom; and the confidence of all (n,) after it,
    by cross-fitting, with the class (n,) that it is of.

    Args:
        answers: n labeled answers, oldest first, all of the `group` that the remedy changes.
        weight: (n,) what each label is worth.
        wrong: groups that erred.
    """
    newest = newest_if_changed(answers.confidence - answers.correct, weight)
    judged = [(_folds(answers), np.arange(len(answers)))]
    if newest.any():
        judged.append((np.where(newest, 0, 1), np.flatnonzero(newest)))
    trials = [_trial(answers, weight, form, folds) for folds, _ in judged]
    found = dict[AnswerGroup, GroupEffect]()
    for (after, said), (_, rows) in zip(trials, judged, strict=True):
        tried = answers.rows(rows), weight[rows], after[rows], said[rows]
        for each in effects_of(*tried, group, wrong):
            who = _inside(each.group, group)
            if each.harms or who not in found or not found[who].harms:
                found[who] = replace(each, group=who)
    return found, trials[0]


def _inside(who: AnswerGroup, treated: AnswerGroup) -> AnswerGroup:
    is_part = treated.key in (ALL, who.key) or who.within
    return who if is_part else replace(who, within=treated)


def _beyond(
    labeled: Answers,
    weight: FloatArray,
    chosen: IntArray,
    after: FloatArray,
    said: IntArray,
    known: Collection[AnswerGroup],
) -> Iterator[GroupEffect]:
    """Effects on groups that a remedy of the `chosen` changes in part, and makes worse: errors that
    cancelled each other did no less harm, so these bar nothing.
    """
    later, claimed = labeled.confidence.copy(), labeled.predicted.copy()
    later[chosen], claimed[chosen] = after, said
    since = np.arange(chosen[0], len(labeled))
    served = labeled.rows(since)
    for each in effects_of(served, weight[since], later[since], claimed[since], AnswerGroup(ALL)):
        if each.is_worse and each.group not in known:
            yield replace(each, harms=False)


def worst_first(effects: Iterable[GroupEffect]) -> tuple[GroupEffect, ...]:
    return tuple(sorted(effects, key=lambda each: abs(each.before) - abs(each.after)))


def _is_by_class(remedy: TriedRemedy) -> bool:
    """Whether a predicted class stays more than half as wrong as the worst was, beyond chance: two
    standard errors of a share of one half.
    """
    half = _of_classes(remedy)[0] / 2
    return any(abs(each.after) > max(half, 1 / math.sqrt(each.n)) for each in _classes(remedy))


def _of_classes(remedy: TriedRemedy) -> tuple[float, float]:
    """The largest gap of a predicted class before and after."""
    gaps = [(abs(each.before), abs(each.after)) for each in _classes(remedy)] or [(0.0, 0.0)]
    before, after = map(max, zip(*gaps, strict=True))
    return before, after


def _classes(remedy: TriedRemedy) -> list[GroupEffect]:
    """The effects on predicted classes of those whom it changes."""
    within = None if remedy.group.key == ALL else remedy.group
    found = [each for each in remedy.effects if each.group.key == PREDICTED]
    return [each for each in found if each.group.within == within]


def _trial(
    answers: Answers, weight: FloatArray, form: Remedy, folds: IntArray
) -> tuple[FloatArray, IntArray]:
    """Confidence (n,) and its class (n,), by calibrators fitted on other folds."""
    p = _unseen(answers, weight, form, folds)
    said = answers.predicted if answers.of_one else p.argmax(axis=1)
    return p[np.arange(len(p)), said], said


def _unseen(answers: Answers, weight: FloatArray, form: Remedy, folds: IntArray) -> FloatArray:
    """Probabilities (n, K) by calibrators fitted on other folds."""
    z, y = _log_probabilities(answers), _labels(answers)

    def fit(used: BoolArray) -> Affine:
        rows = _newest(np.flatnonzero(used), z.shape[1])
        return form.fit(z[rows], y[rows], weights=weight[rows])

    return cross_fit(fit, z, folds)


def _folds(answers: Answers) -> IntArray:
    return fold_numbers(_labels(answers), patient_codes(answers), seed=0)


def _newest(rows: IntArray, classes: int) -> IntArray:
    return rows[-min(_MOST_ROWS, max(_CELLS // classes, 200)) :]


def _log_probabilities(answers: Answers) -> FloatArray:
    if answers.probabilities is None:
        raise ValueError("a remedy needs probabilities")
    least = max(last_decimal(answers.probabilities) / 4, SMALLEST)
    return np.log(np.maximum(answers.probabilities, least))


def _labels(answers: Answers) -> IntArray:
    if answers.label is None:
        raise ValueError("a remedy needs labels")
    return answers.label


def effects_of(
    answers: Answers,
    weight: FloatArray,
    after: FloatArray,
    said: IntArray,
    group: AnswerGroup,
    wrong: tuple[AnswerGroup, ...] = (),
) -> tuple[GroupEffect, ...]:
    """Effects on a group and on each value of each tag and class in it, worst harm first.

    A class has other answers after a remedy that changes some: its gap is then that of these.

    Args:
        answers: n labeled answers of the group.
        weight: (n,) what each label is worth.
        after, said: (n,) confidence after the remedy, and the class that it is of.
        group: whom the remedy changes.
        wrong: groups that erred, which are looked at, as are the other values of their keys.
    """
    keys = [key for key in keys_of(answers).values() if key.name not in (CONFIDENCE, DRAWN)]
    groups = {**dict(_values(keys)), **dict(_right_ones(keys, wrong))}
    groups |= {each: members(each, answers) for each in (*wrong, group)}
    later = replace(answers, predicted=said)
    moved = {each: members(each, later) for each in groups if _is_of_class(each)}
    gap = _sums(weight, answers.confidence - answers.correct, np.zeros_like(after))
    left = _sums(weight, after - (said == _labels(answers)), after * (1 - after))
    sums = {
        each: (gap[rows].sum(axis=0).tolist(), left[moved.get(each, rows)].sum(axis=0).tolist())
        for each, rows in groups.items()
    }
    judged = {
        each: pair
        for each, pair in sums.items()
        if pair[1][1] and max(pair[0][1], pair[1][1]) >= _FEWEST_OF_GROUP
    }
    looks = len(judged)
    return worst_first(_effect(each, *pair, looks=looks) for each, pair in judged.items())


def _is_of_class(group: AnswerGroup | None) -> bool:
    return group is not None and (group.key == PREDICTED or _is_of_class(group.within))


def _sums(weight: FloatArray, gap: FloatArray, variance: FloatArray) -> FloatArray:
    """Columns (n, 4) whose sums over a group give its gap and the error of that."""
    return np.stack([np.ones_like(weight), weight, weight * gap, weight * variance], axis=1)


def _values(keys: list[Key]) -> Iterator[tuple[AnswerGroup, BoolArray]]:
    for key in keys:
        for value in range(len(key.names)):
            yield key.group([value]), key.members([value])


def _right_ones(
    keys: list[Key], wrong: tuple[AnswerGroup, ...]
) -> Iterator[tuple[AnswerGroup, BoolArray]]:
    """The values of a key together that did not err."""
    for key in keys:
        erred = {name for group in wrong if group.key == key.name for name in group.values}
        right = [value for value, name in enumerate(key.names) if name not in {UNKNOWN, *erred}]
        if erred and right:
            yield key.group(right), key.members(right)


def _effect(group: AnswerGroup, gap: list[float], left: list[float], *, looks: int) -> GroupEffect:
    """From the sums over a group's answers before a remedy, and after it: whether it harms, with
    `looks` groups looked at in all.
    """
    n, worth, total, variance = left
    before, after = gap[2] / gap[1] if gap[1] else 0.0, total / worth
    critical = NormalDist().inv_cdf(1 - 0.05 / (2 * looks)) * math.sqrt(variance) / worth
    harms = n >= FEWEST_NAMED and abs(after) > max(abs(before) + _WORSE, critical)
    return GroupEffect(group, int(n), before, after, harms)
