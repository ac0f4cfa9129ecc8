"""Should I be worried? On what evidence, and what to do, for a reader who does not know ECE."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from calibration.measures import Measures
from calibration.metrics import Z95
from monitoring.findings.accuracy import CLOSE, AccuracyAnswer, AccuracyVerdict, labels_for_accuracy
from monitoring.findings.audit import FEW_LABELS
from monitoring.findings.comparison import CardComparison
from monitoring.findings.drift import Drift
from monitoring.findings.early_warnings import EarlyWarning
from monitoring.findings.label_advice import (
    RIVAL_WORRIES,
    check_the_rest,
    describe_labels,
    rival_cause,
    selection_is_rival,
    tell_apart,
)
from monitoring.findings.looks import GapAtEveryLook
from monitoring.findings.phrases import answers_in_slice, answers_in_stream, counted, percent, points
from monitoring.findings.selection import LabelSelection
from monitoring.findings.slices import Slice, Slices
from monitoring.findings.status import Assessment, Status, is_more_than_chance

_SLICE_LIMIT = 3  # slices named as evidence
_LOW_COVERAGE = 0.05  # below this share of labeled answers the labels may well be an unusual choice
_CALM_SHARE = 0.7  # of the log-evidence of an alarm: 20,000 labels of a calibrated model reach about as much
_SMALLEST_POINTS = 0.0005  # what rounds to 0.0 points is not quoted
WORRIES = {
    Status.NO_LABELS: "Unknown: no answer has a label yet.",
    Status.EARLY: f"Too early to say: there are fewer than {FEW_LABELS} labels.",
    Status.OK: "No: chance alone can explain what the labels show.",
    Status.PARTLY: "Not known for all answers: chance alone can explain what the labels show, but part is not checked.",
    Status.OFF: "Possibly: at this look, the labels show more error than chance explains; the drift alarm is quiet.",
    Status.ALARM: "Yes: the drift alarm is active, and false alarms are rare.",
}


@dataclass(frozen=True)
class Findings:
    """What a recommendation rests on. `served_elsewhere`: the model's answers were logged, not served by Candor."""

    model: str
    assessment: Assessment
    measures: Measures
    drift: Drift | None
    comparison: CardComparison
    selection: LabelSelection
    slices: Slices | None
    early_warnings: tuple[EarlyWarning, ...]
    accuracy: AccuracyVerdict
    served_elsewhere: bool = False
    gap_at_every_look: GapAtEveryLook | None = None


@dataclass(frozen=True)
class Recommendation:
    """`worried`: the answer in a sentence; `why`: the assessment; `evidence` and `what_to_do`: sentences."""

    status: Status
    worried: str
    why: str
    evidence: tuple[str, ...]
    what_to_do: tuple[str, ...]


def recommend(found: Findings) -> Recommendation:
    """Put the findings into words."""
    status = found.assessment.status
    return Recommendation(
        status=status,
        worried=_worry(found),
        why=found.assessment.sentence,
        evidence=tuple(_evidence(found)),
        what_to_do=tuple(_actions(found)),
    )


def _worry(found: Findings) -> str:
    """The answer about confidence. Where accuracy is lower, that comes first, unless the alarm is active."""
    status, accuracy = found.assessment.status, found.accuracy
    if _is_cleared(found):
        return "Hardly: the drift alarm is active, but chance alone can explain what the random audit shows."
    confidence = RIVAL_WORRIES[status] if _is_rival(found) else _calm_worry(found)
    if accuracy.answer is not AccuracyAnswer.LOWER or status is Status.ALARM:
        return confidence
    since = f" in answers served since {accuracy.since}" if accuracy.since else ""
    which = f"in the labeled answers{since}, which may be chosen, " if accuracy.chosen else ""
    lower = f"{which}it is at least {points(-accuracy.difference_upper)} lower than on the card"
    yes = f"Possibly, about accuracy: {lower}." if accuracy.chosen else f"Yes, about accuracy: {lower}{since}."
    return f"{yes} About confidence: {confidence[0].lower()}{confidence[1:]}"


