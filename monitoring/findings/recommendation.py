"""Should I be worried? Why, on what evidence, and what to do, in words for somebody who never heard of ECE."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from calibration.measures import Measures
from monitoring.findings.comparison import CardComparison
from monitoring.findings.drift import Drift
from monitoring.findings.early_warnings import EarlyWarning
from monitoring.findings.selection import LabelSelection
from monitoring.findings.slices import Slices
from monitoring.findings.status import FEW_LABELS, Assessment, Status

_WORST = 3  # slices named
_THIN = 0.05  # a coverage below which labels may well be a strange choice
WORRIES = {
    Status.NO_LABELS: "Nobody can tell yet: no answer has a label.",
    Status.EARLY: "Too early to say: there are few labels.",
    Status.OK: "No: what the labels show is what chance does to a model whose confidence is true.",
    Status.OFF: "Not alarmed, but look: the labels show more than chance would.",
    Status.ALARM: "Yes: the drift alarm stands, and that is hardly ever chance.",
}


@dataclass(frozen=True)
class Findings:
    """Everything that a recommendation weighs."""

    model: str
    verdict: Assessment
    measures: Measures
    drift: Drift | None
    comparison: CardComparison
    selection: LabelSelection
    slices: Slices | None
    signs: tuple[EarlyWarning, ...]
    served_elsewhere: bool = False


@dataclass(frozen=True)
class Recommendation:
    """`worried`: the answer in a sentence; `why`: the verdict; `evidence` and `what_to_do`: sentences."""

    status: Status
    worried: str
    why: str
    evidence: tuple[str, ...]
    what_to_do: tuple[str, ...]


def recommend(found: Findings) -> Recommendation:
    """Put the findings into words."""
    status = found.verdict.status
    return Recommendation(
        status=status,
        worried=WORRIES[status],
        why=found.verdict.sentence,
        evidence=tuple(_evidence(found)),
        what_to_do=tuple(_actions(found)),
    )


def _evidence(found: Findings) -> Iterator[str]:
    if found.drift and found.drift.alarm:
        yield describe_alarm(found.drift.alarm)
    if found.slices:
        yield from _worst_slices(found.slices)
    yield from _against_card(found.comparison)
    yield from _labels(found.selection)
    yield from (sign.sentence for sign in found.signs if sign.raised)


def _worst_slices(slices: Slices) -> Iterator[str]:
    for each in slices.significant[:_WORST]:
        yield (
            f"{each.name}: confidence {_way(each.signed_gap)} accuracy by {_points(abs(each.signed_gap))} in "
            f"{each.n:,} labels, by at least {_points(each.at_least)} though {slices.tested} slices were looked at."
        )


def describe_alarm(detail: dict[str, Any]) -> str:
    """An alarm event's detail in a sentence or two."""
    where = {"all": "all answers", "bin": "answers with confidence in", "class": "answers that say"}
    named = f" {detail['name']}" if detail.get("name") else ""
    way = "surer than right" if detail["direction"] == "over" else "right more often than sure"
    sentence = f"The alarm came at label {detail['labels']:,}, from {where[detail.get('stream', 'all')]}{named}: {way}."
    since = detail.get("since")
    if not since:
        return sentence
    served = f", of an answer served on {_day(since['served_at_ns'])}" if since.get("served_at_ns") else ""
    return (
        f"{sentence} It began about label {since['label']:,} (95 %: {since['lower']:,} to {since['upper']:,}){served}."
    )


def _against_card(comparison: CardComparison) -> Iterator[str]:
    gap, accuracy = comparison.signed_gap, comparison.accuracy
    if gap.significant:
        yield (
            f"Against the card's reference, confidence minus accuracy moved from {_points(gap.reference)} to "
            f"{_points(gap.live)}; that is more than chance."
        )
    if accuracy.significant:
        word = "fell" if accuracy.difference < 0 else "rose"
        yield f"Accuracy {word} from {_percent(accuracy.reference)} to {_percent(accuracy.live)} against the reference."


