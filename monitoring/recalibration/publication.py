"""The next version: the parent's graph with another calibrator, and a card that says how."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection

from calibration.calibrators.remedies import REMEDIES
from calibration.measures.summary import Measures
from calibration.wording import counted, percent
from model_store.bundle.bundle import Bundle, write_bundle
from model_store.bundle.card import Card
from model_store.bundle.probing import make_probes, problem_here
from model_store.store.store import Store
from monitoring.diagnosis.phrases import points
from monitoring.drift import watch
from monitoring.errors import RecalibrationHarms, RecalibrationRefused
from monitoring.ledger.database import Ledger
from monitoring.ledger.versions import load
from monitoring.recalibration.answers import (
    AnswerFilter,
    LabeledAnswers,
    answered_variant,
    labeled_answers,
)
from monitoring.recalibration.effects import effects_of
from monitoring.recalibration.finding import in_presence, question_of
from monitoring.recalibration.next_card import next_card
from monitoring.recalibration.next_graph import next_graph
from monitoring.recalibration.outcomes import note
from monitoring.recalibration.proposal import Proposal, propose
from monitoring.recalibration.representative import find_uneven_labels
from monitoring.recalibration.subgroup import find_uneven_labels_in, name_of
from monitoring.recalibration.subgroup_card import calibrator_of
from monitoring.reports.recalibrations import PUBLISHED


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

    @property
    def fingerprint(self) -> str:
        """A value that differs if another bundle, label or choice leads to another version."""
        proposal, card = self.proposal, self.card
        measured = (self.before.ece, self.after.ece, self.after.accuracy)
        numbers = (*proposal.affine.weight, *proposal.affine.bias, *measured)
        parts = (
            *(self.title, self.group, self.parent_version, self.parent_digest, card.precisions[0]),
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
        """What is recalibrated: the model, or a finding of it."""
        finding = self.proposal.finding
        return f"{self.card.name}: {finding}" if finding else self.card.name

    @property
    def question(self) -> Card:
        """The card of the finding, or the whole one."""
        return question_of(self.card, self.proposal.finding)

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
        """Measures of the held-out answers as served."""
        return self.proposal.before

    @property
    def after(self) -> Measures:
        """Measures of the held-out answers after the remedy."""
        return self.proposal.after

    @property
    def _facts(self) -> dict[str, Any]:
        """What the history and JSON say alike."""
        proposal = self.proposal
        return {
            "parent_version": self.parent_version,
            "group": self.group,
            "finding": proposal.finding or None,
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
        }

    def outcome(self, outcome: str) -> dict[str, Any]:
        """Return the detail of an event in the history."""
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
        """Return plain data for JSON."""
        return self._facts | {
            "card": self.card.model_dump(mode="json"),
            "coverage": self.coverage,
            "choice": dataclasses.asdict(self.proposal.choice),
            "old_temperature": self.old_temperature,
            "new_temperature": self.new_temperature,
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "classes": [dataclasses.asdict(each) for each in self.proposal.classes],
            "effects": [dataclasses.asdict(each) for each in self.proposal.effects],
        }


def recalibrate(
    ledger: Ledger,
    store: Store,
    model: str,
    *,
    version: int | None = None,
    finding: str | None = None,
    answer_filter: AnswerFilter | None = None,
    min_labels: int = 100,
    allow_label_changes: bool = False,
    chosen_labels: bool = False,
    precision: str | None = None,
    accept_harm: bool = False,
    publish: bool = True,
    by: Literal["person", "alarm"] = "person",
) -> Recalibration:
    """Choose a remedy on a version's labeled answers and publish the next version.

    Args:
        version: the one in production by default.
        finding: the one to recalibrate, of a model that has several.
        answer_filter: the labels to fit on; `AnswerFilter(group=read_group("site=B"))` recalibrates
            a subgroup alone.
        allow_label_changes: consider remedies that may change the predicted class.
        chosen_labels: accept labels that look chosen rather than drawn, or of which nothing shows
            how they were chosen.
        precision: of the version whose answers to fit on; None: the one that served last. The new
            version has only it.
        accept_harm: publish although the remedy makes a subgroup worse (`Proposal.harmed`).
        publish: False for a preview, which needs no fair labels and can be published later by
            `publish_draft`. Nothing is promoted either way.
        by: whose idea it was, for the card.

    Raises RecalibrationRefused if the version never served with this ledger, `propose` refuses, or
    the labels may be chosen; RecalibrationHarms; FindingNeeded and FindingUnknown; and the store's
    errors for a bundle that is missing or damaged.
    """
    bundle = store.read(model, version)
    chosen = answer_filter or AnswerFilter()
    with ledger.read() as connection:
        parent = answered_variant(connection, bundle, precision)
        question = question_of(parent.card, finding)
        answers = labeled_answers(connection, question, chosen, min_labels=min_labels)
        uneven = None
        if not chosen_labels and chosen.prediction_ids is None:
            is_all = dataclasses.replace(chosen, until_feedback_id=None) == AnswerFilter()
            since_ns = None if is_all else answers.served_since_ns
            (row,) = load(connection, [answers.watched_version_id])
            if chosen.group is None:
                uneven = find_uneven_labels(
                    connection, row.watched_version_id, finding=row.finding, since_ns=since_ns
                )
            else:
                uneven = find_uneven_labels_in(connection, row, chosen.group, since_ns=since_ns)
        everyone, watched = _everyone(connection, question, chosen, answers, min_labels)
    proposal = propose(
        answers,
        question,
        min_labels=min_labels,
        uneven=uneven,
        allow_label_changes=allow_label_changes,
        group=chosen.group,
    )
    remedy, classes = REMEDIES[proposal.remedy], question.classes
    effects = effects_of(everyone, remedy, classes=classes, watched=watched, group=chosen.group)
    proposal = dataclasses.replace(proposal, effects=effects)
    others = [each for each in bundle.card.precisions if each not in parent.card.precisions[:1]]
    card, dropped = next_card(parent.card, proposal, recalibrated_by=by, other_precisions=others)
    if proposal.finding:
        ends = [question_of(each, finding).findings or () for each in (parent.card, card)]
        proposal = in_presence(proposal, ends[0][0], ends[1][0])
    drafted = Recalibration(
        card,
        parent.card.version,
        answers.watched_version_id,
        calibrator_of(question, chosen.group).temperature,
        proposal,
        answers.are_fair,
        answers.coverage,
        dropped,
        bundle.digest,
        everyone.until_feedback_id,
    )
    if not publish:
        return drafted
    if not chosen_labels:
        require_fair_labels(drafted)
    return publish_draft(ledger, store, drafted, accept_harm=accept_harm)


def _everyone(
    connection: Connection,
    card: Card,
    chosen: AnswerFilter,
    answers: LabeledAnswers,
    min_labels: int,
) -> tuple[LabeledAnswers, tuple[str, ...]]:
    """Return the labeled answers on which effects are measured, and the keys of watched tags.

    Where a subgroup is fitted, these are all answers since the first of the subgroup's.
    """
    watched = watch.load(connection, answers.watched_version_id)
    keys = () if watched is None else watched.tags.keys
    if chosen.group is None or not len(answers.labels):
        return answers, keys
    since = dataclasses.replace(chosen, group=None, last=None, since_ns=answers.served_since_ns)
    return labeled_answers(connection, card, since, min_labels=min_labels), keys


def publish_draft(
    ledger: Ledger,
    store: Store,
    drafted: Recalibration,
    *,
    accept_harm: bool = False,
    as_version: int | None = None,
    by: str | None = None,
    why: str | None = None,
    **detail: Any,
) -> Recalibration:
    """Publish a draft and note that in the parent's history, with further `detail`.

    `as_version`: the number that it must get. Raises RecalibrationRefused if it would get another
    one, since somebody has published a version meanwhile, and RecalibrationHarms if a subgroup gets
    worse, unless `accept_harm`.
    """
    if (worse := harm(drafted)) and not accept_harm:
        raise RecalibrationHarms(worse)
    model = drafted.card.name
    parent = store.read(model, drafted.parent_version, digest=drafted.parent_digest)
    parent = parent.of_variant(drafted.card.precisions[0])
    if differs := problem_here(parent):
        raise RecalibrationRefused(f"{model} version {drafted.parent_version}: {differs}.")

    def build(folder: Path, number: int) -> None:
        if as_version not in (None, number):
            raise RecalibrationRefused(
                f"Somebody has published version {number - 1} meanwhile. Look at it first, and "
                "then again at this one."
            )
        _build(folder, number, parent, drafted.card)

    number = store.publish(model, build, by=by, why=why)
    detail |= {name: text for name, text in (("actor", by), ("note", why)) if text}
    done = dataclasses.replace(drafted, card=store.read(model, number, signed=False).card)
    note(ledger, done.watched_version_id, done.outcome(PUBLISHED) | {"version": number} | detail)
    return done


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
        f"{named}. Recalibrate only those who need it (`--for`), or confirm it (`--accept-harm`)."
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
        "(CANDOR_AUDIT_SHARE), or accept chosen labels (`--chosen-labels`) if you know that the "
        "labeled answers are a fair sample."
    )


def _build(folder: Path, version: int, parent: Bundle, drafted: Card) -> None:
    card = drafted.model_copy(update={"version": version})
    graph = next_graph(parent, card)
    probes = make_probes({card.precisions[0]: graph}, card.input.spec)
    write_bundle(folder, card=card, onnx=graph, probes=probes, trained_on=parent.trained_on)
