"""The table from the codes of a diagnosis to words; `words.py` fills in the numbers."""

from typing import Final, NamedTuple

from calibration.diagnosis.facts import Cause, RivalStatus
from monitoring.diagnosis.expected_performance import EstimateStatus
from monitoring.diagnosis.facts import (
    AccuracyAnswer,
    ActionCode,
    Certainty,
    Hindrance,
    State,
    StateReason,
)


class Terms(NamedTuple):
    """What the claim of an answer is called, and what it is compared with.

    In a text, `{finding}` stands for its name.
    """

    claim: str
    share: str  # that the claim is compared with
    fine: str
    too_high: str
    too_low: str
    gap: str
    figures: str  # of `confidence` and `share`
    range: str
    measured: str  # what is compared with the card
    holds: str  # what the claim says of an answer
    tests: str  # what a watch tests, before its tolerance
    where: tuple[str, str]  # a watch without and with one for each class
    alarm: str  # how often the claim held, `{often}` than said
    changes: str  # by a remedy, of so many answers
    change: str  # the same in none
    preview: str  # the same, as a sentence
    heading: str  # of figures by class
    which: str  # answers in which a cause is looked for
    filter: str  # that finds them
    of_one: bool  # whether a claim is one probability
    of: str = ""
    finding: str = ""

    def named(self, name: str) -> str:
        """Return what a rate is about: a class of this name, or the finding."""
        return self.finding or name

    def reworded(self, text: str) -> str:
        """Return a text about confidence and accuracy in these words.

        >>> OF_FINDING.reworded("Mean confidence")
        'Mean probability'
        """
        for word, own in (("confidence", self.claim), ("accuracy", self.share)):
            text = text.replace(word, own).replace(word.capitalize(), own.capitalize())
        return text


OF_CLASSES: Final = Terms(
    claim="confidence",
    share="accuracy",
    fine="confidence matches accuracy",
    too_high="too confident",
    too_low="not confident enough",
    gap="confidence minus accuracy",
    figures="{confidence} confident, {share} right",
    range="a confidence",
    measured="Accuracy",
    holds="the model is right",
    tests="confidence is",
    where=(
        " of the true accuracy, on average over the predicted classes",
        " of the true accuracy, in the answers of each predicted class",
    ),
    alarm="were right {often} often than their confidence said",
    changes="their class",
    change="predicted class",
    preview="This version changes the predicted class of {changed} of the {answers}.",
    heading="Classes",
    which="Wrong answers",
    filter="wrong",
    of_one=False,
)
OF_FINDING: Final = Terms(
    claim="probability",
    share="share present",
    fine="present as often as said",
    too_high="present less often than said",
    too_low="present more often than said",
    gap="probability minus share present",
    figures="said in {confidence}, present in {share}",
    range="a probability",
    measured="The share present",
    holds="it is present",
    tests="{finding} is present as often as its probability says,",
    where=("", ""),
    alarm="had {finding} {often} often than their probability said",
    changes="whether {finding} is present",
    change="presence",
    preview="Whether {finding} is present by its threshold changes in {changed} of {answers}.",
    heading="Finding",
    which="Labeled answers",
    filter="labeled",
    of_one=True,
    of=" of {finding}",
)


def terms(finding: str | None) -> Terms:
    """Return what the claim of answers about a finding is called, or without one of classes."""
    return OF_FINDING._replace(finding=finding) if finding else OF_CLASSES


