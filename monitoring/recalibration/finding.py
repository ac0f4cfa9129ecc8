"""The recalibration of one finding: its calibrator continues in the graph, its threshold is chosen
again by its rule, and its promises are those of the held-out labels. Other findings stay as they
are.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from calibration.bins import BinSums
from calibration.calibrators.affine import Affine
from calibration.conformal import finding_sets
from calibration.findings.calibrator import finding_calibrator
from calibration.findings.thresholds import choose_threshold, operating_point
from calibration.measures.summary import Measures
from model_store.bundle.calibration_card import CalibrationCard, ConformalCard
from model_store.bundle.card import Card
from model_store.bundle.finding_card import FindingCard, finding_card
from monitoring.recalibration.claims import question_of
from monitoring.recalibration.proposal import ClassChange, Proposal
from monitoring.recalibration.subgroup_card import continued_subgroups, with_subgroup

Changes: TypeAlias = tuple[dict[str, Any], list[str]]


def next_answer(
    card: Card, proposal: Proposal, of_classes: Callable[[Card, Proposal], Changes]
) -> Changes:
    """Return what a proposal changes of the card, and what is dropped; `of_classes` says it of
    exclusive classes.
    """
    if not card.has_findings:
        return of_classes(card, proposal)
    changed, dropped = next_finding(card.of_finding(proposal.claim.finding), proposal)
    each = (changed if old.name == changed.name else old for old in card.asked)
    return with_findings(card, tuple(each)), dropped


def next_finding(question: Card, proposal: Proposal) -> tuple[FindingCard, list[str]]:
    """Return what the next card says of a finding, and what it no longer promises."""
    (old,) = question.asked
    if proposal.group is not None:
        calibration, dropped = with_subgroup(question, proposal)
        return old.model_copy(update={"calibration": calibration}), dropped
    p, y = proposal.probabilities[:, 1], proposal.true_classes.astype(np.float64)
    threshold, dropped = _threshold(old, proposal)
    new = finding_card(
        old.name,
        p,
        y,
        split=f"ledger: {proposal.held_out} held out of {proposal.labels} labels of version "
        f"{question.version}",
        calibrator=_continued(old.calibration, proposal.affine),
        threshold=threshold,
        rule=old.rule,
    )
    subgroups, dropped_too = continued_subgroups(question, proposal)
    calibration = new.calibration.model_copy(update={"subgroups": subgroups})
    sets, lost = _sets(old, proposal, threshold)
    changes = {"calibration": calibration, "conformal": sets}
    return new.model_copy(update=changes), [*dropped, *lost, *dropped_too]


def together(parent: Card, earlier: Card, card: Card) -> Card:
    """The card with what an earlier draft changed of other findings."""
    three = zip(*(each.findings or () for each in (parent, earlier, card)), strict=True)
    answers = [
        theirs if mine.calibration == old.calibration else mine for old, theirs, mine in three
    ]
    dropped = dict.fromkeys((*(earlier.dropped_promises or ()), *(card.dropped_promises or ())))
    update = {"dropped_promises": tuple(dropped) or None} | with_findings(card, tuple(answers))
    return card.model_copy(update=update)


def with_findings(card: Card, findings: tuple[FindingCard, ...]) -> dict[str, Any]:
    """Return what changed findings change of the whole card."""
    sums = BinSums.zeros()
    for each in findings:
        sums = sums + each.calibration.sums
    pooled = CalibrationCard.from_reference(
        method="none",
        temperature=1.0,
        split=card.calibration.reference_split,
        sums=sums,
        measures=Measures.from_sums(sums),
    )
    return {"findings": findings, "calibration": pooled, "verification": None}


def changes(earlier: Card, later: Card, finding: str | None) -> bool:
    """Whether a recalibration of `finding`, or of classes, lies between two versions."""
    ends = [question_of(each, finding) for each in (earlier, later)]
    before, after = ((each.calibration, each.findings) for each in ends)
    return before != after


def in_presence(proposal: Proposal, before: FindingCard, after: FindingCard) -> Proposal:
    """Return the proposal with what it changes for the finding: presence, and its rates."""
    labels = proposal.true_classes.astype(np.float64)
    sides = ((proposal.served, before), (proposal.probabilities, after))
    present = [side[:, 1] >= card.threshold for side, card in sides]
    points = [operating_point(side[:, 1], labels, card.threshold) for side, card in sides]
    rates = [
        getattr(point, name).value if getattr(point, name) else float("nan")
        for name in ("sensitivity", "specificity")
        for point in points
    ]
    change = ClassChange(before.name, int(labels.sum()), *rates)
    changed = int((present[0] != present[1]).sum())
    return replace(proposal, changed=changed, classes=(change,))


def _continued(calibration: CalibrationCard, affine: Affine) -> Affine:
    """Return the calibrator of the old one, then the remedy."""
    weight = affine.weight[1]
    old_bias = (calibration.class_bias or (0.0, 0.0))[1]
    bias = weight * old_bias + affine.bias[1] - affine.bias[0]
    return finding_calibrator(calibration.temperature / weight, bias)


def _threshold(old: FindingCard, proposal: Proposal) -> tuple[float, list[str]]:
    """Return the threshold by the finding's rule, or the old one moved along, which says so."""
    p, y = proposal.probabilities[:, 1], proposal.true_classes.astype(np.float64)
    chosen = choose_threshold(p, y, kind=old.rule.kind, value=old.rule.value)
    if chosen is not None:
        return chosen, []
    t = min(max(old.threshold, 1e-9), 1 - 1e-9)
    moved = proposal.affine(np.log([[1 - t, t]]))[0, 1]
    return float(moved), [
        f"The held-out labels do not determine a threshold of {old.name}, so the old one was moved "
        "along: the same answers are present."
    ]


def _sets(
    old: FindingCard, proposal: Proposal, threshold: float
) -> tuple[ConformalCard | None, list[str]]:
    if old.conformal is None:
        return None, []
    p, y = proposal.probabilities[:, 1], proposal.true_classes == 1
    found = finding_sets(p, y, present_from=threshold, alpha=old.conformal.alpha)
    if found is not None:
        return ConformalCard.from_sets(found), []
    return None, [f"The held-out labels of {old.name} are too few for its prediction sets."]