def _calm_worry(found: Findings) -> str:
    """The answer of the status; not "no" while a slice, or the comparison with the card, shows more than chance."""
    status, part = found.assessment.status, _exception(found)
    if not part:
        return WORRIES[status]
    if status is Status.PARTLY:
        return f"{WORRIES[status]} At this look, {part}."
    return f"Possibly: over all answers chance alone can explain what the labels show, but at this look {part}."


def _exception(found: Findings) -> str:
    """What chance does not explain at this look although it explains the whole, as a clause; empty if nothing."""
    if found.assessment.status not in (Status.OK, Status.PARTLY):
        return ""
    if found.slices and found.slices.significant:
        return f"it does not explain the error in {answers_in_slice(found.slices.significant[0].name)}"
    if found.comparison.signed_gap_as_served.significant:
        return "confidence minus accuracy differs from the card's by more than chance explains"
    return ""


def _is_rival(found: Findings) -> bool:
    alarm_audit = found.drift is not None and found.drift.alarm_audit
    return found.assessment.status in RIVAL_WORRIES and selection_is_rival(found.selection, alarm_audit=alarm_audit)


def _is_cleared(found: Findings) -> bool:
    """Whether the audit shows nothing while an alarm, which chosen labels raised, is active."""
    chosen = found.drift is not None and not found.drift.alarm_audit
    fair = found.selection.audit_decides and found.selection.is_fair
    alarm = found.assessment.status is Status.ALARM
    return alarm and chosen and fair and not is_more_than_chance(found.measures, found.selection)


def _evidence(found: Findings) -> Iterator[str]:
    if _is_rival(found):
        yield rival_cause(found.selection)
    if found.drift and found.drift.alarm:
        yield describe_alarm(found.drift.alarm)
    if found.slices:
        yield from (_slice(each, found.slices.tested) for each in found.slices.significant[:_SLICE_LIMIT])
    if found.assessment.status is Status.OFF:
        yield _often(found.gap_at_every_look)
    if found.accuracy.answer in (AccuracyAnswer.LOWER, AccuracyAnswer.HIGHER):
        yield found.accuracy.sentence
    yield from _against_card(found.comparison, found.selection)
    yield from describe_labels(found.selection)
    if _is_silent(found):
        yield "The drift watch uses audited answers only, and none was drawn in this window: it watches nothing."
    yield from (warning.sentence for warning in found.early_warnings if warning.raised)


def describe_alarm(detail: dict[str, Any]) -> str:
    """An alarm event's detail in a sentence or two."""
    where = answers_in_stream(detail.get("stream", "all"), detail.get("name"))
    more_or_less = "less" if detail["direction"] == "over" else "more"
    sentence = (
        f"The alarm was raised at label {detail['labels']:,}, in {where}, which were right {more_or_less} often than "
        "their confidence said."
    )
    sentence += _by_class(detail)
    since = detail.get("since")
    if not since:
        return sentence
    served = f", on an answer served on {_day(since['served_at_ns'])}" if since.get("served_at_ns") else ""
    interval = f"95 % interval {since['lower']:,} to {since['upper']:,}"
    return f"{sentence} The drift began around label {since['label']:,} ({interval}){served}."


def _by_class(detail: dict[str, Any]) -> str:
    """What to add if only a class shows the error: over all classes, errors may cancel."""
    blind = detail.get("without_classes")
    if not blind or blind["log_evalue"] > _CALM_SHARE * blind["log_threshold"]:
        return ""
    return (
        f" The error is one by class: when predicted classes are not told apart, the evidence was "
        f"{blind['log_evalue']:.1f} of the {blind['log_threshold']:.1f} that an alarm takes, as a calibrated model may "
        "show too."
    )


def _slice(each: Slice, tested: int) -> str:
    verb = "exceeds" if each.signed_gap >= 0 else "falls short of"
    comparisons = f"after correcting for {counted(tested, 'comparison')}"
    sure = f"at least {points(each.at_least)}" if each.at_least >= _SMALLEST_POINTS else "more than chance explains"
    return (
        f"In {answers_in_slice(each.name)}, confidence {verb} accuracy by {points(abs(each.signed_gap))} "
        f"({counted(each.n, 'label')}): at this look, {sure} {comparisons}."
    )


