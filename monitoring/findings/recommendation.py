"""Should I be worried? On what evidence, and what to do, for a reader who does not know ECE."""

from dataclasses import dataclass

from monitoring.findings.accuracy import AccuracyAnswer
from monitoring.findings.advice import give_advice
from monitoring.findings.audit import FEW_LABELS
from monitoring.findings.evidence import give_evidence
from monitoring.findings.findings import Findings
from monitoring.findings.label_advice import RIVAL_WORRIES
from monitoring.findings.phrases import points
from monitoring.findings.status import Status

WORRIES = {
    Status.NO_LABELS: "Unknown: no answer has a label yet.",
    Status.EARLY: f"Too early to say: there are fewer than {FEW_LABELS} labels.",
    Status.OK: "No: chance alone can explain what the labels show.",
    Status.PARTLY: (
        "Not known for all answers: chance alone can explain what the labels show, but part is not "
        "checked."
    ),
    Status.OFF: (
        "Possibly: at this look, the labels show more error than chance explains; the drift alarm "
        "is quiet."
    ),
    Status.ALARM: "Yes: the drift alarm is active, and false alarms are rare.",
}


@dataclass(frozen=True)
class Recommendation:
    """`worried`: the answer; `why`: the assessment; `evidence`, `what_to_do`: sentences.

    `is_rival`: whether the choice of the labels can explain what they show; `is_cleared`: whether
    an active alarm is not borne out by the labels that can decide.
    """

    status: Status
    worried: str
    why: str
    evidence: tuple[str, ...]
    what_to_do: tuple[str, ...]
    is_rival: bool
    is_cleared: bool


def recommend(found: Findings) -> Recommendation:
    """Put the findings into words."""
    return Recommendation(
        status=found.status,
        worried=_worry(found),
        why=found.assessment.sentence,
        evidence=tuple(give_evidence(found)),
        what_to_do=tuple(give_advice(found)),
        is_rival=found.is_rival and not found.is_cleared,
        is_cleared=found.is_cleared,
    )


def _worry(found: Findings) -> str:
    """The answer about confidence; lower accuracy comes first, unless the alarm is active."""
    status, accuracy = found.status, found.accuracy
    if found.is_cleared:
        shows = "all labels show by now" if found.is_cleared_by_all else "the random audit shows"
        return f"Hardly: the drift alarm is active, but chance alone can explain what {shows}."
    if status is Status.ALARM and not found.is_whole_alarm:
        confidence = _tag_worry(found)
    else:
        confidence = RIVAL_WORRIES[status] if found.is_rival else _calm_worry(found)
    if accuracy.answer is not AccuracyAnswer.LOWER or found.is_whole_alarm:
        return confidence
    since = f" in answers served since {accuracy.since}" if accuracy.since else ""
    which = (
        f"in the labeled answers{since}, which may not be typical of all, "
        if accuracy.chosen
        else ""
    )
    lower = f"{which}it is at least {points(-accuracy.difference_upper)} lower than on the card"
    yes = (
        f"Possibly, about accuracy: {lower}."
        if accuracy.chosen
        else f"Yes, about accuracy: {lower}{since}."
    )
    return f"{yes} About confidence: {confidence[0].lower()}{confidence[1:]}"


def _tag_worry(found: Findings) -> str:
    """The answer if alarms of tags alone are active."""
    which = ", ".join(each.tag for each in found.tag_alarms)
    if found.is_rival:
        return (
            f"Probably, about answers with {which}: their drift alarm is active. Either confidence "
            "no longer matches accuracy there, or the labels favor wrong answers (or right ones); "
            "these labels cannot tell which."
        )
    return (
        f"Yes, about answers with {which}: their drift alarm is active, and false alarms are rare."
    )


def _calm_worry(found: Findings) -> str:
    """The answer of the status; not "no" while a part shows more error than chance."""
    status, part = found.status, found.exception
    if not part:
        return WORRIES[status]
    if status is Status.PARTLY:
        return f"{WORRIES[status]} At this look, {part}."
    return (
        "Possibly: over all answers chance alone can explain what the labels show, but at this "
        f"look {part}."
    )
