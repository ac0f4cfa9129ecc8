"""What a process does by itself while a drift alarm is active: propose, publish or promote a
recalibration.

It does what `candor recalibrate` does, on the labels since the drift began, and refuses what that
refuses. One alarm leads to at most one version, so a rollback stays. Labels that may be chosen are
never enough to publish. Every attempt is noted before it begins and after it ends: a process that
dies in between has used up the attempt, and what it published is found and noted by the next one.
"""

import logging
import shlex
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from prometheus_client import Counter

from calibration.bins import FloatArray
from model_store.bundle.calibration_card import CalibrationCard
from model_store.bundle.card import Card
from model_store.errors import ModelStoreError
from model_store.lifecycle.canary import running_canary
from model_store.store.store import Store
from monitoring.diagnosis.detectors import Drift, find_drift
from monitoring.diagnosis.diagnosis import diagnose
from monitoring.diagnosis.facts import ActionCode, Hindrance, State
from monitoring.diagnosis.state import FEW_LABELS
from monitoring.diagnosis.words import words_of
from monitoring.drift import events
from monitoring.drift.events import RECALIBRATED, RECALIBRATING, Event, since_alarm
from monitoring.errors import ModelNotInLedger, RecalibrationRefused
from monitoring.ledger.database import Ledger
from monitoring.ledger.versions import choose, family, of_model
from monitoring.recalibration.answers import AnswerFilter
from monitoring.recalibration.finding import changes, question_of
from monitoring.recalibration.outcomes import attempts, claim, note
from monitoring.recalibration.publication import Recalibration, harm, publish_draft, recalibrate
from monitoring.reports import recalibrations as outcomes


@dataclass(frozen=True)
class RecalibrationLimits:
    """The largest change that is made without a person.

    Attributes:
        factor: by which a temperature, or a class's share of it, may rise or fall; at least 1.
        bias: by which the bias of a class may change, in nats.
    """

    factor: float = 2.0
    bias: float = 1.0

    def excess(self, start: CalibrationCard, end: CalibrationCard) -> str | None:
        """Say how the change from `start` to `end` exceeds the limits; None if it does not.

        >>> same = {"class_bias": None, "class_weight": None}
        >>> card = CalibrationCard.model_construct(temperature=1.0, **same)
        >>> RecalibrationLimits().excess(card, card.model_copy(update={"temperature": 3.0}))
        'It changes the temperature by a factor of 3.00; the limit is 2.00.'
        """
        ratio = np.abs(np.log(_scale(end) / _scale(start)))
        factor, bias = float(np.exp(np.max(ratio))), float(np.abs(_bias(end) - _bias(start)).max())
        if factor > self.factor:
            return (
                f"It changes the temperature by a factor of {factor:.2f}; the limit is "
                f"{self.factor:.2f}."
            )
        if bias > self.bias:
            return f"It changes a bias by {bias:.2f} nats; the limit is {self.bias:.2f}."
        return None


def last_by_person(store: Store, card: Card) -> Card:
    """Return the nearest ancestor that no process made because of an alarm, or `card`.

    A chain that is no longer in the store ends at its oldest version.
    """
    while (
        card.provenance.recalibrated_by == "alarm"
        and card.provenance.parent_version in store.versions(card.name)
    ):
        card = store.read(card.name, card.provenance.parent_version).card
    return card


def _scale(calibration: CalibrationCard) -> FloatArray:
    """Return by what logits are multiplied, one factor for all classes or one each."""
    return np.atleast_1d(np.array(calibration.class_weight or 1.0)) / calibration.temperature


def _bias(calibration: CalibrationCard) -> FloatArray:
    return np.atleast_1d(np.array(calibration.class_bias or 0.0, dtype=np.float64))


_log = logging.getLogger(__name__)

UNFAIR: Final = (
    "It was not published, since many answers of that time have no label and nothing shows how the "
    "others were chosen."
)
MAY_CHANGE: Final = (
    "It was not published, since it may change whether the finding is present by its threshold."
)
ON_TRIAL: Final = "It was not promoted, since a canary is running."
FOUND: Final = "It was found after an interruption."


@dataclass(frozen=True)
class AlarmPolicy:
    """What may be done without a person.

    Attributes:
        action: how far it goes.
        interval_s: least time between two attempts for a model.
        min_labels: fewest labels since the drift began, and fewest new ones since the last attempt.
        label_changes: whether remedies are considered that may change the predicted class.
        limits: the largest change.
    """

    action: Literal["propose", "publish", "promote"]
    interval_s: float = 86_400.0
    min_labels: int = 100
    label_changes: bool = False
    limits: RecalibrationLimits = field(default_factory=RecalibrationLimits)


