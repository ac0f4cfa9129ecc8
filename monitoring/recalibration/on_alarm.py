"""What a process does by itself while a drift alarm is active: propose, publish or promote a
recalibration.

It does what the diagnosis advises and `candor recalibrate` does, on the labels since the error
began, and refuses what these refuse. One alarm leads to at most one version, so a rollback stays;
findings in alarm at the same time share one. Labels that may be chosen are never enough to publish.
Every attempt is noted before it begins and after it ends: a process that dies in between has used
up the attempt, and what it published is found and noted by the next one.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import Counter

from model_store.errors import ModelStoreError
from model_store.store.canary import running_canary
from model_store.store.store import Store
from monitoring.diagnosis.detectors import Drift, find_drift
from monitoring.diagnosis.diagnosis import diagnose, read_grounds
from monitoring.diagnosis.facts import Action, ActionCode, Hindrance
from monitoring.diagnosis.words import words_of
from monitoring.drift import events, watch
from monitoring.drift.events import RECALIBRATED, RECALIBRATING, Event, since_alarm
from monitoring.errors import ModelNotInLedger, RecalibrationRefused
from monitoring.ledger.database import Ledger
from monitoring.ledger.versions import choose, family
from monitoring.ledger.watched_version import named
from monitoring.recalibration.answers import AnswerFilter, options_of, read_since
from monitoring.recalibration.claims import question_of
from monitoring.recalibration.draft import Recalibration, harm
from monitoring.recalibration.finding import changes
from monitoring.recalibration.limits import AlarmPolicy, last_by_person
from monitoring.recalibration.outcomes import attempts, claim, note
from monitoring.recalibration.publication import publish_draft, recalibrate
from monitoring.reports import recalibrations as outcomes

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

    @property
    def to_promote(self) -> int | None:
        """The version that was published in order to be promoted, and is not noted as promoted."""
        last = self.published[-1] if self.published else {}
        waits = last.get("outcome") == outcomes.PUBLISHED and last.get("promoting")
        return last["version"] if waits else None


class AlarmResponder:
    """Acts on the drift alarms of the models in a store. For one process at a time: the leader."""

    def __init__(
        self, ledger: Ledger, store: Store, policy: AlarmPolicy, *, counter: Counter
    ) -> None:
        self._ledger, self._store, self._policy, self._counter = ledger, store, policy, counter

    def look(self) -> None:
        """Look at every model in production, and act where an alarm is active."""
        for model in self._store.models():
            for outcome in outcomes.OUTCOMES:
                self._counter.labels(model, outcome)
            alarms = self._find_alarms(model)
            self._finish([alarm for alarm in alarms if alarm.to_promote])
            due = [alarm for alarm in alarms if self._is_open(alarm) and self._is_due(alarm)]
            if due and self._store.production(model) == due[0].version and self._claim(due):
                self._attempt(due)

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
                drift = find_drift(row, watch.load_all(connection, key), history)
                if drift is not None and drift.active:
                    question = (model, version, row.finding, key)
                    alarms.append(ActiveAlarm(*question, drift, history, attempts_ns))
        return alarms

    def _finish(self, alarms: Sequence[ActiveAlarm]) -> None:
        """Promote what a process published in order to promote, and died before it did."""
        if alarms:
            self._promote(alarms, max(alarm.to_promote or 0 for alarm in alarms))

    def _is_open(self, alarm: ActiveAlarm) -> bool:
        """Whether this alarm has led to no version; one that was not noted is noted now."""
        last = alarm.last
        if alarm.published:
            return False
        if last is None or last.kind != RECALIBRATING:
            return True
        if lost := self._lost_version(alarm, since_ns=last.at_ns):
            self._note(alarm, {"outcome": outcomes.PUBLISHED, "version": lost, "reason": FOUND})
        return not lost

    def _claim(self, alarms: Sequence[ActiveAlarm]) -> bool:
        return claim(
            self._ledger,
            [alarm.watched_version_id for alarm in alarms],
            model=alarms[0].model,
            seen_attempts=len(alarms[0].attempts_ns),
        )

    def _is_due(self, alarm: ActiveAlarm) -> bool:
        elapsed_s = (self._ledger.clock() - max(alarm.attempts_ns, default=0)) / 1e9
        seen = 0 if alarm.last is None else alarm.last.detail.get("labels_seen", 0)
        new = alarm.drift.labels - seen
        return elapsed_s >= self._policy.interval_s and new >= self._policy.min_labels

    def _attempt(self, alarms: Sequence[ActiveAlarm]) -> None:
        """Try each finding, on what the ones before it change, and publish all as one version."""
        drafts: list[tuple[ActiveAlarm, Recalibration]] = []
        for alarm in alarms:
            with self._noting(alarm):
                advised = self._advised(alarm)
                drafted = self._draft(alarm, advised, onto=drafts[-1][1] if drafts else None)
                if self._is_allowed(alarm, advised, drafted):
                    drafts.append((alarm, drafted))
        if drafts:
            with self._noting(*(alarm for alarm, _ in drafts)):
                self._publish(drafts)

    @contextmanager
    def _noting(self, *alarms: ActiveAlarm) -> Iterator[None]:
        """Note why a recalibration was refused or failed."""
        try:
            yield
        except RecalibrationRefused as refused:
            detail = {"outcome": outcomes.REFUSED, "reason": str(refused)}
        except (ModelStoreError, OSError) as error:
            detail = {"outcome": outcomes.FAILED, "reason": f"{error}."}
        else:
            return
        for alarm in alarms:
            self._note(alarm, detail)

    def _draft(
        self, alarm: ActiveAlarm, advised: Action, *, onto: Recalibration | None
    ) -> Recalibration:
        since = options_of(advised).get("since")
        return recalibrate(
            self._ledger,
            self._store,
            alarm.model,
            version=alarm.version,
            finding=alarm.finding,
            answer_filter=AnswerFilter(since_ns=None if since is None else read_since(since)),
            min_labels=self._policy.min_labels,
            allow_label_changes=self._policy.label_changes,
            publish=False,
            by="alarm",
            onto=onto,
        )

    def _advised(self, alarm: ActiveAlarm) -> Action:
        """The recalibration of all answers that the diagnosis advises.

        Raises RecalibrationRefused if it advises none.
        """
        with self._ledger.read() as connection:
            row = choose(connection, alarm.model, alarm.version, alarm.finding)
            grounds = read_grounds(self._ledger, connection, row)
            found = diagnose(connection, row, grounds, now_ns=self._ledger.clock())
        cures = {each.code: each for each in found.actions}
        whole = cures.get(ActionCode.RECALIBRATE) or cures.get(ActionCode.ADJUST_CASE_MIX)
        harmless = (None, Hindrance.FIRST, Hindrance.FEW_LABELS)  # the policy says how many
        if (
            whole is None
            or ActionCode.RECALIBRATE_GROUP in cures
            or whole.hindrance not in harmless
        ):
            raise RecalibrationRefused(f"{words_of(found).title}.")
        return whole

    def _is_allowed(self, alarm: ActiveAlarm, advised: Action, drafted: Recalibration) -> bool:
        """Whether policy, labels and limits allow to publish a draft; else it is proposed."""
        start = last_by_person(self._store, self._store.read(alarm.model, alarm.version).card)
        ends = [question_of(each, alarm.finding) for each in (start, drafted.card)]
        excess = self._policy.limits.excess(*(each.calibration for each in ends))
        unfair = None if drafted.fair_labels or self._policy.action == "propose" else UNFAIR
        if drafted.proposal.claim.may_change and not self._policy.label_changes:
            unfair = unfair or MAY_CHANGE
        worse = harm(drafted)
        if not (excess or unfair or worse or self._policy.action == "propose"):
            return True
        since = options_of(advised).get("since")
        options: dict[str, object] = {} if since is None else {"since": since}
        options |= named(alarm.finding)
        options |= {"allow_label_changes": True} if self._policy.label_changes else {}
        detail = drafted.outcome(outcomes.LIMITED if excess else outcomes.PROPOSED)
        self._note(alarm, detail | {"options": options, "reason": excess or unfair or worse})
        return False

    def _publish(self, drafts: Sequence[tuple[ActiveAlarm, Recalibration]]) -> None:
        """Publish the last draft, which has the remedies of all, and promote it if wished."""
        alarms = [alarm for alarm, _ in drafts]
        wished = self._policy.action == "promote"
        on_trial = wished and running_canary(self._store, alarms[0].model) is not None
        promoting = wished and not on_trial
        more: dict[str, Any] = {"promoting": promoting, "reason": ON_TRIAL if on_trial else None}
        done = publish_draft(self._ledger, self._store, drafts[-1][1], **more)
        version = done.card.version
        for alarm, drafted in drafts[:-1]:
            detail = drafted.outcome(outcomes.PUBLISHED) | {"version": version} | more
            note(self._ledger, alarm.watched_version_id, detail)
        for alarm in alarms:
            self._tell(alarm, outcomes.PUBLISHED, version=version)
        if promoting:
            self._promote(alarms, version)

    def _promote(self, alarms: Sequence[ActiveAlarm], version: int) -> None:
        """Promote, unless it was in production already (rolled back) or another one is now."""
        model, parent = alarms[0].model, alarms[0].version
        state = self._store.state(model)
        if version in state.tried or state.production != parent:
            return
        self._store.promote(model, version)
        outcome = {"version": version, "parent_version": parent, "outcome": outcomes.PROMOTED}
        for alarm in alarms:
            self._note(alarm, outcome)

    def _lost_version(self, alarm: ActiveAlarm, *, since_ns: int) -> int | None:
        """Return a version that an interrupted attempt published without a note."""
        cards = [
            self._store.read(alarm.model, version, signed=False).card
            for version in self._store.versions(alarm.model)
            if version >= alarm.version
        ]
        lost = (
            each.version
            for each in cards
            if each.provenance.parent_version == alarm.version
            and each.provenance.recalibrated_by == "alarm"
            and each.provenance.created_at.timestamp() * 1e9 >= since_ns
            and changes(cards[0], each, alarm.finding)
        )
        return max(lost, default=None)

    def _note(self, alarm: ActiveAlarm, detail: dict[str, Any]) -> None:
        """Write an outcome into the history, count it and log it."""
        of = {"model": alarm.model, "finding": None, "by": "alarm"} | named(alarm.finding)
        note(self._ledger, alarm.watched_version_id, of | detail)
        fields = {name: detail[name] for name in ("version", "reason") if detail.get(name)}
        self._tell(alarm, detail["outcome"], **fields)

    def _tell(self, alarm: ActiveAlarm, outcome: str, **fields: Any) -> None:
        self._counter.labels(alarm.model, outcome).inc()
        logged = {"model": alarm.model, "in_production": alarm.version, "outcome": outcome}
        logged |= named(alarm.finding)
        _log.warning("recalibration on a drift alarm", extra={"fields": logged | fields})
