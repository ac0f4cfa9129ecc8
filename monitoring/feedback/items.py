"""A label on its way into the ledger, its result, and the counts of one transaction.

An item names an answer either by `prediction_id` or by `model` and `request_id`, never by both.

Labels of findings come as people write them: by finding, or as a list with what was looked for. A
blank is a missing label, never a negative one. So a list of findings needs the set that the reader
looked for: what it does not name is absent then, and without that set nobody knows.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Final, NamedTuple, TypeAlias

from msgspec import Meta

from calibration.calibrators.finding_answers import ABSENT_PRESENT
from monitoring.errors import FeedbackInvalid, MonitoringError, brief
from monitoring.http.fields import ID_LIMIT
from monitoring.ledger.sum_changes import SumChanges
from monitoring.ledger.watched_version import UNCERTAIN, CountsAs

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


Presence: TypeAlias = bool | float | str | None
LookedFor: TypeAlias = Annotated[
    str,
    Meta(
        max_length=ID_LIMIT,
        description="the findings that the reader looked for, separated by |, or * for all: those "
        "that label does not name are absent; blank: nothing is known",
        examples=["*"],
    ),
]
FINDINGS_LIMIT: Final = 1_000  # in one item
_ABSENT, _PRESENT = ABSENT_PRESENT
_SAID: Final = {1.0: _PRESENT, 0.0: _ABSENT, -1.0: UNCERTAIN}
_WORDS: Final = {
    **{name: name for name in (*ABSENT_PRESENT, UNCERTAIN)},
    **{"true": _PRESENT, "false": _ABSENT},
}


def read_labels(
    label: str | None, labels: Mapping[str, Presence] | None, looked_for: str | None
) -> tuple[str, dict[str, str] | None]:
    """Return a class and None, or '' and "present", "absent" or "uncertain" by finding.

    Raises FeedbackInvalid.

    >>> read_labels(None, {"Edema": 1, "Mass": "0", "Nodule": None, "Hernia": -1}, None)
    ('', {'Edema': 'present', 'Mass': 'absent', 'Hernia': 'uncertain'})
    >>> read_labels("Edema|Mass", None, "*")
    ('', {'Edema': 'present', 'Mass': 'present', '*': 'absent'})
    >>> read_labels("Edema", None, " ")  # nobody said what was looked for
    ('', {})
    """
    if labels is not None:
        if label is not None or looked_for is not None:
            raise FeedbackInvalid("Give 'labels' alone, or 'label' with 'looked_for'.")
        read = {name: _read(name, value) for name, value in labels.items()}
        found = {name: said for name, said in read.items() if said is not None}
    elif looked_for is not None:
        found = _listed(_names(label or ""), _names(looked_for)) if looked_for.strip() else {}
    elif label is None:
        raise FeedbackInvalid("Give 'label', or 'labels' of findings.")
    else:
        return label, None
    if len(found) > FINDINGS_LIMIT:
        raise FeedbackInvalid(f"An item labels at most {FINDINGS_LIMIT:,} findings.")
    return "", found


def _read(name: str, value: Presence) -> str | None:
    """The label of one finding; None if it is missing."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        said = _WORDS.get(value.strip().lower())
        if said is None:
            try:
                said = _SAID.get(float(value))
            except ValueError:
                said = None
    else:
        said = _SAID.get(float(value))
    if said is None:
        raise FeedbackInvalid(
            f"The label of {brief(name)} must be 1, 0, -1, present, absent, uncertain or blank; "
            f"got {brief(str(value))}."
        )
    return said


def _listed(there: list[str], looked_for: list[str]) -> dict[str, str]:
    found = dict.fromkeys(looked_for, _ABSENT)
    if OTHERS not in found and NO_FINDING not in found:
        there = [name for name in there if name != NO_FINDING]
    for name in there:
        if name not in found and OTHERS not in found:
            raise FeedbackInvalid(
                f"'label' names {brief(name)}, which 'looked_for' does not; name it there, or "
                "give *."
            )
        found[name] = _PRESENT
    return {name: found[name] for name in [*there, *found]}


def _names(text: str) -> list[str]:
    return [name for part in text.split("|") if (name := part.strip())]