def _against_card(comparison: CardComparison, selection: LabelSelection) -> Iterator[str]:
    gap, accuracy = comparison.signed_gap_as_served, comparison.accuracy_as_served
    if gap.significant:
        yield (
            f"Confidence minus accuracy was {points(gap.reference)} on the card's reference data and is now "
            f"{points(gap.live)}: at this look, a larger change than chance explains."
        )
    if selection.is_fair:
        return
    before = f"Accuracy was {percent(accuracy.reference)} on the card's reference data."
    if accuracy.significant:
        yield (
            f"{before} Weighted by the answers served at each confidence, the labels show {percent(accuracy.live)}; a "
            "choice of labels by outcome can explain that too."
        )
    elif comparison.accuracy.significant:
        yield (
            f"{before} The labels show {percent(comparison.accuracy.live)}. Those are other answers than the ones "
            "served: their confidence differs, and that alone can explain it."
        )


def _often(gap: GapAtEveryLook | None) -> str:
    """Whether looking often explains an error that shows at this look."""
    if gap is None:
        return (
            "This window moves. Whoever reads it every day sees such an error for most calibrated models at least once "
            "within a year."
        )
    between = f"confidence minus accuracy is between {points(gap.lower)} and {points(gap.upper)}"
    if gap.excludes_zero:
        return f"Looking often does not explain the difference: at every look at once, {between}."
    return f"Looking often can explain a difference in the mean: at every look at once, it is only sure that {between}."


def _is_silent(found: Findings) -> bool:
    """Whether the watch uses audited answers only, and none is drawn."""
    return found.drift is not None and found.drift.audit and found.selection.audit is None


def _actions(found: Findings) -> Iterator[str]:
    status, model = found.assessment.status, found.model
    if status is Status.ALARM:
        yield from _after_alarm(found)
    elif status is Status.OFF:
        if _is_rival(found):
            yield tell_apart(found.selection)
        yield "Keep labeling: if the error is real, the drift alarm will follow."
        yield "Look at the slices to see which answers are affected."
    elif status in (Status.EARLY, Status.NO_LABELS):
        yield (
            f"Label at least {FEW_LABELS} answers. About {_labels_for(found.measures, half_width=0.05):,} labels show "
            "confidence minus accuracy to within 5 points."
        )
    about_accuracy = list(_about_accuracy(found)) if status is not Status.ALARM else []
    if _is_silent(found):
        yield (
            "Set CANDOR_AUDIT_SHARE where the model is served; or let all labels count again "
            f"""(`POST /calibration/{model}/reset` with `{{"audit": false}}`)."""
        )
    elif status is Status.OK and _exception(found):
        yield "Keep labeling, and look at the slices: if the error is real, the drift alarm will follow."
    elif status is Status.OK and not about_accuracy:
        yield "Nothing for now. Look again when the alarm is raised or when new labels have arrived."
    yield from about_accuracy
    if status is Status.PARTLY:
        yield from check_the_rest(found.selection)
    told = _is_rival(found)
    if found.selection.audit is None and found.selection.coverage < _LOW_COVERAGE and found.measures.n and not told:
        yield (
            f"Fewer than {100 * _LOW_COVERAGE:.0f} % of answers have a label, and nothing shows how they were chosen. "
            'Set CANDOR_AUDIT_SHARE and label every answer with "audit": true; see docs/how-to/audits.md.'
        )
    if any(warning.raised for warning in found.early_warnings):
        yield (
            f"The images or patients of {model} may have changed. Get labels of recent answers before you rely on "
            "older ones."
        )


