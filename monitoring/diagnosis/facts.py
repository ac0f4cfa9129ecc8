"""The facts of a diagnosis, each a code with its numbers; `words.py` turns them into sentences.

Times are seconds since 1970 UTC, gaps are mean confidence minus accuracy, shares are in [0, 1].
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from calibration.diagnosis.facts import (
    AnswerGroup,
    Deviation,
    GroupEffect,
    Open,
    Rival,
    TriedRemedy,
)
from calibration.diagnosis.search import STRONG
from calibration.measures.estimates import IntervalEstimate
from calibration.operating.facts import OperatingPoints
from monitoring.feedback.discordance import OtherLabels


class State(StrEnum):
    """The state in one word; only `alarm` justifies waking somebody."""

    FINE = "fine"  # labels rule a notable error out, within `bounds`
    LOOK = "look"  # labels show an error, or a rate lower than promised, without an alarm
    ALARM = "alarm"  # the watch has raised its alarm, and current labels bear it out
    HEALED = "healed"  # the alarm is active, current labels no longer bear it out
    STALE = "stale"  # too long without answers or labels, by the version's own rhythm
    UNKNOWN = "unknown"  # too few labels, or not of all answers: `open` says what would tell


class StateReason(StrEnum):
    """Why the state is not `fine`, the most important first."""

    ALARM_ACTIVE = "alarm_active"
    DEVIATION = "deviation"  # labels show an error that goes on
    OPERATING_POINT = "operating_point"  # a rate is lower than the card promises
    EXPLAINED = "explained"  # another cause explains all that labels show
    HEALED = "healed"  # an error ended
    CORRECTED = "corrected"  # the labels that raised the alarm have been corrected
    NOT_BORNE_OUT = "not_borne_out"  # current labels show no error that raised the alarm
    WATCH_ALONE = "watch_alone"  # its evidence is recent, and shows neither group nor beginning
    NO_ANSWERS = "no_answers"  # none for a long time
    LABELS_OLD = "labels_old"  # none for a long time, while answers come
    NO_LABELS = "no_labels"
    FEW_LABELS = "few_labels"
    UNLABELED_PART = "unlabeled_part"  # a class, tag value or range has answers, but no labels
    SELECTION = "selection"  # answers without a label could hide an error
    AUDIT_INCOMPLETE = "audit_incomplete"  # drawn answers without a label could hide an error
    PROXY_ONLY = "proxy_only"  # labels of sources that are not the truth
    TRAINED_ON = "trained_on"  # images are from its own training, which no label changes
    INPUT_CHANGED = "input_changed"  # answers changed, and labels do not cover the time since


class Certainty(StrEnum):
    """How sure a diagnosis is: by what factor the next explanation is less likely."""

    STRONG = "strong"  # over 1,000
    MODERATE = "moderate"  # over 20
    WEAK = "weak"  # somebody else may be affected
    NONE = "none"  # nothing is claimed, or another cause is as likely


@dataclass(frozen=True)
class Clock:
    """Answers whose labels come so many seconds later than those of all others, even the first."""

    group: AnswerGroup
    behind_s: float


@dataclass(frozen=True)
class Basis:
    """On which labels a diagnosis rests.

    Attributes:
        served, labels: answers of this version, and those with a label.
        read: labels that were read one by one: `bounds`, deviations and causes rest on these.
        audited: labels of answers drawn at random; `audit_missing`: share of drawn answers without
            a label, of those long enough ago; NaN without a draw.
        coverage: share with a label of the answers long enough ago.
        first_served_s, last_served_s: the oldest and the newest answer; NaN without one.
        labels_until_s: the newest answer with a label was served then; the diagnosis speaks until
            that time. NaN without labels.
        last_label_s: the newest label arrived then.
        patient_correlation: correlation of errors within a patient, plus one standard error.
        clock: whose labels come a week or more later, or earlier (negative), than all others'.
    """

    served: int
    labels: int
    read: int
    audited: int
    audit_missing: float
    coverage: float
    first_served_s: float
    last_served_s: float
    labels_until_s: float
    last_label_s: float
    patient_correlation: float = 0.0
    clock: Clock | None = None


@dataclass(frozen=True)
class Alarm:
    """An active alarm of the watch.

    Attributes:
        tag: whose, such as `site=B`; None: of all answers.
        direction: `over`: confidence too high; `under`.
        raised_s: when; NaN if its event is gone.
        feedback_id: names it when it is acknowledged.
        labels: that the watch has seen since its last reset.
        log_evalue, log_threshold: the evidence now, and where an alarm is raised.
    """

    tag: str | None
    direction: str
    raised_s: float
    feedback_id: int | None
    labels: int
    log_evalue: float
    log_threshold: float

    @property
    def is_recent(self) -> bool:
        """Whether the evidence is still within a factor of 20 of the alarm."""
        return self.log_evalue > self.log_threshold - STRONG


@dataclass(frozen=True)
class Unchecked:
    """Answers of one kind of which too few have a label; `share`: of all answers served."""

    group: AnswerGroup
    share: float
    served: int
    labels: int


class AccuracyAnswer(StrEnum):
    """Whether accuracy is that of the card's reference."""

    LOWER = "lower"
    AS_IT_WAS = "as_it_was"
    HIGHER = "higher"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Accuracy:
    """Accuracy against the card's reference, at every look at once.

    difference = from_cases + from_error: harder or easier cases change confidence, and accuracy
    with it; an error changes accuracy alone.

    Attributes:
        n, live: labels and accuracy, of answers served since `since_s` (None: all); of an audit
            alone if `audit`.
        reference_n, reference: of the card.
        difference: live minus reference; its interval holds at every look.
        from_cases, from_error: its parts, with 95 % intervals.
        odds_limit: factor on the odds of being right within which accuracy is "as it was".
        is_chosen: whether labels may have been chosen by outcome.
    """

    answer: AccuracyAnswer
    n: int
    live: float
    since_s: float | None
    reference_n: int
    reference: float
    difference: IntervalEstimate
    from_cases: IntervalEstimate
    from_error: IntervalEstimate
    odds_limit: float
    audit: bool
    is_chosen: bool


