"""The evidence of a recommendation, as sentences."""

from collections.abc import Iterator

from calibration.wording import counted
from monitoring.findings.accuracy import AccuracyAnswer
from monitoring.findings.alarm import describe_alarm
from monitoring.findings.audit import FEW_LABELS
from monitoring.findings.comparison import CardComparison
from monitoring.findings.findings import Findings
from monitoring.findings.label_advice import describe_labels, rival_cause
from monitoring.findings.looks import GapAtEveryLook
from monitoring.findings.phrases import answers_in_slice, percent, points
from monitoring.findings.selection import LabelSelection
from monitoring.findings.slices import Slice
from monitoring.findings.status import Status
from monitoring.findings.unchecked import FEW_IN_SLICE

_SLICE_LIMIT = 3  # slices named as evidence
_TAG_LIMIT = 3  # alarms of tags that are described
_SMALLEST_POINTS = 0.0005  # what rounds to 0.0 points is not quoted


def give_evidence(found: Findings) -> Iterator[str]:
    """Say what is known, the most important first."""
    if found.is_rival:
        yield rival_cause(found.selection, signed_gap=found.measures.signed_gap)
    yield from _one_class(found)
    if found.drift and found.drift.alarm:
        yield describe_alarm(found.drift.alarm)
    yield from (
        describe_alarm(each.alarm, each.tag) for each in found.tag_alarms[:_TAG_LIMIT] if each.alarm
    )
    if found.slices:
        yield from (
            _slice(each, found.slices.tested) for each in found.slices.significant[:_SLICE_LIMIT]
        )
    if found.status is Status.OFF:
        yield _often(found.gap_at_every_look)
    if found.accuracy.answer in (AccuracyAnswer.LOWER, AccuracyAnswer.HIGHER):
        yield found.accuracy.sentence
    if found.measures.n >= FEW_LABELS:
        yield from _against_card(found.comparison, found.selection)
    yield from describe_labels(found.selection)
    if found.is_silent:
        yield (
            "The drift watch uses audited answers only, and none was drawn in this window: it "
            "watches nothing."
        )
    yield from (warning.sentence for warning in found.early_warnings if warning.raised)


def _one_class(found: Findings) -> Iterator[str]:
    """That all labels say the same, where they are so many that chance does not do that."""
    classes = found.slices.by_true_class if found.slices else ()
    if len(classes) != 1 or classes[0].n < FEW_IN_SLICE or found.selection.is_fair:
        return
    name = classes[0].name.partition(":")[2]
    yield (
        f'All {classes[0].n:,} labels say "{name}". If only such images get labels, answers of '
        f'"{name}" seem right '
        "more often than their confidence says, and all other answers seem wrong, although nothing "
        "is."
    )


def _slice(each: Slice, tested: int) -> str:
    verb = "exceeds" if each.signed_gap >= 0 else "falls short of"
    comparisons = f"after correcting for {counted(tested, 'comparison')}"
    sure = (
        f"at least {points(each.at_least)}"
        if each.at_least >= _SMALLEST_POINTS
        else "more than chance explains"
    )
    return (
        f"In {answers_in_slice(each.name)}, confidence {verb} accuracy by "
        f"{points(abs(each.signed_gap))} ({counted(each.n, 'label')}): at this look, {sure} "
        f"{comparisons}."
    )


def _against_card(comparison: CardComparison, selection: LabelSelection) -> Iterator[str]:
    gap, accuracy = comparison.signed_gap_as_served, comparison.accuracy_as_served
    if gap.significant:
        yield (
            f"Confidence minus accuracy was {points(gap.reference)} on the card's reference data "
            f"and is now {points(gap.live)}: at this look, a larger change than chance explains."
        )
    if selection.is_fair:
        return
    before = f"Accuracy was {percent(accuracy.reference)} on the card's reference data."
    if accuracy.significant:
        yield (
            f"{before} Weighted by the answers served at each confidence, the labels show "
            f"{percent(accuracy.live)}; a choice of labels by outcome can explain that too."
        )
    elif comparison.accuracy.significant:
        yield (
            f"{before} The labels show {percent(comparison.accuracy.live)}. Those are other "
            "answers than the ones served: their confidence differs, and that alone can explain it."
        )


def _often(gap: GapAtEveryLook | None) -> str:
    """Whether looking often explains an error that shows at this look."""
    if gap is None:
        return (
            "This window moves. Whoever reads it every day sees such an error for most calibrated "
            "models at least once within a year."
        )
    between = f"confidence minus accuracy is between {points(gap.lower)} and {points(gap.upper)}"
    if gap.excludes_zero:
        return f"Looking often does not explain the difference: at every look at once, {between}."
    return (
        "Looking often can explain a difference in the mean: at every look at once, it is only "
        f"sure that {between}."
    )