@dataclass(frozen=True)
class ActiveAlarm:
    """The active alarm of a version in production, its history, and the model's attempts."""

    model: str
    version: int
    finding: str
    watched_version_id: int
    drift: Drift
    history: list[Event]
    attempts_ns: list[int]  # of the whole model

    @property
    def labels(self) -> int:
        """How many labels there are since the drift began."""
        return self.drift.labels_since_onset() or self.drift.labels

    @property
    def last(self) -> Event | None:
        """The last attempt, begun or ended, since this alarm."""
        return next(iter(since_alarm(self.history, RECALIBRATING, RECALIBRATED)[::-1]), None)

    @property
    def published(self) -> list[dict[str, Any]]:
        """The details of what became of versions published since this alarm, by whomever."""
        return [
            event.detail
            for event in since_alarm(self.history, RECALIBRATED)
            if event.detail.get("version")
        ]


class AlarmResponder:
    """Acts on the drift alarms of the models in a store. For one process at a time: the leader."""

    def __init__(
        self, ledger: Ledger, store: Store, policy: AlarmPolicy, *, counter: Counter
    ) -> None:
        self._ledger, self._store, self._policy, self._counter = ledger, store, policy, counter

    def look(self) -> None:
        """Look at every model in production, and act where an alarm is active.

        Of the findings in alarm, the one whose last attempt is oldest has the first turn.
        """
        for model in self._store.models():
            for outcome in outcomes.OUTCOMES:
                self._counter.labels(model, outcome)
            alarms = self._find_alarms(model)
            for alarm in sorted(alarms, key=lambda each: each.last.at_ns if each.last else 0):
                if self._store.production(model) == alarm.version:
                    self._respond(alarm)

    def _find_alarms(self, model: str) -> list[ActiveAlarm]:
        version = self._store.production(model)
        if version is None:
            return []
        alarms = []
        with self._ledger.read() as connection:
            try:
                rows = family(connection, model, version)
            except ModelNotInLedger:
                return []
            attempts_ns = [event.at_ns for event in attempts(connection, model)]
            for row in rows:
                key = row.watched_version_id
                history = events.read(connection, key)
                drift = find_drift(connection, key, history)
                if drift is not None and drift.active:
                    question = (model, version, row.finding, key)
                    alarms.append(ActiveAlarm(*question, drift, history, attempts_ns))
        return alarms

    def _respond(self, alarm: ActiveAlarm) -> None:
        published, last = alarm.published, alarm.last
        if published:
            # A process that died after it published in order to promote has not promoted.
            if published[-1]["outcome"] == outcomes.PUBLISHED and published[-1].get("promoting"):
                self._promote(alarm, published[-1]["version"])
        elif (
            last is not None
            and last.kind == RECALIBRATING
            and (lost := self._lost_version(alarm, since_ns=last.at_ns))
        ):
            self._note(alarm, {"outcome": outcomes.PUBLISHED, "version": lost, "reason": FOUND})
        elif self._is_due(alarm) and claim(
            self._ledger,
            alarm.watched_version_id,
            seen_attempts=len(alarm.attempts_ns),
            model=alarm.model,
        ):
            self._attempt(alarm)

    def _is_due(self, alarm: ActiveAlarm) -> bool:
        elapsed_s = (self._ledger.clock() - max(alarm.attempts_ns, default=0)) / 1e9
        new = (
            alarm.labels
            if alarm.last is None
            else alarm.drift.labels - alarm.last.detail.get("labels_seen", 0)
        )
        return elapsed_s >= self._policy.interval_s and new >= self._policy.min_labels

    def _attempt(self, alarm: ActiveAlarm) -> None:
        if objection := self._objection(alarm):
            self._note(alarm, {"outcome": outcomes.REFUSED, "reason": objection})
            return
        try:
            drafted = recalibrate(
                self._ledger,
                self._store,
                alarm.model,
                version=alarm.version,
                finding=alarm.finding or None,
                answer_filter=AnswerFilter(last=max(alarm.labels, FEW_LABELS)),
                min_labels=self._policy.min_labels,
                allow_label_changes=self._policy.label_changes,
                publish=False,
                by="alarm",
            )
            self._act(alarm, drafted)
        except RecalibrationRefused as refused:
            self._note(alarm, {"outcome": outcomes.REFUSED, "reason": str(refused)})
        except (ModelStoreError, OSError) as error:
            self._note(alarm, {"outcome": outcomes.FAILED, "reason": f"{error}."})

    def _objection(self, alarm: ActiveAlarm) -> str:
        """Why the diagnosis speaks against a recalibration of all answers; empty if it does not."""
        with self._ledger.read() as connection:
            row = choose(connection, alarm.model, alarm.version, alarm.finding)
            found = diagnose(self._ledger, connection, row, now_ns=self._ledger.clock())
        cures = {each.code: each for each in found.actions}
        whole = cures.get(ActionCode.RECALIBRATE) or cures.get(ActionCode.ADJUST_CASE_MIX)
        is_for_some = ActionCode.RECALIBRATE_GROUP in cures
        is_barred = whole is not None and whole.hindrance not in (None, Hindrance.FIRST)
        if found.state is not State.HEALED and not is_for_some and not is_barred:
            return ""
        return f"{words_of(found).title}."

    def _act(self, alarm: ActiveAlarm, drafted: Recalibration) -> None:
        """Publish and promote a draft as far as policy, labels and limits allow."""
        start = last_by_person(self._store, self._store.read(alarm.model, alarm.version).card)
        precision = drafted.card.precisions[0]
        if precision in start.precisions:
            start = start.of_variant(precision)
        ends = [question_of(each, alarm.finding) for each in (start, drafted.card)]
        excess = self._policy.limits.excess(*(each.calibration for each in ends))
        unfair = None if drafted.fair_labels or self._policy.action == "propose" else UNFAIR
        if alarm.finding and not self._policy.label_changes:
            unfair = unfair or MAY_CHANGE
        worse = harm(drafted)
        if excess or unfair or worse or self._policy.action == "propose":
            options = f"--last {max(alarm.labels, FEW_LABELS)}"
            options += f" --finding {shlex.quote(alarm.finding)}" if alarm.finding else ""
            options += " --allow-label-changes" if self._policy.label_changes else ""
            detail = drafted.outcome(outcomes.LIMITED if excess else outcomes.PROPOSED)
            self._note(alarm, detail | {"options": options, "reason": excess or unfair or worse})
            return
        wished = self._policy.action == "promote"
        on_trial = wished and running_canary(self._store, alarm.model) is not None
        promoting = wished and not on_trial
        done = publish_draft(
            self._ledger,
            self._store,
            drafted,
            promoting=promoting,
            reason=ON_TRIAL if on_trial else None,
        )
        self._tell(alarm, outcomes.PUBLISHED, version=done.card.version)
        if promoting:
            self._promote(alarm, done.card.version)

    def _promote(self, alarm: ActiveAlarm, version: int) -> None:
        """Promote, unless it was in production already (rolled back) or another one is now."""
        with self._ledger.read() as connection:
            kinds = [
                event.kind
                for row in of_model(connection, alarm.model)
                if row.version == version
                for event in events.read(connection, row.watched_version_id)
            ]
        if events.PROMOTED in kinds or self._store.production(alarm.model) != alarm.version:
            return
        self._store.promote(alarm.model, version)
        outcome = {"version": version, "parent_version": alarm.version}
        self._note(alarm, outcome | {"outcome": outcomes.PROMOTED})

    def _lost_version(self, alarm: ActiveAlarm, *, since_ns: int) -> int | None:
        """Return a version that an interrupted attempt published without a note."""
        parent = self._store.read(alarm.model, alarm.version, signed=False).card
        for version in self._store.versions(alarm.model)[::-1]:
            if version <= alarm.version:
                return None
            card = self._store.read(alarm.model, version, signed=False).card
            made = card.provenance
            if (
                made.parent_version == alarm.version
                and made.recalibrated_by == "alarm"
                and made.created_at.timestamp() * 1e9 >= since_ns
                and changes(parent, card, alarm.finding)
            ):
                return version
        return None

    def _note(self, alarm: ActiveAlarm, detail: dict[str, Any]) -> None:
        """Write an outcome into the history, count it and log it."""
        of = {"model": alarm.model, "finding": alarm.finding or None, "by": "alarm"}
        note(self._ledger, alarm.watched_version_id, of | detail)
        fields = {name: detail[name] for name in ("version", "reason") if detail.get(name)}
        self._tell(alarm, detail["outcome"], **fields)

    def _tell(self, alarm: ActiveAlarm, outcome: str, **fields: Any) -> None:
        """Count an outcome and log it."""
        self._counter.labels(alarm.model, outcome).inc()
        logged = {"model": alarm.model, "in_production": alarm.version, "outcome": outcome}
        logged |= {"finding": alarm.finding} if alarm.finding else {}
        _log.warning("recalibration on a drift alarm", extra={"fields": logged | fields})
