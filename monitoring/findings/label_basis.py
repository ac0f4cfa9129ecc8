"""The labels on which a report rests: those of the random audit where it has enough, otherwise all
of them.

Verdict, comparison, slices and advice use the same labels, so that they cannot contradict each
other.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from calibration.bins import BinSums
from monitoring.findings.audit import (
    FEW_LABELS,
    AuditSums,
    audited_slices,
    last_audited,
    measure_audit,
    read_audit,
)
from monitoring.findings.selection import LabelSelection, count_sources, describe_selection
from monitoring.findings.windows import Window, Windowed
from monitoring.ledger.schema import DAY_NS, EVERYTHING
from monitoring.ledger.slices import AUDIT
from monitoring.ledger.sums import LedgerSums, read_slices
from monitoring.ledger.versions import WatchedVersion


@dataclass(frozen=True)
class LabelBasis:
    """The sums of the labels that decide, the slices with these, and how they were selected."""

    labeled: BinSums
    slices: Mapping[str, LedgerSums]
    selection: LabelSelection


def find_label_basis(
    connection: Connection, row: WatchedVersion, window: Window, seen: Windowed, *, due_ns: int
) -> LabelBasis:
    """Choose the labels of a window. Those of answers before `due_ns` should be here.

    With an audit that decides, `last:N` takes the N audited answers labeled last.
    """
    watched_version_id, since_day = row.watched_version_id, seen.since_day
    slices = read_slices(
        connection, watched_version_id, since_day=since_day, besides=(EVERYTHING, AUDIT)
    )
    sums = read_audit(connection, watched_version_id, since_day=since_day)
    audit = None if sums is None else measure_audit(sums, due_day=due_ns // DAY_NS)
    labeled = seen.labeled
    if sums is not None and audit is not None and audit.decides:
        labeled = _audited(connection, watched_version_id, window, sums)
        slices = audited_slices(connection, row, slices, since_day=since_day)
    sources = count_sources(connection, watched_version_id)
    selection = describe_selection(seen.served, slices, basis=labeled, audit=audit, sources=sources)
    return LabelBasis(labeled, slices, selection)


def deciding_labels(
    connection: Connection, watched_version_id: int, window: Window, seen: Windowed
) -> tuple[BinSums, bool]:
    """Return the labels on which a report rests, and whether they are the audit's alone."""
    sums = read_audit(connection, watched_version_id, since_day=seen.since_day)
    if sums is None or sums.labeled < FEW_LABELS:
        return seen.labeled, False
    return _audited(connection, watched_version_id, window, sums), True


def _audited(
    connection: Connection, watched_version_id: int, window: Window, sums: AuditSums
) -> BinSums:
    last = window.kind == "last"
    return last_audited(connection, watched_version_id, window.number) if last else sums.as_bins()
