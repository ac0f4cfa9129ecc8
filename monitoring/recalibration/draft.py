"""A recalibration that is published or only drafted: its proposal, its card and what speaks against
it.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any

from calibration.measures.summary import Measures
from calibration.wording import counted, parameter, percent, points
from model_store.bundle.card import Card
from monitoring.errors import RecalibrationRefused
from monitoring.ledger.watched_version import named, title_of
from monitoring.recalibration.claims import question_of
from monitoring.recalibration.proposal import Proposal
from monitoring.recalibration.subgroup import name_of
from monitoring.recalibration.subgroup_card import calibrator_of


@dataclass(frozen=True)
class Recalibration:
    """A proposal with its card, published or only drafted.

    Attributes:
        card: of the next version; of a draft it still has the parent's version number.
        parent_version: the version that served the labeled answers.
        watched_version_id: that version in the ledger.
        proposal: the remedy and what it does.
        fair_labels: whether the choice of the labels explains little; see
            `LabeledAnswers.are_fair`.
        coverage: share of the answers of that time, or of those drawn for an audit, that have a
            label.
        dropped: promises of the parent's card that the new one cannot make, each a sentence.
        parent_digest: of the bundle that served the answers.
        until_feedback_id: the last label that was used.
        referred: shares of the held-out answers that are referred, before and after; None where the
            card promises no accuracy.
    """

    card: Card
    parent_version: int
    watched_version_id: int
    old_temperature: float
    proposal: Proposal
    fair_labels: bool
    coverage: float
    dropped: tuple[str, ...]
    parent_digest: str
    until_feedback_id: int
    referred: tuple[float, float] | None

    @property
    def fingerprint(self) -> str:
        """A value that differs if another bundle, label or choice leads to another version."""
        proposal = self.proposal
        measured = (self.before.ece, self.after.ece, self.after.accuracy)
        numbers = (*proposal.affine.weight, *proposal.affine.bias, *measured)
        parts = (
            *(self.title, self.group, self.parent_version, self.parent_digest),
            *(proposal.remedy, proposal.labels, proposal.held_out),
            *(proposal.changed, proposal.audited),
            *(f"{number:.6g}" for number in numbers),
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    @property
    def group(self) -> str | None:
        """Whom it changes, such as `site=B, site=E`; None: everybody."""
        return None if self.proposal.group is None else name_of(self.proposal.group)

    @property
    def title(self) -> str:
        return title_of(self.card.name, self.proposal.claim.finding)

    @property
    def question(self) -> Card:
        return question_of(self.card, self.proposal.claim.finding)

    @property
    def new_temperature(self) -> float:
        """The temperature in the new graph, or of the subgroup's calibrator."""
        return calibrator_of(self.question, self.proposal.group).temperature

    @property
    def labels(self) -> int:
        """How many labels were used, to fit or to measure."""
        return self.proposal.labels

    @property
    def before(self) -> Measures:
        return self.proposal.before

    @property
    def after(self) -> Measures:
        return self.proposal.after

    @property
    def _facts(self) -> dict[str, Any]:
        """What the history and JSON say alike."""
        proposal = self.proposal
        return {
            "parent_version": self.parent_version,
            "group": self.group,
            "finding": None,
            "remedy": proposal.remedy,
            "labels": proposal.labels,
            "aside": proposal.aside,
            "fitted_on": proposal.fitted_on,
            "held_out": proposal.held_out,
            "audited": proposal.audited,
            "fair_labels": self.fair_labels,
            "changed": proposal.changed,
            "harmed": [name_of(each.group) for each in proposal.harmed],
            "dropped": list(self.dropped),
        } | named(proposal.claim.finding)

    def outcome(self, outcome: str) -> dict[str, Any]:
        return self._facts | {
            "outcome": outcome,
            "model": self.card.name,
            "by": self.card.provenance.recalibrated_by,
            "temperature": [self.old_temperature, self.new_temperature],
            "class_bias": calibrator_of(self.question, self.proposal.group).class_bias,
            "ece": [self.before.ece, self.after.ece],
            "noise_floor": self.after.noise_floor,
        }

    def as_dict(self) -> dict[str, Any]:
        return self._facts | {
            "card": self.card.model_dump(mode="json"),
            "coverage": self.coverage,
            "choice": dataclasses.asdict(self.proposal.choice),
            "old_temperature": self.old_temperature,
            "new_temperature": self.new_temperature,
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "referred": self.referred,
            "classes": [dataclasses.asdict(each) for each in self.proposal.classes],
            "effects": [dataclasses.asdict(each) for each in self.proposal.effects],
        }


def harm(drafted: Recalibration) -> str | None:
    """Say which subgroups a draft makes worse, and what to do; None if it harms none."""
    if not (harmed := drafted.proposal.harmed):
        return None
    named = "; ".join(
        f"{name_of(each.group)} from {points(each.before)} to {points(each.after)}"
        for each in harmed
    )
    return (
        f"This remedy makes {counted(len(harmed), 'subgroup')} worse, confidence minus accuracy: "
        f"{named}. Recalibrate only those who need it ({parameter('for_')}), or confirm it "
        f"({parameter('accept_harm', True)})."
    )


def require_fair_labels(drafted: Recalibration) -> None:
    """Raise RecalibrationRefused if nothing shows how the labels were chosen."""
    if drafted.fair_labels:
        return
    of = (
        "the answers drawn for the audit"
        if drafted.proposal.audited
        else "the answers of that time"
    )
    raise RecalibrationRefused(
        f"{percent(drafted.coverage)} of {of} have a label, and nothing shows how these were "
        "chosen. Where wrong answers are labeled more often than right ones, a fit makes a "
        "calibrated model worse. A preview shows it. Label what is missing or a random audit "
        f"(CANDOR_AUDIT_SHARE), or accept chosen labels ({parameter('chosen_labels', True)}) if "
        "you know that the labeled answers are a fair sample."
    )
