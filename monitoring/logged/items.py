"""A logged prediction and what becomes of it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from monitoring.errors import MonitoringError
from monitoring.feedback.items import STATUSES, FeedbackItem, FeedbackStatus
from monitoring.ledger.findings import finding_id

Probabilities = tuple[float, ...] | Mapping[str, float]  # in the classes' order, or by class


class LoggedItem(NamedTuple):
    """One prediction. Times in nanoseconds since 1970; `tags` as in the ledger,
    `patient` as the caller sent it.

    Identified by `prediction_id` (16 bytes of a UUIDv7) or `request_id`. Has `probabilities`, or
    `predicted` and `confidence`. `label` is the true class, if it is known. Without `version` it
    belongs to the model's newest. Of an image with findings, `findings` has the probability that
    each is present, and `labels` what is known; `finding` is that of an item that `apart` returned.
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
    patient: str | None = None
    scope_p: float | None = None
    label: str | None = None
    source: str | None = None
    observed_at_ns: int | None = None
    reader: str | None = None
    findings: Mapping[str, float] | None = None
    labels: Mapping[str, str] | None = None
    finding: str = ""

    def apart(self, known: Sequence[str]) -> "list[LoggedItem]":
        """Return one item for each finding of an image, of a model with those that are `known`."""
        if self.findings is None:
            return [self]
        of_image = FeedbackItem("", findings=self.labels).apart(known) if self.labels else []
        labels = {each.finding: each.label for each in of_image}
        return [
            self._replace(
                finding=name, confidence=p, findings=None, labels=None, label=labels.get(name)
            )
            for name, p in self.findings.items()
        ]


class LoggedStatus(StrEnum):
    """The status of a prediction."""

    ACCEPTED = "accepted"
    UNCHANGED = "unchanged"  # the ledger already has this prediction
    EXPIRED = "expired"  # older than the ledger keeps predictions
    REJECTED = "rejected"  # `detail` says why


class LoggedResult(NamedTuple):
    """The result of one item; `feedback` is the result of its label, if it had one.

    `cause`: the class of the error for which it was rejected.
    """

    status: LoggedStatus
    prediction_id: bytes | None = None
    feedback: FeedbackStatus | None = None
    cause: type[MonitoringError] | None = None
    detail: str | None = None


def joined(parts: Sequence[tuple[LoggedItem, LoggedResult]]) -> LoggedResult:
    """Return the result of an image from those of its findings: the least good one speaks."""
    order = list(LoggedStatus)
    item, first = max(parts, key=lambda part: order.index(part[1].status))
    feedback = [result.feedback for _, result in parts if result.feedback is not None]
    image_id = first.prediction_id and finding_id(first.prediction_id, item.finding)
    said = min(feedback, key=STATUSES.index) if feedback else None
    return first._replace(prediction_id=image_id, feedback=said)


def label_of(item: LoggedItem, result: LoggedResult) -> FeedbackItem | None:
    """The label that was sent with a prediction, if that is in the ledger now."""
    if item.label is None or result.status not in (LoggedStatus.ACCEPTED, LoggedStatus.UNCHANGED):
        return None
    return FeedbackItem(
        item.label,
        finding_id(result.prediction_id or b"", item.finding),
        finding=item.finding,
        source=item.source,
        observed_at_ns=item.observed_at_ns,
        reader=item.reader,
    )


def rejected(cause: type[MonitoringError], detail: str) -> LoggedResult:
    """The result of an item that is not recorded."""
    return LoggedResult(LoggedStatus.REJECTED, cause=cause, detail=detail)
