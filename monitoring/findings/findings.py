"""What a recommendation rests on, and what follows from several findings together."""

from dataclasses import dataclass
from typing import Any

from calibration.measures.summary import Measures
from monitoring.findings.accuracy import AccuracyVerdict
from monitoring.findings.comparison import CardComparison
from monitoring.findings.drift import Drift, TagDrift, TagWatches
from monitoring.findings.early_warnings import EarlyWarning
from monitoring.findings.label_advice import RIVAL_WORRIES, selection_is_rival
from monitoring.findings.looks import GapAtEveryLook
from monitoring.findings.phrases import answers_in_slice
from monitoring.findings.selection import COMPLETE, LabelSelection
from monitoring.findings.slices import Slices
from monitoring.findings.status import Assessment, Status, is_more_than_chance

# Of the labels. An alarm takes a z of sqrt(2 * 11.5) = 4.8; an error of three quarters of all
# labels leaves 4.1 of it.
MOST = 0.75


@dataclass(frozen=True)
class Findings:
    """All findings about a version.

    `served_elsewhere`: the model's answers were logged, not served by Candor. `recalibration`: what
    became of the last recalibration since the active alarm of all answers, the detail of its event.
    `reference`: what the card measured.
    """

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
    tag_watches: TagWatches | None = None
    recalibration: dict[str, Any] | None = None
    reference: Measures | None = None

    @property
    def status(self) -> Status:
        """The status in one word."""
        return self.assessment.status

    @property
    def is_whole_alarm(self) -> bool:
        """Whether the drift alarm of all answers is active."""
        return self.drift is not None and self.drift.active

    @property
    def card_gap(self) -> float | None:
        """The card's own gap, if it shows the error that raised the alarm beyond chance."""
        alarm, card = (self.drift.alarm if self.drift else None), self.reference
        if alarm is None or card is None:
            return None
        over = alarm["direction"] == "over"
        return (
            card.signed_gap
            if (card.signed_gap_lower > 0 if over else card.signed_gap_upper < 0)
            else None
        )

    @property
    def tag_alarms(self) -> tuple[TagDrift, ...]:
        """The watches of tags with an active alarm."""
        return self.tag_watches.active if self.tag_watches else ()

    @property
    def is_rival(self) -> bool:
        """Whether the choice of the labels competes with other causes of what they show."""
        audited = [self.drift.alarm_audit] if self.drift is not None and self.drift.active else []
        audited += [each.alarm_audit for each in self.tag_alarms]
        alarm_audit = bool(audited) and all(audited)
        return self.status in RIVAL_WORRIES and selection_is_rival(
            self.selection, alarm_audit=alarm_audit
        )

    @property
    def is_cleared(self) -> bool:
        """Whether the alarm of all answers is active, but fair labels no longer show an error."""
        if (
            not self.is_whole_alarm
            or self.tag_alarms
            or is_more_than_chance(self.measures, self.selection)
        ):
            return False
        return self._is_cleared_by_audit or self.is_cleared_by_all

    @property
    def is_cleared_by_all(self) -> bool:
        """Whether (almost) all answers have a label, and these show no more than chance.

        The alarm was then raised by the order in which labels came, by labels that have been
        corrected, or by an error that ended. An alarm about the latest labels is never cleared so:
        the good time before would hide the error.
        """
        drift = self.drift
        return (
            drift is not None
            and (drift.labels_since_onset() or 0) >= MOST * drift.labels
            and self.selection.coverage >= COMPLETE
            and self.measures.n == drift.labels
            and self.slices is not None
            and not self.slices.significant
        )

    @property
    def _is_cleared_by_audit(self) -> bool:
        """Whether chosen labels raised the alarm, and a whole audit decides."""
        chosen = self.drift is not None and not self.drift.alarm_audit
        return chosen and self.selection.audit_decides and self.selection.is_fair

    @property
    def is_silent(self) -> bool:
        """Whether the watch uses audited answers only, and none is drawn."""
        return self.drift is not None and self.drift.audit and self.selection.audit is None

    @property
    def exception(self) -> str:
        """What chance does not explain although it explains the whole, as a clause; or nothing."""
        if self.status not in (Status.OK, Status.PARTLY):
            return ""
        if self.slices and self.slices.significant:
            return (
                "it does not explain the error in "
                f"{answers_in_slice(self.slices.significant[0].name)}"
            )
        if self.comparison.signed_gap_as_served.significant:
            return "confidence minus accuracy differs from the card's by more than chance explains"
        return ""