def _after_alarm(found: Findings) -> Iterator[str]:
    drift, model = found.drift, found.model
    rival = _is_rival(found)
    if _is_cleared(found):
        yield (
            "The alarm was raised on labels that were chosen, and the audit shows no such difference: acknowledge the "
            f"alarm with a note (`POST /calibration/{model}/acknowledge`). Do not recalibrate on the chosen labels."
        )
        return
    if rival:
        yield tell_apart(found.selection)
    since = (drift.alarm or {}).get("since") if drift else None
    on_labels, last = "", ""
    if drift and since:
        yield f"Find out what changed around label {since['label']:,}: device, protocol, ward, patients or software."
        on_labels, last = " on the labels since then", f" --last {max(drift.labels - since['label'] + 1, FEW_LABELS)}"
    at_this_look = found.comparison.accuracy_as_served
    is_lower = found.accuracy.answer is AccuracyAnswer.LOWER
    if (is_lower or (at_this_look.significant and at_this_look.difference < 0)) and not found.selection.is_fair:
        yield (
            f"If a fair sample shows that accuracy fell, roll back (`candor promote {model} VERSION`) or retrain: "
            "recalibration corrects confidence, not answers."
        )
    elif is_lower or (at_this_look.significant and at_this_look.difference < 0):
        yield (
            f"{'Accuracy fell' if is_lower else 'At this look accuracy is lower than on the card'}, and recalibration "
            f"corrects confidence, not answers. If accuracy is now too low, roll back (`candor promote {model} "
            "VERSION`) or retrain."
        )
    yield from _opposite_classes(found.slices)
    first = "Only if a fair sample shows the error too: recalibrate" if rival else "Recalibrate"
    if found.served_elsewhere:
        yield f"{first} the model{on_labels} where it is served, and log its answers as a new version."
    elif rival:
        yield f"{first} on that sample: `candor recalibrate {model}`, then `candor promote {model} VERSION`."
    else:
        yield f"{first}{on_labels}: `candor recalibrate {model}{last}`, then `candor promote {model} VERSION`."
    yield (
        f"Or fix the cause and acknowledge the alarm with a note (`POST /calibration/{model}/acknowledge`); the watch "
        "then starts again."
    )


def _about_accuracy(found: Findings) -> Iterator[str]:
    """What to do about accuracy. After an alarm, the advice about the alarm includes it."""
    accuracy = found.accuracy
    if accuracy.answer is AccuracyAnswer.LOWER:
        if accuracy.chosen:
            yield ("Find out how the labels were chosen, before anything else: a fair sample may show no drop.")
        since = f" around {accuracy.since}" if accuracy.since else ""
        yield f"Find out what changed{since}: device, protocol, ward, patients, software, or who sets the labels."
        back = "the version before it" if found.served_elsewhere else f"`candor promote {found.model} VERSION`"
        yield (
            f"If accuracy is too low for its purpose, roll back ({back}) or retrain on such images. Recalibration "
            "corrects confidence, not answers."
        )
    elif accuracy.answer is AccuracyAnswer.HIGHER:
        yield (
            "Accuracy is higher than on the card. Check that easy answers are not labeled more often than others; "
            "otherwise nothing needs to be done about it."
        )
    elif accuracy.answer is AccuracyAnswer.UNKNOWN and found.measures.n >= FEW_LABELS:
        needed = labels_for_accuracy(accuracy)
        if needed and needed > accuracy.n:
            yield (
                f"Keep labeling to know whether accuracy is as it was: about {needed:,} labels show it to within "
                f"{100 * CLOSE:.0f} points."
            )


def _opposite_classes(slices: Slices | None) -> Iterator[str]:
    """Classes that err in opposite directions, which need a bias per class."""
    classes = [each for each in (slices.significant if slices else ()) if each.name.startswith("predicted:")]
    over, under = ([each for each in classes if sign * each.signed_gap > 0] for sign in (1, -1))
    if over and under:
        yield (
            f"Confidence is too high in {answers_in_slice(over[0].name)} and too low in "
            f"{answers_in_slice(under[0].name)}. A new temperature moves all classes alike and cannot repair both. "
            "Recalibrate with --allow-label-changes, which adds a bias per class, or retrain on such images."
        )


def _labels_for(measures: Measures, *, half_width: float) -> int:
    """Labels until the 95 % interval of the gap has that half width."""
    p = measures.mean_confidence if math.isfinite(measures.mean_confidence) else 0.8
    return math.ceil((Z95 / half_width) ** 2 * max(p * (1 - p), 0.01))


def _day(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, tz=UTC).strftime("%d %B %Y").lstrip("0")
