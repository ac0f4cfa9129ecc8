"""From facts to one state: the watch's promise and the evidence of current labels decide together.

An active alarm stays one while current labels bear it out, or something else explains them; if they
no longer do, it has healed. Without an alarm, labels that contradict the claim are never `fine`;
and nothing is `fine` for answers that no label speaks for.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from calibration.diagnosis.facts import Cause, Deviation, Inference, Rival, RivalStatus
from calibration.diagnosis.search import STRONG
from calibration.diagnosis.selection import DUE, MISSING
from calibration.operating.facts import LiveRate
from monitoring.diagnosis.coverage import Rhythm, is_old
from monitoring.diagnosis.facts import (
    Alarm,
    Basis,
    Certainty,
    EarlySign,
    State,
    StateReason,
    Unchecked,
)
from monitoring.feedback.discordance import OtherLabels

FEW_LABELS = 100  # fewer clear nothing
WIDE = 0.15  # an interval of the gap that is wider clears nothing
FEW_AUDITED = 100  # audited labels from which they alone tell what is not labeled
_STRONG = math.log(1_000)
_OF_LABELS = tuple(each for each in Cause if each is not Cause.INPUT)  # doubt who is affected
_DOUBTING = (RivalStatus.POSSIBLE, RivalStatus.EXPLAINS_ALL)


@dataclass(frozen=True)
class Findings:
    """What a state is decided from. `lower`: rates lower than promised, the worst first."""

    inference: Inference
    lower: tuple[LiveRate, ...]
    basis: Basis
    rhythm: Rhythm
    alarms: tuple[Alarm, ...]
    unchecked: tuple[Unchecked, ...]
    early_signs: tuple[EarlySign, ...]
    other_labels: OtherLabels
    now_s: float

    @property
    def ongoing(self) -> tuple[Deviation, ...]:
        return tuple(each for each in self.inference.deviations if each.until is None)

    @property
    def rivals(self) -> dict[Cause, Rival]:
        return {each.cause: each for each in self.inference.rivals}

    def explains_all(self, *causes: Cause) -> bool:
        """Whether one of these causes, by default of any, explains all that labels show."""
        return any(
            each.status is RivalStatus.EXPLAINS_ALL and (not causes or each.cause in causes)
            for each in self.inference.rivals
        )

    @property
    def is_trained_on(self) -> bool:
        """Whether images are from the model's own training."""
        return any(each.name == "training_images" and each.raised for each in self.early_signs)

    @property
    def suspects_patients(self) -> bool:
        """Whether images of unknown patients may err together, and nothing else was found."""
        rival = self.rivals.get(Cause.PATIENTS)
        return rival is not None and is_open(rival) and not self.ongoing


def is_open(rival: Rival) -> bool:
    """Whether labels could tell if a rival explains anything. Those that are due will come."""
    return rival.status is RivalStatus.POSSIBLE and rival.needs_kind != DUE


def decide(found: Findings) -> tuple[State, tuple[StateReason, ...]]:
    lower = (StateReason.OPERATING_POINT,) if found.lower else ()
    doubts = (*lower, *_doubts(found))
    is_guess = bool(found.ongoing) and found.ongoing[0].score < STRONG
    if is_guess and not found.alarms and _is_stale(doubts):
        return State.STALE, doubts
    if found.ongoing and not found.explains_all(Cause.CORRECTED):
        active = (StateReason.ALARM_ACTIVE,) if found.alarms else ()
        explained = (StateReason.EXPLAINED,) if found.explains_all() else ()
        if found.explains_all(*_OF_LABELS):  # images out of scope are an error all the same
            return State.LOOK, (*explained, StateReason.DEVIATION, *active, *doubts)
        state = State.ALARM if found.alarms else State.LOOK
        return state, (*active, StateReason.DEVIATION, *explained, *doubts)
    if found.alarms:
        return _without_evidence(found, doubts)
    if found.lower:
        return State.LOOK, doubts
    if _is_stale(doubts):
        return State.STALE, doubts
    return (State.UNKNOWN if doubts else State.FINE), doubts