def _labels(selection: LabelSelection) -> Iterator[str]:
    if math.isfinite(selection.coverage):
        yield f"Labels cover {_percent(selection.coverage)} of answers."
    audit = selection.audit
    if audit and audit.labeled >= FEW_LABELS:
        yield (
            f"The random audit ({audit.labeled:,} labels) says: ECE {audit.ece:.3f} where chance would make it "
            f"{audit.noise_floor:.3f}, gap {_points(audit.signed_gap)} ({_points(audit.signed_gap_lower)} to "
            f"{_points(audit.signed_gap_upper)}). Believe it before all other figures."
        )


def _actions(found: Findings) -> Iterator[str]:
    status, model = found.verdict.status, found.model
    if status is Status.ALARM:
        yield from _against_drift(found)
    elif status is Status.OFF:
        yield "Go on labeling: the alarm comes by itself if this is real. Look at the slices to see whom it concerns."
    elif status in (Status.EARLY, Status.NO_LABELS):
        yield (
            f"Label {FEW_LABELS} answers or more; about {_labels_for(found.measures, 0.05):,} tell confidence minus "
            "accuracy to within 5 points."
        )
    else:
        yield "Nothing; look again when the alarm comes, or when you have new labels."
    if found.selection.audit is None and found.selection.coverage < _THIN and found.measures.n:
        yield (
            "Few answers have labels, and nobody knows how they were chosen. Set CANDOR_AUDIT_SHARE and label every "
            'answer that says "audit": true; see docs/how-to/audits.md.'
        )
    if any(sign.raised for sign in found.signs):
        yield f"Images or patients of {model} have changed: ask for labels of recent answers before you trust old ones."


def _against_drift(found: Findings) -> Iterator[str]:
    drift, model = found.drift, found.model
    since = (drift.alarm or {}).get("since") if drift else None
    last = ""
    if drift and since:
        yield f"Find out what changed about label {since['label']:,}: device, protocol, ward, patients, software."
        last = f" --last {max(drift.labels - since['label'] + 1, FEW_LABELS)}"
    if found.comparison.accuracy.significant and found.comparison.accuracy.difference < 0:
        yield (
            "Accuracy fell: a new temperature makes confidence honest again, not answers right. If that is not enough, "
            f"roll back (`candor promote {model} VERSION`) or train anew."
        )
    yield from _opposite_classes(found.slices)
    if found.served_elsewhere:
        yield "Recalibrate it on the labels since then where it is served, and log its answers as a new version."
    else:
        commands = f"`candor recalibrate {model}{last}`; `candor promote {model} VERSION`"
        yield f"Recalibrate on the labels since then, {commands}."
    yield f"Or mend the cause and `POST /calibration/{model}/acknowledge` with a note; the watch begins anew."


def _opposite_classes(slices: Slices | None) -> Iterator[str]:
    """Classes that err in opposite directions, which one temperature cannot repair together."""
    classes = [each for each in (slices.significant if slices else ()) if each.name.startswith("predicted:")]
    over, under = ([each for each in classes if sign * each.signed_gap > 0] for sign in (1, -1))
    if over and under:
        yield (
            f"A new temperature moves all classes alike, but {over[0].name} is too sure and {under[0].name} too "
            "modest: it will repair the mean and leave both. Expect some error to stay, or train anew on such images."
        )


def _labels_for(measures: Measures, half_width: float) -> int:
    """Labels until the 95 % interval of the gap is that narrow."""
    p = measures.mean_confidence if math.isfinite(measures.mean_confidence) else 0.8
    return math.ceil((1.96 / half_width) ** 2 * max(p * (1 - p), 0.01))


def _way(gap: float) -> str:
    return "exceeds" if gap >= 0 else "falls short of"


def _points(value: float) -> str:
    return f"{100 * value:.1f} points"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _day(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, tz=UTC).strftime("%d %B %Y").lstrip("0")
