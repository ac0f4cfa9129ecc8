"""A label on its way into the ledger, its result, and the counts of one transaction.

An item names an answer either by `prediction_id` or by `model` and `request_id`, never by both.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from monitoring.errors import MonitoringError
from monitoring.ledger.sum_changes import SumChanges
from monitoring.ledger.watched_version import CountsAs

OTHERS: Final = "*"  # in `findings`: all that the item does not name
NO_FINDING: Final = "No Finding"  # in a list: it names none, unless the model has one of that name


class FeedbackItem(NamedTuple):
    """One label of a class by name, or the labels of an image's findings. `prediction_id`: 16
    bytes, the image's. Times in ns since 1970.

    `source`: where it comes from, which decides what it counts as; `reader`: who read the image.
    `patient`: of an answer that was served without one; the keyed hash once it is recorded.
    `findings`: "present", "absent" or UNCERTAIN, by finding; those left out have no label. None of
    exclusive classes. `finding`: the one that `label` is about, of an item that `apart` returned.
    """

    label: str
    prediction_id: bytes | None = None
    model: str | None = None
    request_id: str | None = None
    source: str | None = None
    observed_at_ns: int | None = None
    reader: str | None = None
    findings: Mapping[str, str] | None = None
    finding: str = ""
    patient: str | int | None = None


class FeedbackStatus(StrEnum):
    """The status of a label."""

    ACCEPTED = "accepted"  # the answer's first label
    UNCHANGED = "unchanged"  # the answer had this label already
    CORRECTED = "corrected"  # the answer had another label; the sums have changed
    SECOND_READING = "second_reading"  # another reader's; compared with the truth, not counted
    PROXY = "proxy"  # its source is a proxy; compared with truths, not counted
    IGNORED = "ignored"  # its source is ignored; kept, not used
    UNCERTAIN = "uncertain"  # of a finding: the reader does not decide; kept, not used
    PENDING = "pending"  # no answer of that request id yet; joined when it arrives
    UNKNOWN = "unknown"  # no such prediction in the ledger
    EXPIRED = "expired"  # older than the ledger keeps predictions
    REJECTED = "rejected"  # invalid; `detail` says why


STATUSES: Final = (  # of several, the first speaks for the image
    *(FeedbackStatus.REJECTED, FeedbackStatus.UNKNOWN, FeedbackStatus.EXPIRED),
    *(FeedbackStatus.PENDING, FeedbackStatus.CORRECTED, FeedbackStatus.ACCEPTED),
    *(FeedbackStatus.SECOND_READING, FeedbackStatus.PROXY, FeedbackStatus.IGNORED),
    *(FeedbackStatus.UNCERTAIN, FeedbackStatus.UNCHANGED),
)


class Reason(StrEnum):
    """Why a label was not recorded: the values of candor_feedback_rejected_total{reason}."""

    UNKNOWN_PREDICTION = "unknown_prediction"
    EXPIRED = "expired"
    UNKNOWN_LABEL = "unknown_label"
    UNKNOWN_MODEL = "unknown_model"
    INVALID = "invalid"
    PENDING_FULL = "pending_full"


class FeedbackResult(NamedTuple):
    """The result of one item. `reason` is set when nothing was recorded. `detail` explains, and
    `cause` is the class of, the error for which an item was rejected. `findings`: of an item that
    labels findings, the status of each.
    """

    status: FeedbackStatus
    prediction_id: bytes | None = None
    reason: Reason | None = None
    detail: str | None = None
    cause: type[MonitoringError] | None = None
    findings: dict[str, FeedbackStatus] | None = None


@dataclass
class TransactionCounts:
    """The counts of one transaction, by watched version id unless a comment says otherwise."""

    changes: SumChanges = field(default_factory=SumChanges)
    delays_s: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    duplicates: Counter[int] = field(default_factory=Counter)
    aside: Counter[tuple[int, CountsAs]] = field(default_factory=Counter)  # not counted as truth
    rejected: Counter[Reason] = field(default_factory=Counter)
    alarms: Counter[int] = field(default_factory=Counter)
