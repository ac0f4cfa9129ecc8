"""A logged prediction on its way into the ledger, and its result."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from monitoring.feedback.items import FeedbackStatus

Probabilities = tuple[float, ...] | Mapping[str, float]  # in the classes' order, or by class


class LoggedItem(NamedTuple):
    """One prediction. Times in nanoseconds since 1970; `tags` as in the ledger.

    Identified by `prediction_id` (16 bytes of a UUIDv7) or `request_id`. Has `probabilities`, or
    `predicted` and `confidence`. `label` is the true class, if it is known. Without `version` it
    belongs to the model's newest.
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
    """The status of a prediction."""

    ACCEPTED = "accepted"
    UNCHANGED = "unchanged"  # the ledger already has this prediction
    EXPIRED = "expired"  # older than the ledger keeps predictions
    REJECTED = "rejected"  # `detail` says why


class Fault(StrEnum):
    """Why a prediction was rejected."""

    INVALID = "invalid_prediction"
    UNKNOWN_MODEL = "unknown_model"
    SERVED = "model_served"  # by Candor itself, which records its answers
    UNKNOWN_LABEL = "unknown_label"
    DIFFERS = "prediction_differs"  # the ledger has a different prediction with this id


class LoggedResult(NamedTuple):
    """The result of one item; `feedback` is the result of its label, if it had one."""

    status: LoggedStatus
    prediction_id: bytes | None = None
    feedback: FeedbackStatus | None = None
    fault: Fault | None = None
    detail: str | None = None
