"""Each status of a model, and each answer about its accuracy, in a few words."""

from monitoring.findings.accuracy import AccuracyAnswer, AccuracyVerdict
from monitoring.findings.status import Status
from monitoring.pages.language import N_, gettext, localized, ngettext
from monitoring.reports.report import Report

TITLES = {
    Status.OK: N_("No miscalibration found"),
    Status.PARTLY: N_("No miscalibration found, but part is not checked"),
    Status.EARLY: N_("Too early to say"),
    Status.NO_LABELS: N_("No labels yet"),
    Status.OFF: N_("Confidence and accuracy differ"),
    Status.ALARM: N_("Alarm: confidence no longer matches accuracy"),
}
SHORT_WORDS = {
    Status.OK: N_("ok"),
    Status.PARTLY: N_("partly checked"),
    Status.EARLY: N_("too early"),
    Status.NO_LABELS: N_("no labels"),
    Status.OFF: N_("miscalibrated"),
    Status.ALARM: N_("alarm"),
}
ACCURACY_TONES = {
    AccuracyAnswer.LOWER: "off",
    AccuracyAnswer.AS_IT_WAS: "ok",
    AccuracyAnswer.HIGHER: "ok",
    AccuracyAnswer.UNKNOWN: "early",
}
ACCURACY_WORDS = {
    AccuracyAnswer.LOWER: N_("lower"),
    AccuracyAnswer.AS_IT_WAS: N_("as it was"),
    AccuracyAnswer.HIGHER: N_("higher"),
    AccuracyAnswer.UNKNOWN: N_("not known"),
}
EVENT_WORDS = {
    "acknowledged": N_("acknowledged"),
    "alarm": N_("alarm"),
    "checkpoint": N_("checkpoint"),
    "ended": N_("ended"),
    "promoted": N_("promoted"),
    "recalibrated": N_("recalibrated"),
    "recalibrating": N_("recalibrating"),
    "reset": N_("reset"),
    "settings": N_("settings"),
    "started": N_("started"),
    "tags": N_("tags"),
}
_ACCURACY_HEADLINES = {  # of all answers, and among labeled ones that may have been chosen
    AccuracyAnswer.LOWER: (
        N_("No: accuracy is lower, by at least %(points)s"),
        N_(
            "Among the labeled answers accuracy is lower, by at least %(points)s; not known of "
            "all answers"
        ),
    ),
    AccuracyAnswer.HIGHER: (
        N_("No: accuracy is higher, by at least %(points)s"),
        N_(
            "Among the labeled answers accuracy is higher, by at least %(points)s; not known of "
            "all answers"
        ),
    ),
    AccuracyAnswer.AS_IT_WAS: (
        N_("Yes, as it was, to within %(points)s"),
        N_("Yes, as it was among the labeled answers, to within %(points)s"),
    ),
}
NOT_KNOWN = (
    N_("Not known: the labels are of other answers than the ones served"),
    N_("Not known: the card has no reference accuracy"),
    N_("Not known: the card's reference is too small to tell"),
    N_("Not known yet"),
)


def accuracy_headline(verdict: AccuracyVerdict) -> str:
    """The headline of the answer about accuracy in the reader's language; in English it is that of
    the finding.
    """
    if verdict.answer is AccuracyAnswer.UNKNOWN:
        return gettext(verdict.headline)
    told = _ACCURACY_HEADLINES[verdict.answer][verdict.chosen]
    number = localized(f"{round(100 * verdict.bound, 1) + 0.0:.1f}")
    return gettext(told) % {
        "points": ngettext("%(number)s point", "%(number)s points", 2) % {"number": number}
    }


def event_word(kind: str) -> str:
    """The kind of an event in the reader's language."""
    return gettext(EVENT_WORDS[kind])


def short_word(report: Report) -> str:
    """The status in a word or two, where labels that are not typical of all answers could explain
    it too.
    """
    if report.recommendation.is_rival and report.status in (Status.OFF, Status.ALARM):
        return gettext("%(word)s, or labels that are not typical") % {
            "word": gettext(SHORT_WORDS[report.status])
        }
    return gettext(SHORT_WORDS[report.status])


def title(report: Report) -> str:
    """The status as a heading; it names the tags if theirs are the only alarms."""
    whole = report.drift is not None and report.drift.active
    alarms = report.tag_watches.active if report.tag_watches else ()
    told = gettext(TITLES[report.status])
    if report.status is Status.OFF and report.recommendation.is_rival:
        told = gettext(
            "Confidence and accuracy differ in the labels, which may not be typical of all answers"
        )
    if report.status is Status.ALARM and (doubt := _doubt(report)):
        told = gettext(doubt)
    if report.status is not Status.ALARM or whole or not alarms:
        return told
    tags = ", ".join(each.tag for each in alarms[:3])
    return gettext("%(told)s in answers with %(tags)s") % {"told": told, "tags": tags}


def _doubt(report: Report) -> str:
    """What an alarm says where something else than the model may have raised it; empty if nothing
    else can.
    """
    if report.recommendation.is_cleared:
        return N_("Alarm: raised, but the labels no longer bear it out")
    if report.recommendation.is_rival:
        return N_(
            "Alarm: in the labels, which may not be typical of all answers, confidence does not "
            "match accuracy"
        )
    return ""


def accuracy_tone(report: Report) -> str:
    """The class of the style sheet for the answer about accuracy: no greener than the verdict,
    which is read first.
    """
    tone = ACCURACY_TONES[report.accuracy.answer]
    return "early" if tone == "ok" and report.status is not Status.OK else tone


def accuracy_is_no_comfort(report: Report) -> bool:
    """Whether an accuracy that has not fallen stands beside an error of confidence."""
    has_fallen = report.accuracy.answer in (AccuracyAnswer.LOWER, AccuracyAnswer.UNKNOWN)
    return report.status in (Status.OFF, Status.ALARM) and not has_fallen


def advice_tone(status: Status, accuracy: AccuracyAnswer) -> str:
    """The class of the style sheet for the advice: the more serious of the two answers."""
    return "off" if accuracy is AccuracyAnswer.LOWER and status is not Status.ALARM else status
