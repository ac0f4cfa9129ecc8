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
    """The status in a word or two, where labels that may be chosen could explain it too."""
    if report.recommendation.is_rival and report.status in (Status.OFF, Status.ALARM):
        return f"{SHORT_WORDS[report.status]}, or chosen labels"
    return SHORT_WORDS[report.status]


def title(report: Report) -> str:
    """The status as a heading; it names the tags if theirs are the only alarms."""
    whole = report.drift is not None and report.drift.active
    alarms = report.tag_watches.active if report.tag_watches else ()
    told = TITLES[report.status]
    if report.status is Status.OFF and report.recommendation.is_rival:
        told += " in the labels, which may be chosen"
    if report.status is Status.ALARM and (doubt := _doubt(report)):
        told = f"Alarm: {doubt}"
    if report.status is not Status.ALARM or whole or not alarms:
        return told
    return f"{told} in answers with {', '.join(each.tag for each in alarms[:3])}"


def _doubt(report: Report) -> str:
    """What an alarm says where something else than the model may have raised it; empty if nothing else can."""
    if report.recommendation.is_cleared:
        return "raised, but the labels no longer bear it out"
    if report.recommendation.is_rival:
        return "in the labels, which may be chosen, confidence does not match accuracy"
    return ""


def advice_tone(status: Status, accuracy: AccuracyAnswer) -> str:
    """The class of the style sheet for the advice: the more serious of the two answers."""
    return "off" if accuracy is AccuracyAnswer.LOWER and status is not Status.ALARM else status
