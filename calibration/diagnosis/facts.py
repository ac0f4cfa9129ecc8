"""The facts of a diagnosis. Nothing here is a sentence: each item is a code with its numbers.

Gaps are mean confidence minus accuracy, in [-1, 1]; times are seconds since 1970; evidence is the
natural logarithm of an e-value times a prior weight, so that `log(20)` is strong against chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from calibration.measures.estimates import IntervalEstimate


@dataclass(frozen=True)
class Figures:
    """Labeled answers of one group.

    Attributes:
        n: labeled answers.
        confidence: mean, in [0, 1].
        accuracy, gap: share of right answers; confidence minus accuracy.
    """

    n: int
    confidence: float
    accuracy: IntervalEstimate
    gap: IntervalEstimate


@dataclass(frozen=True)
class AnswerGroup:
    """Answers with one of `values` of a key: all, predicted, confidence, drawn or tag:KEY.

    `within`: a second condition that narrows it. `values` are the caller's names; empty for `all`;
    '' are the answers without the tag.
    """

    key: str
    values: tuple[str, ...] = ()
    within: "AnswerGroup | None" = None


@dataclass(frozen=True)
class Since:
    """When the oldest affected answer was served.

    `likeliest`: it is as likely to have begun earlier as later. `always`: the probability that the
    error was there from the first label on. `latest` and `earliest` bound the change with 95 %;
    `earliest` is None if the first label is not excluded.
    """

    likeliest: float
    earliest: float | None
    latest: float
    always: float

    @property
    def date(self) -> float | None:
        """On which dates, figures and remedies rest; None: from the first label on."""
        return None if self.always >= 0.5 else self.likeliest


class Course(StrEnum):
    """How an error went on."""

    STEP = "step"
    GRADUAL = "gradual"


class Shape(StrEnum):
    """What describes the error best: confidence moved in odds, spread, flat, or noise of labels."""

    SHIFT = "shift"
    SCALE = "scale"
    GAP = "gap"
    NOISE = "noise"


@dataclass(frozen=True)
class Deviation:
    """A group whose confidence did not match its accuracy for a time.

    Attributes:
        group: who.
        score: log evidence, after the price of all groups that were looked at.
        since, until: the time; `until` is None while it goes on, otherwise it healed then.
        inside: figures of the group since the likeliest beginning; `rest`: all others since then.
        others: groups that these labels cannot tell from `group`.
        is_weak: whether this is a guess: `score` is below log 20, or another group is at most 20
            times less likely.
    """

    group: AnswerGroup
    score: float
    since: Since
    until: float | None
    course: Course
    inside: Figures
    rest: Figures | None
    others: tuple[AnswerGroup, ...] = ()
    is_weak: bool = False


def main_deviation(deviations: Sequence[Deviation]) -> Deviation | None:
    """The most evident error that goes on; of none, the most evident that ended."""
    ongoing = [each for each in deviations if each.until is None]
    return next(iter(ongoing or deviations), None)


class RivalStatus(StrEnum):
    """Whether another cause can explain what the labels show."""

    RULED_OUT = "ruled_out"
    POSSIBLE = "possible"
    EXPLAINS_PART = "explains_part"
    EXPLAINS_ALL = "explains_all"


class Cause(StrEnum):
    """Causes other than a change of the model's calibration."""

    SELECTION = "selection"  # labels were chosen by outcome
    PATIENTS = "patients"  # several images of a patient err together
    NOISE = "noise"  # labels err at random, as readers do
    CASE_MIX = "case_mix"  # other shares of the true classes
    CORRECTED = "corrected"  # first labels have been corrected
    PROXY = "proxy"  # labels of a source that is not the truth
    CODING = "coding"  # labels that are coded the other way round, or are of other answers
    FOLLOWED = "followed"  # labels that follow the model's answer, which their readers saw
    INPUT = "input"  # images that are out of scope


@dataclass(frozen=True)
class Rival:
    """A rival cause.

    `needs`: how many labels of the kind `needs_kind` would tell; 0 if none would. `group`: whose
    labels, where they are not those of the deviation: of `proxy`, the source or reader whose labels
    alone show the error. `doubtful`, `doubtful_elsewhere`: of `input`, the share of doubtful images
    among those affected, and among the rest.
    """

    cause: Cause
    status: RivalStatus
    needs: int = 0
    needs_kind: str = ""
    group: AnswerGroup | None = None
    doubtful: float | None = None
    doubtful_elsewhere: float | None = None


@dataclass(frozen=True)
class GroupEffect:
    """The gap before and after a remedy of those answers of a group that it changes.

    The `n` labels are not those that it was fitted on. `harms`: there are 50 or more, the gap grows
    by more than 0.01, and is significant after Bonferroni's correction.
    """

    group: AnswerGroup
    n: int
    before: float
    after: float
    harms: bool

    @property
    def is_worse(self) -> bool:
        """Whether the gap grows by more than two points, chance or not."""
        return abs(self.after) > abs(self.before) + 0.02


class RemedyKind(StrEnum):
    """What is fitted: for all answers, for the affected alone, or the shares of the classes."""

    ALL = "recalibrate_all"
    GROUP = "recalibrate_group"
    CASE_MIX = "case_mix"


@dataclass(frozen=True)
class TriedRemedy:
    """A remedy with its effect on each group that it changes, worst harm first; and on each that it
    changes in part and makes worse, since errors in it cancelled each other.

    `group`: whom it changes; `labels`: on how many it is fitted, of answers served since `since_s`,
    None: of all; `changes_labels`: it may change the predicted class.
    """

    kind: RemedyKind
    group: AnswerGroup
    effects: tuple[GroupEffect, ...] = ()
    labels: int = 0
    since_s: float | None = None
    changes_labels: bool = False

    @property
    def harms(self) -> bool:
        """Whether it makes a group worse beyond chance."""
        return any(each.harms for each in self.effects)


@dataclass(frozen=True)
class Open:
    """What is not known: `labels` more labels of `kind` would show a gap of `gap` in the group.

    Of the kind `in_one_group_alone` they tell whether this group, or the one that a deviation
    names, is wrong: labels of answers that are of one of the two alone.
    """

    group: AnswerGroup
    gap: float
    labels: int
    kind: str


@dataclass(frozen=True)
class OpenGroup:
    """A group in which an error could hide: what tells how many labels would show it.

    `confidence`: evenly many of the group's, for a mean; `mean`: of all of them; `worth`: how many
    independent labels the group has; `price`: nats to name the group; `kind` as of `Open`.
    """

    group: AnswerGroup
    confidence: tuple[float, ...]
    mean: float
    worth: float
    price: float
    kind: str


@dataclass(frozen=True)
class Inference:
    """What labels alone say; `monitoring` adds alarms, age, accuracy and actions.

    Attributes:
        labels: labeled answers.
        patient_correlation: correlation of errors within a patient, plus one standard error.
        worth: how many independent labels one is worth on average, in (0, 1]: images of a patient
            err together.
        deviations: the most evident first; empty if nothing was found.
        bounds: 95 % interval of the gap of all labeled answers: what "fine" rules out.
        questions: what `open` is computed from, for a gap that somebody asks for.
        can_try: whether remedies can be tried: answers have the probabilities of all classes.
    """

    labels: int
    patient_correlation: float
    worth: float
    bounds: IntervalEstimate
    deviations: tuple[Deviation, ...] = ()
    rivals: tuple[Rival, ...] = ()
    remedies: tuple[TriedRemedy, ...] = ()
    open: tuple[Open, ...] = field(default=())
    questions: tuple[OpenGroup, ...] = ()
    can_try: bool = False
