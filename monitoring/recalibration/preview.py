"""A recalibration in words and figures before it is published, for terminal, file and pages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from calibration.bins import BinSums, FloatArray
from calibration.calibrators.remedies import REMEDIES, RemedyChoice, title_of
from calibration.diagnosis.facts import GroupEffect
from calibration.measures.reliability import ReliabilityBin, reliability
from calibration.measures.summary import Measures
from calibration.wording import counted, points
from monitoring.diagnosis.vocabulary import terms
from monitoring.recalibration.draft import Recalibration, harm
from monitoring.recalibration.proposal import ClassChange, Proposal


@dataclass(frozen=True, kw_only=True)
class RecalibrationPreview:
    """A recalibration before it is published, or just after.

    Attributes:
        title: names model and version.
        finding: that it is about; '' of exclusive classes.
        sentence: which remedy was chosen, on which labels.
        changes: what it does to predicted classes, in a sentence.
        choice: how the remedies compared.
        held_out: labels that were not used to fit; all that follows is measured on them.
        before, after: measures as served and recalibrated.
        served, recalibrated: the bins of the reliability diagrams.
        classes: what it does to each class.
        effects: what it does to each subgroup.
        notes: what has to be known before the version is promoted, each a sentence.
    """

    title: str
    finding: str
    sentence: str
    changes: str
    choice: RemedyChoice
    held_out: int
    before: Measures
    after: Measures
    served: Sequence[ReliabilityBin]
    recalibrated: Sequence[ReliabilityBin]
    classes: Sequence[ClassChange]
    effects: Sequence[GroupEffect]
    notes: Sequence[str]


def preview_of(done: Recalibration) -> RecalibrationPreview:
    """Return what to show of a recalibration, a draft or published."""
    proposal = done.proposal
    return RecalibrationPreview(
        title=f"Recalibration of {done.title} version {done.parent_version}",
        finding=done.proposal.claim.finding,
        sentence=_sentence(done),
        changes=_changes(proposal),
        choice=proposal.choice,
        held_out=proposal.held_out,
        before=proposal.before,
        after=proposal.after,
        served=_reliability(proposal.served, proposal),
        recalibrated=_reliability(proposal.probabilities, proposal),
        classes=proposal.classes,
        effects=proposal.effects,
        notes=[f"{note[:1].upper()}{note[1:]}" for note in _notes(done)],
    )


def _sentence(done: Recalibration) -> str:
    """Say which remedy was chosen, on which labels."""
    proposal = done.proposal
    title = title_of(proposal.remedy, of_one=terms(proposal.claim.finding).of_one)
    labels = "labels of the random audit" if proposal.audited else "labels"
    return (
        f"{title[:1].upper()}{title[1:]} was fitted on {proposal.fitted_on:,} {labels} of version "
        f"{done.parent_version}{_only(done)} (temperature {done.old_temperature:.3f} -> "
        f"{done.new_temperature:.3f}). The other {proposal.held_out:,} labels measure what it does."
    )


def _only(done: Recalibration) -> str:
    return "" if done.group is None else f" with {done.group}, for such answers alone"


def _changes(proposal: Proposal) -> str:
    if REMEDIES[proposal.remedy].keeps_argmax and not proposal.claim.may_change:
        return "No predicted class changes, only confidence does."
    finding = proposal.claim.finding
    said = terms(finding).preview.format(
        finding=finding,
        changed=proposal.changed,
        answers=counted(proposal.held_out, "held-out answer"),
    )
    return f"{said} Whether its sensitivity and specificity are acceptable is a clinical decision."


def _notes(done: Recalibration) -> Iterator[str]:
    """Yield what has to be known before the version is promoted."""
    proposal = done.proposal
    if done.continues:
        yield (
            f"it keeps what version {done.continues}, which waits for promotion, changed "
            f"elsewhere. `candor models retire {done.card.name} {done.continues}` leaves that out"
        )
    if done.omits:
        yield (
            f"it lacks what version {done.omits}, which waits for promotion, changed: the two "
            "cannot be combined. For both, promote that version first, and recalibrate on its "
            "answers"
        )
    if proposal.aside:
        yield (
            f"it rests on {counted(proposal.labels, 'truth')}; "
            f"{counted(proposal.aside, 'label')} of proxies, second readers and ignored sources, "
            "or that say uncertain, were not used"
        )
    if proposal.choice.better is not None:
        yield (
            f"{REMEDIES[proposal.choice.better].title} would improve more, but may change the "
            "predicted class. A preview that allows label changes (`--allow-label-changes`) shows "
            "it."
        )
    gap = next(
        trial.classwise_gap for trial in proposal.choice.trials if trial.name == proposal.remedy
    )
    if gap > proposal.choice.served_classwise_gap:
        yield (
            "the largest error of a class rises from "
            f"{points(proposal.choice.served_classwise_gap)} to {points(gap)}. Retrain, or label "
            "more answers of that class."
        )
    if (worse := harm(done)) is not None:
        yield worse
    if not done.fair_labels:
        yield (
            "nothing shows how these labels were chosen. If wrong answers are labeled more often "
            "than right ones, the fit is wrong too. A random audit (CANDOR_AUDIT_SHARE) excludes "
            "that."
        )
    yield from done.dropped


def _reliability(probabilities: FloatArray, proposal: Proposal) -> list[ReliabilityBin]:
    claimed = proposal.claim.stated(probabilities, proposal.true_classes)
    return reliability(BinSums.from_predictions(*claimed))
