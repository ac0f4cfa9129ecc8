"""A change of the policies of label sources, and all that follows from it, in one transaction.

The labels of a source count by its latest policy, those that arrived before included. So what they
count as, the current labels of their answers, and the sums of their days are counted again, and the
drift watches see the labels that count now (source_replay.py). Others that write wait meanwhile.
The sums of answers that were pruned stay as they are.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import Connection

from monitoring.drift import watch
from monitoring.drift.events import SOURCES
from monitoring.drift.source_replay import show_again
from monitoring.errors import ModelNotInLedger
from monitoring.feedback.answers import count_again
from monitoring.ledger import versions
from monitoring.ledger.database import Ledger
from monitoring.ledger.locks import lock_tables, lock_versions
from monitoring.ledger.recounted import recount_days, relabel
from monitoring.ledger.schema import DAY_NS, bin_day, bin_total
from monitoring.ledger.watched_version import (
    EVERY_MODEL,
    WatchedVersion,
    read_policies,
    write_policies,
)
from monitoring.sources import LabelPolicy, SourcePolicies


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
    ledger: Ledger, model: str, policies: Mapping[str, LabelPolicy], *, actor: str | None = None
) -> SourcesChanged:
    """Set the policies of sources, and count all labels by them.

    Args:
        ledger: others that write labels of the model, or sums, wait.
        model: whose labels; EVERY_MODEL sets what holds for models without a policy of their own.
        policies: by source; others stay as they are.
        actor: who asked for it.

    Raises ModelNotInLedger.
    """
    done = SourcesChanged()
    with ledger.write() as connection:
        rows = _affected(connection, model)
        lock_versions(connection, (row.watched_version_id for row in rows))
        lock_tables(connection, bin_day, bin_total)
        models = {row.model for row in rows}
        before = read_policies(connection, models)
        write_policies(connection, model, policies)
        after = read_policies(connection, models)
        for row in rows:
            was, now = before[row.model], after[row.model]
            changed = {key: str(now.of(key)) for key in policies if was.of(key) != now.of(key)}
            if changed:
                did = _count_again(connection, row, now, now_ns=ledger.clock())
                _tell(connection, row, changed, did, actor, now_ns=ledger.clock())
                done += did
    return done


def change_settings(ledger: Ledger, policies: Mapping[str, LabelPolicy]) -> SourcesChanged:
    """Set the policies of every model to these alone: sources that are left out become truth."""
    with ledger.read() as connection:
        known = read_policies(connection, [EVERY_MODEL])[EVERY_MODEL].every
    wanted = dict.fromkeys(known, LabelPolicy.TRUTH) | dict(policies)
    if known == wanted:  # as most starts of a server find them
        return SourcesChanged()
    return change_sources(ledger, EVERY_MODEL, wanted)


def _affected(connection: Connection, model: str) -> list[WatchedVersion]:
    known = versions.load_all(connection).values()
    rows = [row for row in known if model in (EVERY_MODEL, row.model)]
    if not rows and model != EVERY_MODEL:
        raise ModelNotInLedger(model, known=versions.models(connection))
    return rows


def _count_again(
    connection: Connection, row: WatchedVersion, policies: SourcePolicies, *, now_ns: int
) -> SourcesChanged:
    """Count the labels of a version by these policies."""
    number = row.watched_version_id
    labels = count_again(connection, number, policies)
    moved = relabel(connection, number) if labels else []
    if not moved:
        return SourcesChanged(labels)
    recount_days(connection, {number: row}, {(number, r.served_at_ns // DAY_NS) for r in moved})
    return SourcesChanged(labels, len(moved), *show_again(connection, row, now_ns=now_ns))


def _tell(
    connection: Connection,
    row: WatchedVersion,
    policies: Mapping[str, str],
    did: SourcesChanged,
    actor: str | None,
    *,
    now_ns: int,
) -> None:
    whole = watch.load(connection, row.watched_version_id)
    if whole is not None:
        detail = {"policies": policies, **asdict(did)} | ({"actor": actor} if actor else {})
        watch.append_event(connection, whole, SOURCES, detail, now_ns=now_ns)
