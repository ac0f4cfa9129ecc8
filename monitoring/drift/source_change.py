"""A change of the policies of label sources, and what follows from it, in one transaction.

The labels of a source count by its latest policy, those that arrived before included. So the
current labels of the answers concerned, their sums and the drift watches are computed again. A
detector is shown, in their order, the first labels since its last restart that the ledger still
keeps. The sums of answers that were pruned stay as they are.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, delete, select, update

from monitoring.drift import alarm, watch
from monitoring.drift.events import ALARM, CHECKPOINT, SETTINGS, SOURCES, STARTED
from monitoring.drift.patient_bets import place_again
from monitoring.drift.replay import RESTARTS, heard, read_labels, replayed_events, shown_again
from monitoring.errors import ModelNotInLedger
from monitoring.feedback.answers import ServedAnswer, find
from monitoring.feedback.labeling import CurrentLabel, FirstLabel
from monitoring.feedback.said import SaidLabel, changes_among, read_said, recounted
from monitoring.ledger import versions
from monitoring.ledger.label_sources import EVERY_MODEL, CountsAs, read_policies, write_policies
from monitoring.ledger.locks import lock_tables, lock_versions
from monitoring.ledger.predictions import pruned_before_ns
from monitoring.ledger.schema import bin_day, bin_total, class_day, feedback, label_current
from monitoring.ledger.slices import SliceKeys, SliceNames
from monitoring.ledger.statement import in_lists, replacing
from monitoring.ledger.sum_changes import SumChanges, as_counted
from monitoring.ledger.sum_tables import CLASSES, add_sums
from monitoring.ledger.versions import WatchedVersion
from monitoring.sources import LabelPolicy, SourcePolicies

_KEEP = replacing(label_current)


@dataclass(frozen=True)
class SourcesChanged:
    """What a change of policies did.

    Attributes:
        labels: how many labels count as something else now.
        answers: how many answers have another current label, or one more, or none any more.
        cleared: how many active alarms are over, because no label that counts supports them.
        raised: how many alarms the labels that count now have raised.
    """

    labels: int = 0
    answers: int = 0
    cleared: int = 0
    raised: int = 0

    def __add__(self, other: "SourcesChanged") -> "SourcesChanged":
        return SourcesChanged(
            *(getattr(self, name) + getattr(other, name) for name in asdict(self))
        )


def change_sources(
    connection: Connection,
    model: str,
    policies: Mapping[str, LabelPolicy],
    *,
    now_ns: int,
    actor: str | None = None,
) -> SourcesChanged:
    """Set the policies of sources, and count all labels by them.

    Args:
        connection: in a transaction that writes.
        model: whose labels; EVERY_MODEL sets what holds for models without a policy of their own.
        policies: by source; others stay as they are.
        now_ns: for the events.
        actor: who asked for it.

    Raises ModelNotInLedger.
    """
    rows = {
        key: row
        for key, row in versions.load_all(connection).items()
        if model in (EVERY_MODEL, row.model)
    }
    if not rows and model != EVERY_MODEL:
        raise ModelNotInLedger(model, known=versions.models(connection))
    stored = read_policies(connection, [model])[model]
    known = stored.every if model == EVERY_MODEL else stored.own
    if policies.items() <= known.items():  # as most starts of a server find them
        return SourcesChanged()
    lock_versions(connection, rows)
    lock_tables(connection, bin_day, bin_total, class_day)
    models = {row.model for row in rows.values()}
    before = read_policies(connection, models)
    write_policies(connection, model, policies)
    after = read_policies(connection, models)
    done = SourcesChanged()
    for row in rows.values():
        was, now = before[row.model], after[row.model]
        changed = {
            source: now.of(source) for source in policies if was.of(source) != now.of(source)
        }
        if changed:
            done += _Recounting(connection, row, now, now_ns).run(changed, actor)
    return done


def change_settings(
    connection: Connection, policies: Mapping[str, LabelPolicy], *, now_ns: int
) -> SourcesChanged:
    """Set the policies of every model to these alone: sources that are left out become truth."""
    known = read_policies(connection, [EVERY_MODEL])[EVERY_MODEL].every
    wanted = dict.fromkeys(known, LabelPolicy.TRUTH) | dict(policies)
    return change_sources(connection, EVERY_MODEL, wanted, now_ns=now_ns)


@dataclass(frozen=True)
class _Recounting:
    """Counts the labels of one version by its model's policies."""

    connection: Connection
    row: WatchedVersion
    policies: SourcePolicies
    now_ns: int

    def run(self, changed: Mapping[str, LabelPolicy], actor: str | None) -> SourcesChanged:
        """Count the labels of these sources, with the others of their answers, and say so."""
        columns = feedback.c
        concerned = select(columns.prediction_id).where(
            columns.watched_version_id == self.row.watched_version_id,
            columns.source.in_(list(changed)),
        )
        ids = self.connection.scalars(concerned.distinct()).all()
        taken, given = SumChanges(), SumChanges()
        done = SourcesChanged()
        for portion in in_lists(ids):
            done += self._count_again(portion, taken, given)
        if done.answers:
            self._add(taken, given)
            done += self._replay()
        whole = watch.load(self.connection, self.row.watched_version_id)
        if whole is not None:
            detail = {"policies": {key: str(each) for key, each in changed.items()}}
            detail |= asdict(done) | ({"actor": actor} if actor else {})
            watch.append_event(self.connection, whole, SOURCES, detail, now_ns=self.now_ns)
        return done

    def _count_again(
        self, ids: Sequence[bytes], taken: SumChanges, given: SumChanges
    ) -> SourcesChanged:
        """Write what the labels of these answers count as, and their current labels."""
        answers = find(self.connection, ids)
        said = read_said(self.connection, ids)
        again = {key: recounted(rows, self.policies) for key, rows in said.items()}
        moved: dict[int, list[int]] = defaultdict(list)
        for key, rows in said.items():
            for old, new in zip(rows, again[key], strict=True):
                if old.counts_as != new.counts_as:
                    moved[new.counts_as].append(new.feedback_id)
        for counts_as, labels in moved.items():
            for part in in_lists(labels):
                now = update(feedback).where(feedback.c.feedback_id.in_(part))
                self.connection.execute(now.values(counts_as=counts_as))
        changes = [
            (answer, current)
            for key, answer in answers.items()
            if (current := _current(answer, again[key])) != _stored(answer)
        ]
        gone = [answer.prediction_id for answer, current in changes if current is None]
        self.connection.execute(
            delete(label_current).where(label_current.c.prediction_id.in_(gone))
        )
        _KEEP.run(self.connection, [current for _, current in changes if current is not None])
        kept_ns = pruned_before_ns(self.connection)  # the sums before that cannot be recounted
        kept = [each for each in changes if each[0].served_at_ns >= kept_ns]
        _label(taken, [(answer, answer.label) for answer, _ in kept])
        _label(given, [(answer, current and current.label) for answer, current in kept])
        return SourcesChanged(sum(map(len, moved.values())), len(changes))

    def _add(self, taken: SumChanges, given: SumChanges) -> None:
        """Take the old labels from all sums, and add the new ones."""
        slices = SliceNames({self.row.watched_version_id: self.row})
        for sign, changes in ((-1, taken), (1, given)):
            days = changes.totals(self.connection, slices)
            add_sums(self.connection, _times(sign, days))
            CLASSES.add(self.connection, _times(sign, changes.classes.rows()))

    def _replay(self) -> SourcesChanged:
        """Show the labels that count now to all detectors of the version."""
        number = self.row.watched_version_id
        whole = watch.load(self.connection, number)
        if whole is None:
            return SourcesChanged()
        place_again(self.connection, number, self._audits())
        labels = [row.label for row in read_labels(self.connection, number, 0, None)]
        by_slice = self._by_slice(whole, labels)
        done = self._replay_one(whole, labels)
        tags = {each.name: each for each in watch.load_all(self.connection, number) if each.name}
        for name in sorted({*by_slice, *tags}):
            of_tag = by_slice.get(name, [])
            known = tags.get(name)
            if known is None:
                first_id = min(label.feedback_id for label in of_tag)
                known = watch.start_tag(self.connection, whole, name, first_id, now_ns=self.now_ns)
            done += self._replay_one(known, of_tag)
        return done

    def _by_slice(
        self, whole: watch.Watched, labels: Sequence[FirstLabel]
    ) -> dict[str, list[FirstLabel]]:
        slices = SliceNames({self.row.watched_version_id: self.row})
        by_slice: dict[str, list[FirstLabel]] = defaultdict(list)
        for label in heard(labels, whole.settings) if whole.tags.keys else ():
            keys = SliceKeys(label.predicted, label.tags)
            for name in slices.of(self.connection, self.row.watched_version_id, keys):
                if whole.tags.watches(name):
                    by_slice[name].append(label)
        return by_slice

    def _replay_one(self, known: watch.Watched, labels: Sequence[FirstLabel]) -> SourcesChanged:
        """Show labels to one detector, since its last restart, and save it."""
        history = replayed_events(self.connection, self.row.watched_version_id, known.name)
        detector, raised_at = shown_again(history, RESTARTS, _between(labels))
        again = replace(known, detector=detector)
        again.save(self.connection)
        kinds = [event.kind for event in history]
        restart = max(at for at, kind in enumerate(kinds) if kind in RESTARTS)
        if CHECKPOINT in kinds[restart:]:  # whose state holds labels that no longer count
            watch.append_event(
                self.connection, again, CHECKPOINT, again.as_checkpoint(SOURCES), now_ns=self.now_ns
            )
        raised = detector.active and not known.detector.active
        if raised and raised_at is not None:
            seen = _between(labels)(history[restart].feedback_id, raised_at)
            seen = heard(seen, known.settings)[-alarm.LABELS_LIMIT :]
            at = replace(again, last_feedback_id=raised_at)
            self._note_alarm(at, seen)
        return SourcesChanged(
            cleared=int(known.detector.active and not detector.active), raised=int(raised)
        )

    def _note_alarm(self, raised: watch.Watched, seen: Sequence[FirstLabel]) -> None:
        number = self.row.watched_version_id
        detail = alarm.describe(self.connection, number, raised.detector, seen)
        watch.append_event(self.connection, raised, ALARM, detail, now_ns=self.now_ns)

    def _audits(self) -> list[tuple[int, bool]]:
        """Return from which label on the watch used audited answers only, or all."""
        history = replayed_events(self.connection, self.row.watched_version_id)
        return [
            (event.feedback_id, event.detail["audit"])
            for event in history
            if event.kind in (STARTED, SETTINGS)
        ]


