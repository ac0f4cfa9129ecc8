"""What one transaction did, kept until it is committed: only then do the process's counters move."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from monitoring.feedback.items import Reason
from monitoring.ledger.sums import SumChanges


@dataclass
class Tally:
    """One transaction's counts. Keys are calibration ids where not said otherwise."""

    changes: SumChanges = field(default_factory=SumChanges)
    delays_s: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    duplicates: Counter[int] = field(default_factory=Counter)
    rejected: Counter[Reason] = field(default_factory=Counter)
    alarms: Counter[int] = field(default_factory=Counter)
