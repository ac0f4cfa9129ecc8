"""A recalibration in words before it is published, for terminal, file and pages."""

from collections.abc import Iterator
from dataclasses import dataclass

from calibration.bins import BinSums, FloatArray
from calibration.calibrators.remedies import REMEDIES, title_of
from calibration.measures.reliability import ReliabilityBin, reliability
from calibration.wording import counted, points
from monitoring.diagnosis.vocabulary import terms
from monitoring.recalibration.draft import Recalibration, harm
from monitoring.recalibration.proposal import Proposal


@dataclass(frozen=True)
class RecalibrationPreview:
    """A recalibration before it is published, or just after: `done` in words, and its bins."""

    done: Recalibration

    @property
    def proposal(self) -> Proposal:
        return self.done.proposal

    @property
    def finding(self) -> str:
        """That it is about; '' of exclusive classes."""
        return self.proposal.claim.finding

    @property
    def title(self) -> str:
        return f"Recalibration of {self.done.title} version {self.done.parent_version}"

    @property
    def sentence(self) -> str:
        """Which remedy was chosen, on which labels."""
        done, proposal = self.done, self.proposal
        title = title_of(proposal.remedy, of_one=terms(self.finding).of_one)
        labels = "labels of the random audit" if proposal.audited else "labels"
        only = "" if done.group is None else f" with {done.group}, for such answers alone"
        return (
            f"{title[:1].upper()}{title[1:]} was fitted on {proposal.fitted_on:,} {labels} of "
            f"version {done.parent_version}{only} (temperature {done.old_temperature:.3f} -> "
            f"{done.new_temperature:.3f}). The other {proposal.held_out:,} labels measure what it "
            "does."
        )

    @property
    def changes(self) -> str:
        """What it does to predicted classes, in a sentence."""
        proposal = self.proposal
        if REMEDIES[proposal.remedy].keeps_argmax and not proposal.claim.may_change:
            return "No predicted class changes, only confidence does."
        said = terms(self.finding).preview.format(
            finding=self.finding,
            changed=proposal.changed,
            answers=counted(proposal.held_out, "held-out answer"),
        )
        return (
            f"{said} Whether its sensitivity and specificity are acceptable is a clinical decision."
        )

    @property
    def served(self) -> list[ReliabilityBin]:
        return self._reliability(self.proposal.served)

    @property
    def recalibrated(self) -> list[ReliabilityBin]:
        return self._reliability(self.proposal.probabilities)

    @property
    def notes(self) -> list[str]:
        """What has to be known before the version is promoted, each a sentence."""
        return [f"{note[:1].upper()}{note[1:]}" for note in _notes(self.done)]

    def _reliability(self, probabilities: FloatArray) -> list[ReliabilityBin]:
        claimed = self.proposal.claim.stated(probabilities, self.proposal.true_classes)
        return reliability(BinSums.from_predictions(*claimed))


def _notes(done: Recalibration) -> Iterator[str]:
    """Yield what has to be known before the version is promoted."""
    proposal = done.proposal
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