def _current(answer: ServedAnswer, said: Sequence[SaidLabel]) -> CurrentLabel | None:
    """Return the row of `label_current` that follows from the labels of an answer."""
    truths = [row for row in said if row.counts_as == CountsAs.TRUTH]
    if not truths:
        return None
    first, last = truths[0], truths[-1]
    which = (answer.prediction_id, answer.watched_version_id, first.feedback_id)
    return CurrentLabel(*which, changes_among(truths), last.label, last.correct, answer.confidence)


def _stored(answer: ServedAnswer) -> CurrentLabel | None:
    """Return the row of `label_current` that an answer has."""
    if answer.label is None:
        return None
    which = (answer.prediction_id, answer.watched_version_id, answer.first_feedback_id or 0)
    correct = int(answer.label == answer.predicted)
    return CurrentLabel(*which, answer.revision or 0, answer.label, correct, answer.confidence)


def _label(changes: SumChanges, labels: Sequence[tuple[ServedAnswer, int | None]]) -> None:
    labeled = [(answer, label) for answer, label in labels if label is not None]
    changes.label(as_counted([answer for answer, _ in labeled]), [label for _, label in labeled])


def _times(sign: int, rows: Mapping[Any, Sequence[float]]) -> dict[Any, list[float]]:
    return {key: [sign * value for value in sums] for key, sums in rows.items()}


def _between(labels: Sequence[FirstLabel]) -> Callable[[int, int | None], list[FirstLabel]]:
    def chosen(after: int, until: int | None) -> Iterator[FirstLabel]:
        for label in labels:
            if after < label.feedback_id and (until is None or label.bet <= until):
                yield label

    return lambda after, until: list(chosen(after, until))