def certainty_of(found: Findings, state: State) -> Certainty:
    """Return how sure the diagnosis is about whom it names; labels in doubt claim nothing."""
    shown: Sequence[Deviation] = found.ongoing or found.inference.deviations
    if state in (State.UNKNOWN, State.STALE, State.FINE) or not shown:
        return Certainty.NONE
    first = shown[0]
    if first.is_weak or first.others:
        return Certainty.WEAK
    doubts = (each for each in found.inference.rivals if each.cause in _OF_LABELS)
    if any(each.status in _DOUBTING for each in doubts):
        return Certainty.NONE
    return Certainty.STRONG if first.score >= _STRONG else Certainty.MODERATE


def _without_evidence(
    found: Findings, doubts: tuple[StateReason, ...]
) -> tuple[State, tuple[StateReason, ...]]:
    """An alarm that no error which goes on bears out."""
    if found.suspects_patients:
        return State.LOOK, (StateReason.EXPLAINED, StateReason.ALARM_ACTIVE, *doubts)
    if StateReason.SELECTION in doubts or StateReason.AUDIT_INCOMPLETE in doubts:
        return State.ALARM, (StateReason.ALARM_ACTIVE, *doubts)
    if found.explains_all(Cause.CORRECTED):
        return State.HEALED, (StateReason.CORRECTED, *doubts)
    if found.explains_all():
        return State.HEALED, (StateReason.EXPLAINED, *doubts)
    if found.inference.deviations:
        return State.HEALED, (StateReason.HEALED, *doubts)
    if any(each.is_recent for each in found.alarms):
        return State.ALARM, (StateReason.ALARM_ACTIVE, StateReason.WATCH_ALONE, *doubts)
    return State.HEALED, (StateReason.NOT_BORNE_OUT, *doubts)


def _is_stale(doubts: Sequence[StateReason]) -> bool:
    return StateReason.NO_ANSWERS in doubts or StateReason.LABELS_OLD in doubts


def _doubts(found: Findings) -> Iterator[StateReason]:
    """Why labels that show no error do not rule one out."""
    basis, bounds = found.basis, found.inference.bounds
    if is_old(basis.last_served_s, found.now_s, found.rhythm.answers_s):
        yield StateReason.NO_ANSWERS
    if _labels_are_old(found):
        yield StateReason.LABELS_OLD
    if not basis.labels:
        yield StateReason.PROXY_ONLY if found.other_labels.proxies else StateReason.NO_LABELS
        return
    is_wide = not bounds.upper - bounds.lower <= WIDE
    if found.inference.labels < FEW_LABELS or is_wide:
        yield StateReason.FEW_LABELS
    if found.unchecked:
        yield StateReason.UNLABELED_PART
    selection = found.rivals.get(Cause.SELECTION)
    if selection is not None and is_open(selection):
        is_audit = selection.needs_kind == MISSING
        yield StateReason.AUDIT_INCOMPLETE if is_audit else StateReason.SELECTION
    if found.is_trained_on:
        yield StateReason.TRAINED_ON
    if any(each.raised and _is_after_labels(each, basis) for each in found.early_signs):
        yield StateReason.INPUT_CHANGED


def _labels_are_old(found: Findings) -> bool:
    basis, rhythm = found.basis, found.rhythm
    if not basis.last_served_s > basis.labels_until_s:  # no answer waits for a label
        return False
    return is_old(basis.last_label_s, found.now_s, rhythm.labels_s) or is_old(
        basis.labels_until_s, found.now_s, rhythm.labels_s + rhythm.delay_s
    )


def _is_after_labels(sign: EarlySign, basis: Basis) -> bool:
    """Whether no labels speak for the answers since a change."""
    return sign.since_s is not None and not basis.labels_until_s > sign.since_s
