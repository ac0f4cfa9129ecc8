"""A logged prediction and what becomes of it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from calibration.findings.labels import spelled
from calibration.wording import counted
from monitoring.errors import (
    FindingNeeded,
    FindingUnknown,
    LabelUnknown,
    MonitoringError,
    PredictionInvalid,
    brief,
)
from monitoring.feedback.apart import spread
from monitoring.feedback.items import (
    NO_FINDING,
    OTHERS,
    STATUSES,
    FeedbackItem,
    FeedbackStatus,
)
from monitoring.ledger.predictions import finding_id, time_of_id
from monitoring.ledger.schema import DAY_NS
from monitoring.ledger.watched_version import PRESENT, WatchedVersion

_ROUNDING = 1e-4  # of a confidence against its probability
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

    def require(self) -> None:
        """Raise PredictionInvalid if it lacks its model, an id or what was answered."""
        if not self.model:
            raise PredictionInvalid(
                "Field 'model' is missing; name it in the item or as ?model=NAME."
            )
        if self.prediction_id is None and self.request_id is None:
            raise PredictionInvalid(
                "Give each answer an id: 'request_id' (any text of yours), or a UUIDv7 "
                "'prediction_id'."
            )
        if self.findings is not None or self.finding:
            return
        if self.probabilities is None and (self.predicted is None or self.confidence is None):
            raise PredictionInvalid(
                "Give 'probabilities', or 'predicted' (a class) and 'confidence'."
            )
        if self.prediction_id is None or self.served_at_ns is None:
            return
        if abs(self.served_at_ns - time_of_id(self.prediction_id)) > DAY_NS:
            raise PredictionInvalid(
                "Field 'served_at' is more than a day from the time in the UUIDv7 'prediction_id'."
            )

    def checked(self, known: Sequence[str]) -> "LoggedItem":
        """Return the item with findings as the model spells them; `known`: those that it has, ''
        of exclusive classes, nothing if it is not declared.

        Raises FindingNeeded, FindingUnknown or PredictionInvalid if it does not fit.
        """
        if self.findings is None and not self.finding and known and "" not in known:
            raise FindingNeeded(self.model, known)
        if self.findings is not None and self.label is not None and self.labels is None:
            raise FindingNeeded(self.model, known, label=True)
        item = self._replace(
            findings=self.findings and {spelled(n, known): p for n, p in self.findings.items()},
            labels=self.labels and {spelled(n, known): said for n, said in self.labels.items()},
            finding=spelled(self.finding, known),
        )
        for name in (*(item.findings or ()), *(item.labels or ()), item.finding):
            if name and name not in known and name not in (OTHERS, NO_FINDING) and known:
                raise FindingUnknown(name, [each for each in known if each])
        if item.findings is not None and (missing := {*known} - {*item.findings}):
            raise PredictionInvalid(
                f"'findings' lacks {brief(min(missing))}; give each of the model."
            )
        return item

    def apart(self, known: Sequence[str]) -> "list[LoggedItem]":
        """Return one item for each finding of an image, of a model with those that are `known`."""
        if self.findings is None:
            return [self]
        labels = spread(self.labels or {}, known)
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


class ReadAnswer(NamedTuple):
    """A prediction as stored; `probabilities` is empty if only the largest is known."""

    predicted: int
    confidence: float
    probabilities: bytes


def read_answer(item: LoggedItem, row: WatchedVersion) -> ReadAnswer:
    """Read a prediction of a declared version. Raises PredictionInvalid."""
    if row.finding:
        if item.confidence is None:
            raise PredictionInvalid("Give 'confidence', the probability that the finding is there.")
        return ReadAnswer(PRESENT, item.confidence, b"")
    predicted = None if item.predicted is None else row.class_index.get(item.predicted)
    if item.predicted is not None and predicted is None:
        raise PredictionInvalid(f"Field 'predicted': {LabelUnknown(item.predicted, row.classes)}")
    if item.probabilities is None:
        if predicted is None or item.confidence is None:
            raise PredictionInvalid("Give 'probabilities', or 'predicted' and 'confidence'.")
        return ReadAnswer(
            predicted, item.confidence, _of_two(predicted, item.confidence, len(row.classes))
        )
    probabilities = _in_order(item.probabilities, row)
    top = int(probabilities.argmax()) if predicted is None else predicted
    largest = float(probabilities.max())
    confidence = largest if item.confidence is None else item.confidence
    if probabilities[top] < largest or abs(confidence - largest) > _ROUNDING:
        raise PredictionInvalid(
            "'predicted' and 'confidence' are to be the class of the largest probability, and that."
        )
    return ReadAnswer(top, confidence, probabilities.astype("<f4").tobytes())


def _of_two(predicted: int, confidence: float, classes: int) -> bytes:
    """Both probabilities of a binary model; empty for more classes."""
    if classes != 2:
        return b""
    probabilities = np.full(2, 1 - confidence, dtype="<f4")
    probabilities[predicted] = confidence
    return probabilities.tobytes()


def _in_order(said: Mapping[str, float] | tuple[float, ...], row: WatchedVersion) -> np.ndarray:
    if isinstance(said, tuple):
        if len(said) != len(row.classes):
            raise PredictionInvalid(
                f"Got {counted(len(said), 'probability')}; the model has "
                f"{counted(len(row.classes), 'class')}."
            )
        return np.array(said)
    for name in said.keys() ^ row.class_index.keys():
        raise PredictionInvalid(
            f"'probabilities' needs each class of the model once: {brief(name)} is too much or "
            "missing."
        )
    return np.array([said[name] for name in row.classes])
