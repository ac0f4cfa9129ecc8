"""The counts of one transaction. The process's counters take them over only after the commit."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from monitoring.feedback.items import Reason
from monitoring.ledger.sum_changes import SumChanges


@dataclass
class TransactionCounts:
    """The counts of one transaction. Keys are calibration ids unless a comment says otherwise."""

    changes: SumChanges = field(default_factory=SumChanges)
    delays_s: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    duplicates: Counter[int] = field(default_factory=Counter)
    rejected: Counter[Reason] = field(default_factory=Counter)
    alarms: Counter[int] = field(default_factory=Counter)
