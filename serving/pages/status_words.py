"""Each status of a model, and each answer about its accuracy, in a few words."""

from monitoring.findings.accuracy import AccuracyAnswer
from monitoring.findings.status import Status
from monitoring.reports.report import Report

TITLES = {
    Status.OK: "No miscalibration found",
    Status.PARTLY: "No miscalibration found, but part is not checked",
    Status.EARLY: "Too early to say",
    Status.NO_LABELS: "No labels yet",
    Status.OFF: "Confidence and accuracy differ",
    Status.ALARM: "Alarm: confidence no longer matches accuracy",
}
SHORT_WORDS = {
    Status.OK: "ok",
    Status.PARTLY: "partly checked",
    Status.EARLY: "too early",
    Status.NO_LABELS: "no labels",
    Status.OFF: "miscalibrated",
    Status.ALARM: "alarm",
}
ACCURACY_TONES = {
    AccuracyAnswer.LOWER: "off",
    AccuracyAnswer.AS_IT_WAS: "ok",
    AccuracyAnswer.HIGHER: "ok",
    AccuracyAnswer.UNKNOWN: "early",
}
ACCURACY_WORDS = {
    AccuracyAnswer.LOWER: "lower",
    AccuracyAnswer.AS_IT_WAS: "as it was",
    AccuracyAnswer.HIGHER: "higher",
    AccuracyAnswer.UNKNOWN: "not known",
}


def short_word(report: Report) -> str:
    """The status in a word or two; it says where labels may not be typical."""
    if report.recommendation.is_rival and report.status in (Status.OFF, Status.ALARM):
        return f"{SHORT_WORDS[report.status]}, or labels that are not typical"
    return SHORT_WORDS[report.status]


def title(report: Report) -> str:
    """The status as a heading; it names the tags if theirs are the only alarms."""
    whole = report.drift is not None and report.drift.active
    alarms = report.tag_watches.active if report.tag_watches else ()
    said = TITLES[report.status]
    if report.status is Status.OFF and report.recommendation.is_rival:
        said = (
            "Confidence and accuracy differ in the labels, which may not be typical of all answers"
        )
    if report.status is Status.ALARM and (doubt := _doubt(report)):
        said = doubt
    if report.status is not Status.ALARM or whole or not alarms:
        return said
    tags = ", ".join(each.tag for each in alarms[:3])
    return f"{said} in answers with {tags}"


def _doubt(report: Report) -> str:
    """What an alarm says where something other than the model may explain it; else empty."""
    if report.recommendation.is_cleared:
        return "Alarm: raised, but the labels no longer bear it out"
    if report.recommendation.is_rival:
        return (
            "Alarm: in the labels, which may not be typical of all answers, confidence does not "
            "match accuracy"
        )
    return ""


def accuracy_tone(report: Report) -> str:
    """The style class of the answer about accuracy: no greener than the verdict."""
    tone = ACCURACY_TONES[report.accuracy.answer]
    return "early" if tone == "ok" and report.status is not Status.OK else tone


def accuracy_is_no_comfort(report: Report) -> bool:
    """Whether an accuracy that has not fallen stands beside an error of confidence."""
    has_fallen = report.accuracy.answer in (AccuracyAnswer.LOWER, AccuracyAnswer.UNKNOWN)
    return report.status in (Status.OFF, Status.ALARM) and not has_fallen


def advice_tone(status: Status, accuracy: AccuracyAnswer) -> str:
    """The class of the style sheet for the advice: the more serious of the two answers."""
    return "off" if accuracy is AccuracyAnswer.LOWER and status is not Status.ALARM else status