@dataclass(frozen=True)
class EarlySign:
    """A change that shows without labels: its value, and the limit above which it is `raised`.

    `name`: answer_distribution, doubtful_images, training_images, image_brightness or
    image_contrast. NaN: too little to compare. `since_s`: when it was noticed.
    """

    name: str
    value: float
    limit: float
    raised: bool
    since_s: float | None = None


class ActionCode(StrEnum):
    """What can be done."""

    ACKNOWLEDGE = "acknowledge"
    RECALIBRATE = "recalibrate"  # all answers
    RECALIBRATE_GROUP = "recalibrate_group"  # the affected alone
    ADJUST_CASE_MIX = "adjust_case_mix"  # recalibrate with a bias for each class
    FIND_CAUSE = "find_cause"  # what changed there, at that time
    AUDIT = "audit"  # have new answers drawn at random, and label these
    COMPLETE_AUDIT = "complete_audit"  # label the drawn answers that have no label
    LABEL = "label"  # label answers of the target
    SECOND_READINGS = "second_readings"  # have labels confirmed by another reader
    CORRECT_LABELS = "correct_labels"  # that second readings have contradicted
    SEND_PATIENTS = "send_patients"  # send the patient with each answer
    PROMOTE = "promote"  # the version that a recalibration since the alarm has published
    CHECK_CALLERS = "check_callers"  # why no image is sent any more
    ROLL_BACK = "roll_back"  # promote the version that was in production before


RECALIBRATIONS: Final = (
    ActionCode.RECALIBRATE,
    ActionCode.RECALIBRATE_GROUP,
    ActionCode.ADJUST_CASE_MIX,
)


class Hindrance(StrEnum):
    """Why an action is not available."""

    HARMS_OTHERS = "harms_others"  # it makes a group worse
    NO_GAIN = "no_gain"  # it would not make the affected better
    FEW_LABELS = "few_labels"  # those of the affected do not suffice to fit and check it
    UNTRIED = "untried"  # nothing shows what it would do: answers lack probabilities
    TRAINED_ON = "trained_on"  # images are from the model's own training, where it looks better
    FIRST = "first"  # the first action must come first


@dataclass(frozen=True)
class Action:
    """One thing to do.

    Attributes:
        available: whether it can be done now; `hindrance`: why not.
        version: the version that it changes, or to which it leads.
        group: whom it is for; None: all answers.
        labels: how many of `kind` it takes; 0 if none. `unlabeled`: the answers that have none yet,
            where that is known.
        since_s: to use labels of answers served since then; None: all.
        alarm: the feedback id of the alarm to acknowledge; `tag`: whose it is, None: all answers.
        elsewhere: to be done where the model is served, which is not here.
        audited_only: to let the watch use audited answers only from then on.
        changes_labels: whether it may change the predicted class, which has to be allowed.
        worst: of a remedy, the groups that it makes worse by two points, of 50 labels or more; if
            there is none, the group that it leaves with the largest gap.
    """

    code: ActionCode
    available: bool = True
    hindrance: Hindrance | None = None
    version: int | None = None
    group: AnswerGroup | None = None
    labels: int = 0
    unlabeled: int | None = None
    kind: str = ""
    since_s: float | None = None
    alarm: int | None = None
    tag: str | None = None
    elsewhere: bool = False
    audited_only: bool = False
    changes_labels: bool = False
    worst: tuple[GroupEffect, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """Who is affected, since when, why, and what each remedy would do to whom.

    Attributes:
        finding: the one that it is about; '' of exclusive classes.
        generated_s: the time of the diagnosis.
        state, reasons: what to think of this version, and why.
        certainty: how sure the first deviation is about whom it names.
        basis: the labels that it rests on, and until when they speak.
        bounds: 95 % interval of the gap of the labeled answers: what `fine` rules out.
        hidden: how much the gap of all answers could differ from that of labeled ones if every
            answer without a label was right (lower) or wrong (upper).
        alarms: active ones of the watch.
        deviations: groups whose confidence did not match accuracy, the most evident first.
        rivals: other causes, each with what it explains and what would tell.
        unchecked: kinds of answers that have too few labels.
        accuracy, operating_points, early_signs: questions of their own.
        remedies: what each would do to each group.
        other_labels: labels of proxy sources and second readings, and how far they agree.
        open: how many labels of which kind would answer what is not known.
        actions: what to do, the first thing first; empty if there is nothing to do.
    """

    model: str
    version: int
    finding: str
    generated_s: float
    state: State
    reasons: tuple[StateReason, ...]
    certainty: Certainty
    basis: Basis
    bounds: IntervalEstimate
    hidden: IntervalEstimate
    alarms: tuple[Alarm, ...]
    deviations: tuple[Deviation, ...]
    rivals: tuple[Rival, ...]
    unchecked: tuple[Unchecked, ...]
    accuracy: Accuracy
    operating_points: OperatingPoints
    early_signs: tuple[EarlySign, ...]
    remedies: tuple[TriedRemedy, ...]
    other_labels: OtherLabels
    open: tuple[Open, ...]
    actions: tuple[Action, ...]