SHORT: Final = {
    State.FINE: "fine",
    State.LOOK: "look",
    State.ALARM: "alarm",
    State.HEALED: "healed",
    State.STALE: "stale",
    State.UNKNOWN: "unknown",
}
TITLES: Final = {
    State.FINE: "Fine: {fine}",
    State.LOOK: "Look: {who} {error}",
    State.ALARM: "Alarm: {who} {error}",
    State.HEALED: "Healed: the alarm is active, current labels do not bear it out",
    State.STALE: "Stale: {reason}",
    State.UNKNOWN: "Unknown: {reason}",
}
REASONS: Final = {
    StateReason.ALARM_ACTIVE: "the drift alarm is active",
    StateReason.DEVIATION: "labels show an error",
    StateReason.OPERATING_POINT: "{rates} lower than promised",
    StateReason.EXPLAINED: "another cause explains all that the labels show",
    StateReason.HEALED: "the error has ended",
    StateReason.CORRECTED: "the labels that raised the alarm have been corrected",
    StateReason.NOT_BORNE_OUT: "current labels show no error",
    StateReason.WATCH_ALONE: "something changed lately, and too few labels show who is affected",
    StateReason.NO_ANSWERS: "no answer for {answers_age}",
    StateReason.LABELS_OLD: "no label for answers of the last {labels_age}",
    StateReason.NO_LABELS: "no answer has a label",
    StateReason.FEW_LABELS: "too few labels",
    StateReason.UNLABELED_PART: "no labels for {unchecked}",
    StateReason.SELECTION: "{missing} of answers have no label, which could hide an error",
    StateReason.AUDIT_INCOMPLETE: "{audit_missing} of drawn answers have no label",
    StateReason.PROXY_ONLY: "all labels are of sources that are not the truth",
    StateReason.TRAINED_ON: "the model was made with these images",
    StateReason.INPUT_CHANGED: "answers changed, and no labels cover the time since",
}
CAUSES: Final = {
    Cause.SELECTION: "labels chosen by outcome",
    Cause.PATIENTS: "several images of one patient that err together",
    Cause.NOISE: "wrong labels",
    Cause.CASE_MIX: "a changed case mix",
    Cause.CORRECTED: "first labels that have been corrected",
    Cause.PROXY: "labels of {who}, which others do not confirm",
    Cause.CODING: "labels that are coded the other way round, or belong to other answers",
    Cause.FOLLOWED: "labels that follow the model's answer, which their readers saw",
    Cause.INPUT: "images out of scope ({doubtful} of those affected, {rest} of others)",
}
STATUSES: Final = {
    RivalStatus.RULED_OUT: "Ruled out: {cause}.",
    RivalStatus.POSSIBLE: "Possible: {cause}.",
    RivalStatus.EXPLAINS_PART: "Explained in part by {cause}.",
    RivalStatus.EXPLAINS_ALL: "Explained by {cause}.",
}
ACTIONS: Final = {
    ActionCode.ACKNOWLEDGE: "Acknowledge the alarm{tag}{audited}.",
    ActionCode.RECALIBRATE: "Recalibrate{on}{changes}{worst}.",
    ActionCode.RECALIBRATE_GROUP: "Recalibrate {group} alone{on}{changes}{worst}.",
    ActionCode.ADJUST_CASE_MIX: "Recalibrate for the changed case mix{on}{changes}{worst}.",
    ActionCode.FIND_CAUSE: "Find out what changed{at}.",
    ActionCode.AUDIT: (
        "Have new answers drawn at random (CANDOR_AUDIT_SHARE, or `audit` where they are logged), "
        "and label all that are drawn: {labels}{of}."
    ),
    ActionCode.COMPLETE_AUDIT: "Label drawn answers without a label ({labels}).",
    ActionCode.LABEL: "Label {labels}{of}{since}.",
    ActionCode.SECOND_READINGS: "Have {labels}{of}{since} read again by another reader{which}.",
    ActionCode.CORRECT_LABELS: (
        "Have all labels{of}{since} read again, and correct those that are wrong."
    ),
    ActionCode.SEND_PATIENTS: "Send the patient with each answer.",
    ActionCode.CHECK_CALLERS: "Find out why no image is sent any more, or retire the model.",
    ActionCode.PROMOTE: "Promote version {version}, which was recalibrated since the alarm.",
    ActionCode.ROLL_BACK: "Promote version {version} again.",
}
HINDRANCES: Final = {
    Hindrance.HARMS_OTHERS: "it would make {harmed} worse",
    Hindrance.NO_GAIN: "it would not help the affected",
    Hindrance.FEW_LABELS: "the labels do not suffice to fit it",
    Hindrance.UNTRIED: (
        "it could not be tried, since answers are logged without the probabilities of all classes"
    ),
    Hindrance.TRAINED_ON: "images are from the model's own training, where it looks better",
    Hindrance.FIRST: "after the first step",
}
_NOT_TOLD: Final = (
    "Labels cannot show whether their readers saw the model's answer, which cases never got one, "
    "or, where patients are not sent, which images are of one."
)
CERTAINTIES: Final = {
    Certainty.STRONG: f"Chance is at least 1,000 times less likely. {_NOT_TOLD}",
    Certainty.MODERATE: f"Chance is at least 20 times less likely. {_NOT_TOLD}",
    Certainty.WEAK: "Who is affected is a guess: {others}.",
    Certainty.NONE: "",
}
ACCURACIES: Final = {
    AccuracyAnswer.LOWER: "{measured} is lower than on the card",
    AccuracyAnswer.AS_IT_WAS: "{measured} is as on the card",
    AccuracyAnswer.HIGHER: "{measured} is higher than on the card",
    AccuracyAnswer.UNKNOWN: "Whether {measured} is as on the card is not known",
}
TRAINED_ON: Final = (
    "{share} of the images are from the model's own training data: it looks better on them than on "
    "new ones."
)
SIGNS: Final = {
    "answer_distribution": "the answers",
    "doubtful_images": "images out of scope",
    "training_images": "the share of images from training",
    "image_brightness": "image brightness",
    "image_contrast": "image contrast",
}
KINDS: Final = {
    "random": "labels of answers drawn at random",
    "missing_drawn": "labels of drawn answers that are missing",
    "due": "labels that are due",
    "second_reading": "second readings of answers that labels call wrong",
    "second_reading_of_right": "second readings of answers that labels call right",
    "patient_codes": "answers sent with their patient",
    "in_scope": "labels of affected images in scope",
}
READ_AGAIN: Final = {
    "second_reading": ", of those that labels call wrong, the most confident first",
    "second_reading_of_right": (
        " who has not seen the model's answer, of those that labels call right, the least "
        "confident first"
    ),
}
ESTIMATES: Final = {
    EstimateStatus.UNKNOWN: "Nothing is estimated: answers lack the probabilities of all classes.",
    EstimateStatus.INPUT_CHANGED: (
        "Answers or images changed, and labels have not checked this since: the interval is not "
        "known."
    ),
    EstimateStatus.NOT_CHECKED: "Too few labels have checked this.",
    EstimateStatus.AGREES: "Labels agree with this.",
    EstimateStatus.CONTRADICTED: "Labels contradict this: do not rely on it.",
}
PROXY: Final = (
    'Labels of "{source}" are not the truth: {answers}, of which {both} have a truth too; '
    "{agreement} of these agree."
)
CLOCK: Final = (
    "Labels of {who} come {days} {when} than all others': its clock may be off, and dates with it."
)
READINGS: Final = (
    "Second readings differ in {different} of {pairs} answers: a single reading errs in {error} "
    "({interval})."
)
COMPARED: Final = (
    "On the {days} on which both have labels ({labels}), version {second} minus version {first}: "
    "accuracy {accuracy}, of which other cases explain {cases}; confidence minus accuracy {gap}."
)
PAIRED: Final = (
    "On the {labels} that both answered and that have a label, version {second} minus version "
    "{first}: accuracy {accuracy}; confidence minus accuracy {gap}."
)
IN_GROUP: Final = " In {group} alone ({labels}): {gap}."
WORSE: Final = "Version {second} is less accurate on {slices}."
INCOMPARABLE: Final = (
    "Not compared: the two have fewer than {fewest} labels of the same kind on the same days."
)
CARDS_COMPARED: Final = (
    "On the {n} on which both cards were measured, version {second} minus version {first}: "
    "{figures}."
)
CARDS_INCOMPARABLE: Final = (
    "The cards were measured on different images, so their figures do not compare the versions."
)
