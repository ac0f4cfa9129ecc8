"""A change of the policies of label sources, and what follows from it, in short transactions.

The labels of a source count by its latest policy, those that arrived before included. The change
is noted with the policies. Then current labels and sums are counted again, a portion of labels at
a time, and at last the drift watches (source_replay.py). If a process ends in
between, the leader goes on from the note. The sums of answers that were pruned stay as they are.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from monitoring.drift import watch
from monitoring.drift.events import SOURCES
from monitoring.drift.source_replay import SourcesChanged, WatchReplay, count_again
from monitoring.errors import ModelNotInLedger
from monitoring.ledger import versions
from monitoring.ledger.database import Ledger
from monitoring.ledger.locks import lock_versions
from monitoring.ledger.schema import feedback, source_change
from monitoring.ledger.watched_version import (
    EVERY_MODEL,
    WatchedVersion,
    read_policies,
    write_policies,
)
from monitoring.sources import LabelPolicy

PORTION: Final = 512  # labels in one transaction, some 25 ms
LEFT_NS: Final = 60 * 10**9  # a change on which nobody has worked for so long was left
_PAUSE_S: Final = 0.1  # at most, between two transactions
_Portion = Sequence[tuple[int, int, bytes]]  # feedback id, watched version id, prediction id


class _Change(NamedTuple):
    """A row of `source_change`. `progress`: by watched version id, SourcesChanged as a dict, with
    `shown` once its watches have seen the labels that count now.
    """

    change_id: int
    model: str
    policies: str
    actor: str | None
    counted_id: int
    last_id: int
    progress: str
    stepped_at_ns: int


def change_sources(
    ledger: Ledger, model: str, policies: Mapping[str, LabelPolicy], *, actor: str | None = None
) -> SourcesChanged:
    """Set the policies of sources, and count all labels by them.

    Args:
        ledger: written in many transactions, between which others write.
        model: whose labels; EVERY_MODEL sets what holds for models without a policy of their own.
        policies: by source; others stay as they are.
        actor: who asked for it.

    Raises ModelNotInLedger.
    """
    with ledger.write() as connection:
        noted = _note(connection, model, policies, actor, now_ns=ledger.clock())
    done = SourcesChanged()
    for change_id, did in _finish(ledger) if noted else ():
        done += did if change_id in noted else SourcesChanged()
    return done


def change_settings(ledger: Ledger, policies: Mapping[str, LabelPolicy]) -> SourcesChanged:
    """Set the policies of every model to these alone: sources that are left out become truth."""
    with ledger.read() as connection:
        known = read_policies(connection, [EVERY_MODEL])[EVERY_MODEL].every
    wanted = dict.fromkeys(known, LabelPolicy.TRUTH) | dict(policies)
    return change_sources(ledger, EVERY_MODEL, wanted)


def finish_left(ledger: Ledger, *, pause: Callable[[float], object] = time.sleep) -> None:
    """Finish changes that a process has left; stop early if `pause` returns something true."""
    with ledger.read() as connection:
        change = _oldest(connection)
    if change is not None and abs(ledger.clock() - change.stepped_at_ns) > LEFT_NS:
        for _ in _finish(ledger, pause):
            pass


def models_in_change(connection: Connection) -> set[str]:
    """Return the models of which some labels still count by an earlier policy."""
    return set(connection.scalars(select(source_change.c.model)))


def _oldest(connection: Connection) -> _Change | None:
    row = connection.execute(select(source_change).order_by(source_change.c.change_id)).first()
    return None if row is None else _Change._make(row)


def _note(
    connection: Connection,
    model: str,
    policies: Mapping[str, LabelPolicy],
    actor: str | None,
    *,
    now_ns: int,
) -> list[int]:
    """Write policies, and note the change of each model that it concerns; return their ids."""
    known = versions.load_all(connection).values()
    rows = [row for row in known if model in (EVERY_MODEL, row.model)]
    if not rows and model != EVERY_MODEL:
        raise ModelNotInLedger(model, known=versions.models(connection))
    stored = read_policies(connection, [model])[model]
    if policies.items() <= (stored.every if model == EVERY_MODEL else stored.own).items():
        return []  # as most starts of a server find them
    lock_versions(connection, (row.watched_version_id for row in rows))
    models = {row.model for row in rows}
    before = read_policies(connection, models)
    write_policies(connection, model, policies)
    after = read_policies(connection, models)
    last_id = connection.scalar(select(func.max(feedback.c.feedback_id))) or 0
    noted = []
    for name in sorted(models):
        was, now = before[name], after[name]
        changed = {key: str(now.of(key)) for key in policies if was.of(key) != now.of(key)}
        if changed:
            given = _Change(0, name, json.dumps(changed), actor, 0, last_id, "{}", now_ns)
            values = {key: value for key, value in given._asdict().items() if key != "change_id"}
            added = insert(source_change).returning(source_change.c.change_id)
            noted.append(connection.execute(added.values(values)).scalar_one())
    return noted


def _finish(
    ledger: Ledger, pause: Callable[[float], object] = time.sleep
) -> Iterator[tuple[int, SourcesChanged]]:
    """Do all that is noted, step by step; yield each change that ends, and what it did.

    Others write in the pauses, and may work on the same change: each step reads where it stands.
    """
    while True:
        begun_s = time.monotonic()
        with ledger.read() as connection:
            change = _oldest(connection)
            if change is None:
                return
            step = _Step(ledger, change, versions.of_model(connection, change.model))
            portion = step.next_portion(connection)
        if portion:
            step.count(portion)
        elif not step.show_next():
            step.end()
            yield change.change_id, step.total
        if pause(min(time.monotonic() - begun_s, _PAUSE_S)):
            return


@dataclass(frozen=True)
class _Step:
    """One step of a change, of a model with these versions."""

    ledger: Ledger
    change: _Change
    versions: Sequence[WatchedVersion]

    @property
    def total(self) -> SourcesChanged:
        done = SourcesChanged()
        for each in json.loads(self.change.progress).values():
            done += SourcesChanged(**{key: each[key] for key in asdict(done)})
        return done

    def next_portion(self, connection: Connection) -> _Portion:
        columns, change = feedback.c, self.change
        wanted = (
            select(columns.feedback_id, columns.watched_version_id, columns.prediction_id)
            .where(columns.feedback_id > change.counted_id, columns.feedback_id <= change.last_id)
            .where(
                columns.watched_version_id.in_([row.watched_version_id for row in self.versions])
            )
            .where(columns.source.in_(list(json.loads(change.policies))))
            .order_by(columns.feedback_id)
            .limit(PORTION)
        )
        return [tuple(row) for row in connection.execute(wanted)]

    def count(self, portion: _Portion) -> None:
        """Count these labels, and the others of their answers."""
        answers: dict[int, dict[bytes, None]] = defaultdict(dict)
        for _, number, prediction_id in portion:
            answers[number][prediction_id] = None
        with self.ledger.write() as connection:
            if not self._is_current(connection):
                return
            policies = read_policies(connection, [self.change.model])[self.change.model]
            progress = json.loads(self.change.progress)
            for row in self.versions:
                if ids := list(answers.get(row.watched_version_id, ())):
                    did = count_again(connection, row, policies, ids)
                    _add(progress, row.watched_version_id, did)
            self._go_on(connection, progress, counted_id=portion[-1][0])

    def show_next(self) -> bool:
        """Show the labels that count now to the watches of the next version, and write in its
        history what was done; return whether there was one.
        """
        progress = json.loads(self.change.progress)
        shown = {int(key) for key, each in progress.items() if each.get("shown")}
        left = [row for row in self.versions if row.watched_version_id not in shown]
        if left:
            self._show(left[0], progress)
        return bool(left)

    def _show(self, row: WatchedVersion, progress: dict[str, Any]) -> None:
        number, replay = row.watched_version_id, None
        _add(progress, number, SourcesChanged())
        with self.ledger.read() as connection:
            whole = watch.load(connection, number)
            if whole is not None and progress[str(number)]["answers"]:
                replay = WatchReplay(connection, row, whole)
        with self.ledger.write() as connection:
            if not self._is_current(connection):
                return
            alarms = replay.save(connection, now_ns=self.ledger.clock()) if replay else (0, 0)
            if alarms is None:  # an event has made it useless
                return
            _add(progress, number, SourcesChanged(0, 0, *alarms))
            self._tell(connection, number, progress[str(number)])
            progress[str(number)]["shown"] = True
            self._go_on(connection, progress)

    def end(self) -> None:
        """Take the note away."""
        with self.ledger.write() as connection:
            connection.execute(delete(source_change).filter_by(change_id=self.change.change_id))

    def _tell(self, connection: Connection, number: int, done: Mapping[str, Any]) -> None:
        whole, actor = watch.load(connection, number), self.change.actor
        if whole is not None:
            detail = {"policies": json.loads(self.change.policies), **done}
            detail |= {"actor": actor} if actor else {}
            watch.append_event(connection, whole, SOURCES, detail, now_ns=self.ledger.clock())

    def _is_current(self, connection: Connection) -> bool:
        """Lock the versions; return whether nobody else has done this step."""
        lock_versions(connection, (row.watched_version_id for row in self.versions))
        return _oldest(connection) == self.change

    def _go_on(self, connection: Connection, progress: dict[str, Any], **more: int) -> None:
        now = {"progress": json.dumps(progress), "stepped_at_ns": self.ledger.clock()} | more
        this = update(source_change).filter_by(change_id=self.change.change_id)
        connection.execute(this.values(now))


def _add(progress: dict[str, Any], watched_version_id: int, did: SourcesChanged) -> None:
    """Add what was done to what is noted of a version."""
    known = progress.setdefault(str(watched_version_id), asdict(SourcesChanged()))
    known |= {key: known[key] + value for key, value in asdict(did).items()}
