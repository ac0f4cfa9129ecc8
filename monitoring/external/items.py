"""An answer that was given elsewhere as it comes in, and what became of it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from monitoring.feedback.items import FeedbackStatus

Probabilities = tuple[float, ...] | Mapping[str, float]  # in the classes' order, or by class


class LoggedItem(NamedTuple):
    """One answer. Times in nanoseconds since 1970; `tags` as in the ledger.

    Named by `prediction_id` (16 bytes of a UUIDv7) or `request_id`; says `probabilities`, or `predicted` and
    `confidence`; `label` is the true class, where it is known already. Without `version`: the model's newest.
    """

    model: str
    version: int | None = None
    prediction_id: bytes | None = None
    request_id: str | None = None
    probabilities: Probabilities | None = None
    predicted: str | None = None
    confidence: float | None = None
    served_at_ns: int | None = None
    tags: str | None = None
    audit: float | None = None
    label: str | None = None
    source: str | None = None
    observed_at_ns: int | None = None


class LoggedStatus(StrEnum):
    """What became of an answer."""

    ACCEPTED = "accepted"
    UNCHANGED = "unchanged"  # it is in the ledger already, as it was said
    EXPIRED = "expired"  # older than the ledger keeps answers
    REJECTED = "rejected"  # `detail` says why


class Fault(StrEnum):
    """Why an answer was rejected."""

    INVALID = "invalid_prediction"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_LABEL = "unknown_label"
    DIFFERS = "prediction_differs"  # the ledger has an answer of this id that says something else


class LoggedResult(NamedTuple):
    """What became of one item; `feedback`: what became of its label, where it had one."""

    status: LoggedStatus
    prediction_id: bytes | None = None
    feedback: FeedbackStatus | None = None
    fault: Fault | None = None
    detail: str | None = None
