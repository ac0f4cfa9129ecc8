"""A recalibration in words before it is published, for terminal, file and pages."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from calibration.bins import BinSums, FloatArray
from calibration.calibrators.remedies import REMEDIES, title_of
from calibration.diagnosis.facts import AnswerGroup, GroupEffect
from calibration.diagnosis.groups import ALL
from calibration.diagnosis.remedies import FEWEST_NAMED
from calibration.measures.metrics import chance_limit
from calibration.measures.reliability import ReliabilityBin, reliability
from calibration.wording import counted, percent, points
from monitoring.diagnosis.phrases import group_words
from monitoring.diagnosis.vocabulary import terms
from monitoring.recalibration.draft import Recalibration, harm
from monitoring.recalibration.proposal import Proposal

_LARGE = 0.05  # a gap that is worth mending
_SAME = 0.005  # a gap that moves by less is unchanged


class Fate(StrEnum):
    """What becomes of a group's gap, in the order in which groups are shown."""

    MENDED = "mended"
    WORSE = "worse"
    MOVED = "moved"
    UNCHANGED = "unchanged"


def fate_of(effect: GroupEffect) -> Fate:
    """Whether a remedy mends a group, which had a gap beyond chance, or makes it worse.

    A share of n answers errs by chance by at most 1 / sqrt(n), with 95 %.
    """
    if effect.harms:
        return Fate.WORSE
    if abs(effect.after - effect.before) < _SAME:
        return Fate.UNCHANGED
    large = abs(effect.before) >= max(_LARGE, effect.n**-0.5)
    return Fate.MENDED if large and abs(effect.after) <= abs(effect.before) / 2 else Fate.MOVED


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
    def fates(self) -> list[tuple[Fate, GroupEffect]]:
        """What becomes of each group: the mended first, then those that get worse; of these, whom
        the remedy changes, then the largest change.
        """
        order, found = list(Fate), [(self._fate(each), each) for each in self.proposal.effects]

        def place(each: tuple[Fate, GroupEffect]) -> tuple[int, bool, float]:
            fate, effect = each
            is_other = effect.group != self.proposal.group
            return order.index(fate), is_other, -abs(effect.after - effect.before)

        return sorted(found, key=place)

    def _fate(self, effect: GroupEffect) -> Fate:
        """That of a group; of those whom the headline names, what the headline says."""
        fate, named = fate_of(effect), self.proposal.group or AnswerGroup(ALL)
        if fate in (Fate.WORSE, Fate.UNCHANGED) or effect.group != named:
            return fate
        return Fate.MENDED if self.mends else Fate.MOVED

    @property
    def mends(self) -> bool:
        """Whether an error beyond chance is halved, or no more than chance is left of it."""
        before, after = self.proposal.before.ece, self.proposal.after.ece
        erred = before > chance_limit(self._sums(self.proposal.served))
        return erred and after <= max(before / 2, self._limit)

    @property
    def _limit(self) -> float:
        return chance_limit(self._sums(self.proposal.probabilities))

    @property
    def headline(self) -> str:
        """Whom it mends, and whom it makes worse."""
        said = terms(self.finding)
        who = group_words(self.proposal.group or AnswerGroup(ALL), said)
        harmed = [group_words(each.group, said) for each in self.proposal.harmed]
        better = self.proposal.after.ece < self.proposal.before.ece
        done = (
            f"Mends {who}"
            if self.mends
            else f"Mends {who} only in part"
            if better
            else f"Does not mend {who}"
        )
        if not harmed:
            return done
        if len(harmed) == 1:
            return f"{done}; {harmed[0]} gets worse"
        return f"{done}; {len(harmed)} groups get worse"

    @property
    def outcome(self) -> str:
        """The headline's figures, and whom nothing happens to."""
        before, after = self.proposal.before, self.proposal.after
        alike = sum(fate is Fate.UNCHANGED for fate, _ in self.fates)
        rest = f" {counted(alike, 'group')} stay as they are." if alike > 1 else ""
        none = (
            ""
            if self.proposal.harmed
            else f" No group with {FEWEST_NAMED} labels or more gets worse beyond chance."
        )
        return (
            f"Calibration error (ECE) {percent(before.ece)} → {percent(after.ece)} on "
            f"{counted(self.proposal.held_out, 'label')} that it has not seen; chance alone makes "
            f"up to {percent(self._limit)}. {self.changes}{none}{rest}"
        )

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
        return reliability(self._sums(self.proposal.served))

    @property
    def recalibrated(self) -> list[ReliabilityBin]:
        return reliability(self._sums(self.proposal.probabilities))

    @property
    def notes(self) -> list[str]:
        """What has to be known before the version is promoted, each a sentence."""
        return [_sentence(note) for note in _notes(self.done)]

    @property
    def warnings(self) -> list[str]:
        """What a person must accept before it is published, each a sentence."""
        return [_sentence(each) for each in _warnings(self.done)]

    def _sums(self, probabilities: FloatArray) -> BinSums:
        claimed = self.proposal.claim.stated(probabilities, self.proposal.true_classes)
        return BinSums.from_predictions(*claimed)


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
            "predicted class. A preview with {parameter('allow_label_changes', True)} shows it."
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
    yield from done.dropped


def _warnings(done: Recalibration) -> Iterator[str]:
    if (worse := harm(done)) is not None:
        yield worse
    if not done.fair_labels:
        yield (
            "nothing shows how these labels were chosen. If wrong answers are labeled more often "
            "than right ones, the fit is wrong too. A random audit (CANDOR_AUDIT_SHARE) excludes "
            "that."
        )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
