"""The next version: the parent's graph with another calibrator, and a card that says how."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from calibration.calibrators.remedies import REMEDIES
from calibration.wording import call
from model_store.bundle.bundle import Bundle, write_bundle
from model_store.bundle.card import Card
from model_store.bundle.graph import with_calibrator
from model_store.bundle.probing import make_probes, problem_here
from model_store.store.store import Store
from monitoring.diagnosis.reading import read_inferred
from monitoring.errors import RecalibrationHarms, RecalibrationRefused
from monitoring.ledger.database import Ledger
from monitoring.ledger.versions import load
from monitoring.recalibration.answers import (
    AnswerFilter,
    labeled_answers,
)
from monitoring.recalibration.claims import question_of
from monitoring.recalibration.draft import Recalibration, harm, require_fair_labels
from monitoring.recalibration.effects import effects_of
from monitoring.recalibration.finding import in_presence, together
from monitoring.recalibration.next_card import next_card
from monitoring.recalibration.outcomes import note
from monitoring.recalibration.promises import referred_share
from monitoring.recalibration.proposal import Proposal, propose
from monitoring.recalibration.representative import find_uneven_labels
from monitoring.recalibration.subgroup import find_uneven_labels_in
from monitoring.recalibration.subgroup_card import calibrator_of
from monitoring.reports.recalibrations import PUBLISHED


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
    accept_harm: bool = False,
    publish: bool = True,
    by: Literal["person", "alarm"] = "person",
    onto: Recalibration | None = None,
    compared: Callable[[int, int], object] = lambda _done, _total: None,
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
        accept_harm: publish although the remedy makes a subgroup worse (`Proposal.harmed`).
        publish: False for a preview, which needs no fair labels and can be published later by
            `publish_draft`. Nothing is promoted either way.
        by: whose idea it was, for the card.
        onto: a draft of another finding of this version, whose remedy the next version has too.
        compared: as of `calibration.calibrators.remedies.choose`.

    Raises RecalibrationRefused if another recalibration of the version waits for promotion, the
    version never served with this ledger, `propose` refuses, or the labels may be chosen;
    RecalibrationHarms; FindingNeeded and FindingUnknown; and the store's
    errors for a bundle that is missing or damaged.
    """
    parent = store.read(model, version)
    _require_none_waits(store, parent.card)
    chosen = answer_filter or AnswerFilter()
    with ledger.read() as connection:
        question = question_of(parent.card, finding)
        answers = labeled_answers(connection, question, chosen, min_labels=min_labels)
        uneven, (row,) = None, load(connection, [answers.watched_version_id])
        correlation = read_inferred(ledger, connection, row).inference.patient_correlation
        if not chosen_labels and chosen.prediction_ids is None:
            is_all = dataclasses.replace(chosen, until_feedback_id=None) == AnswerFilter()
            since_ns = None if is_all else answers.served_since_ns
            if chosen.group is None:
                uneven = find_uneven_labels(connection, row, since_ns=since_ns)
            else:
                uneven = find_uneven_labels_in(connection, row, chosen.group, since_ns=since_ns)
    proposal = propose(
        answers,
        question,
        min_labels=min_labels,
        uneven=uneven,
        allow_label_changes=allow_label_changes,
        group=chosen.group,
        compared=compared,
    )
    remedy, classes = REMEDIES[proposal.remedy], question.classes
    effects = effects_of(
        answers, remedy, classes=classes, correlation=correlation, group=chosen.group
    )
    proposal = dataclasses.replace(proposal, effects=effects)
    card, dropped = next_card(parent.card, proposal, recalibrated_by=by)
    card = together(parent.card, onto.card, card) if onto else card
    ends = [question_of(each, finding).asked for each in (parent.card, card)]
    for before, after in zip(*ends, strict=True):
        proposal = in_presence(proposal, before, after)
    drafted = Recalibration(
        card,
        parent.card.version,
        answers.watched_version_id,
        calibrator_of(question, chosen.group).temperature,
        proposal,
        answers.are_fair,
        answers.coverage,
        dropped,
        parent.digest,
        answers.until_feedback_id,
        _referred(question, question_of(card, finding), proposal),
    )
    if not publish:
        return drafted
    if not chosen_labels:
        require_fair_labels(drafted)
    return publish_draft(ledger, store, drafted, accept_harm=accept_harm)


def _referred(parent: Card, card: Card, proposal: Proposal) -> tuple[float, float] | None:
    """Shares of the held-out answers that are referred, before and after.

    None where nothing is promised, and where subgroups have thresholds of their own beside a remedy
    for all.
    """
    group, known = proposal.group, parent.calibration.subgroups or ()
    if parent.referral is None or (group is None and known):
        return None
    promises, without = [parent.referral, card.referral], 0.0
    if group is not None:  # a subgroup of which nothing can be promised is referred as a whole
        own = calibrator_of(parent, group)
        ends = (*(each for each in known if each is own), *(card.calibration.subgroups or ())[-1:])
        promises, without = [parent.referral, *(each.referral for each in ends)][-2:], 1.0
    sides = zip(promises, (proposal.served, proposal.probabilities), strict=True)
    before, after = (referred_share(each, p, without=without) for each, p in sides)
    return before, after


def _require_none_waits(store: Store, parent: Card) -> None:
    """Refuse while a recalibration of the version is neither promoted, retired, nor was tried."""
    name = parent.name
    state = store.state(name)
    over = state.tried | state.retired.keys()
    for version in store.versions(name):
        if version <= parent.version or version in over:
            continue
        made = store.read(name, version, signed=False).card.provenance
        if made.parent_version == parent.version:
            raise RecalibrationRefused(
                f"Version {version}, a recalibration of version {parent.version}, waits for "
                f"promotion. Promote it (`{call('promote', name, version)}`), or retire it "
                f"(`candor models retire {name} {version}`), first."
            )


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


def _build(folder: Path, version: int, parent: Bundle, drafted: Card) -> None:
    card = drafted.model_copy(update={"version": version})
    graph = next_graph(parent, card)
    probes = make_probes(graph, card.input.spec)
    write_bundle(
        folder,
        card=card,
        onnx=graph,
        probes=probes,
        trained_on=parent.trained_on,
    )


def next_graph(parent: Bundle, card: Card) -> bytes:
    """Return the model file. If no calibrator in the graph changes, it is the same to the byte, as
    where only a subgroup's calibrator is new, which follows the graph.
    """
    numbers = card.initializers
    if numbers == parent.card.initializers:
        return parent.onnx
    return with_calibrator(parent.onnx, **numbers._asdict())
