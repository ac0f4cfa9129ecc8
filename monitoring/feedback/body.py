"""The bodies of POST /feedback: a label as JSON or as the row of a table, and its result.

A table may have a column for each finding in place of `labels`. Refused: what is not JSON, wrong
types (NaN for a label is one), unknown fields, ids over 200 characters, text that no database can
store, lists over 10,000 items.
"""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from monitoring.errors import FeedbackInvalid, MonitoringError, brief
from monitoring.feedback.items import (
    FeedbackItem,
    FeedbackResult,
    FeedbackStatus,
    LookedFor,
    Presence,
    Reason,
    read_labels,
)
from monitoring.http.endpoint import ErrorBody
from monitoring.http.fields import Moment, Text, Uuid, check_storable
from monitoring.http.json_body import JsonReader
from monitoring.patient_id import read_patient

LIST_LIMIT = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Label(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The true class of an answer, or which findings its image shows. The answer is named by
    prediction_id, or by model and request_id.
    """

    label: (
        Annotated[
            Text,
            Meta(
                description="name of the true class; with looked_for, the findings that are there, "
                "separated by |",
                examples=["pneumonia"],
            ),
        ]
        | None
    ) = None
    labels: (
        Annotated[
            dict[str, Presence],
            Meta(
                description="by finding: 1 present, 0 absent, -1 uncertain; null or left out: no "
                "label",
                examples=[{"Edema": 1, "Mass": 0, "Nodule": None}],
            ),
        ]
        | None
    ) = None
    looked_for: LookedFor | None = None
    prediction_id: Uuid | None = None
    model: Text | None = None
    request_id: Annotated[Text, Meta(description="your own id of the image")] | None = None
    source: (
        Annotated[Text, Meta(description="where the label comes from", examples=["biopsy"])] | None
    ) = None
    reader: (
        Annotated[
            Text, Meta(description="who read the image; another reader's is a second reading")
        ]
        | None
    ) = None
    observed_at: Moment | None = None
    patient: (
        Annotated[
            Text,
            Meta(
                description="identifies the patient of an answer that was served without one; only "
                "a keyed hash is stored"
            ),
        ]
        | int
        | None
    ) = None

    def item(self) -> FeedbackItem:
        """The label as it is recorded. Raises FeedbackInvalid."""
        given = tuple(
            name is not None for name in (self.prediction_id, self.model, self.request_id)
        )
        if given not in ((True, False, False), (False, True, True)):
            raise FeedbackInvalid(
                "Name the answer by 'prediction_id' alone, or by 'model' and 'request_id'."
            )
        for name in ("label", "looked_for", "model", "request_id", "source", "reader"):
            check_storable(name, getattr(self, name))
        label, findings = read_labels(self.label, self.labels, self.looked_for)
        return FeedbackItem(
            label,
            None if self.prediction_id is None else read_uuid("prediction_id", self.prediction_id),
            self.model,
            self.request_id,
            self.source,
            read_time_ns("observed_at", self.observed_at),
            self.reader,
            findings,
            patient=check_patient(self.patient),
        )


class LabelResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of a label."""

    status: FeedbackStatus
    prediction_id: UUID | None = None
    findings: (
        Annotated[
            dict[str, FeedbackStatus],
            Meta(description="the status of each finding; `status` is the one of most weight"),
        ]
        | None
    ) = None
    detail: Annotated[str, Meta(description="why the label was rejected")] | None = None

    @classmethod
    def of(cls, result: FeedbackResult) -> "LabelResult":
        """The result as it is sent."""
        prediction_id = UUID(bytes=result.prediction_id) if result.prediction_id else None
        return cls(
            status=result.status,
            prediction_id=prediction_id,
            findings=result.findings,
            detail=result.detail,
        )


class LabelsRejected(ErrorBody, frozen=True):
    """Every label was rejected."""

    results: (
        Annotated[list[LabelResult], Meta(description="of a list: why each was rejected")]
        | UnsetType
    ) = UNSET


def _from_columns(entry: Any) -> Any:
    """A row of a table that has a column for each finding, which no field is named like."""
    if not isinstance(entry, dict) or not entry.keys() - FIELDS or entry.keys() & OF_LABELS:
        return entry
    labels = {name: value for name, value in entry.items() if name not in FIELDS}
    return {name: value for name, value in entry.items() if name in FIELDS} | {"labels": labels}


FIELDS = frozenset(Label.__struct_fields__)
OF_LABELS = frozenset({"label", "labels", "looked_for"})
LABELS = JsonReader(Label, FeedbackInvalid, whole="An item", prepare=_from_columns)


def rejection(detail: str) -> FeedbackResult:
    """The result of an item that cannot be read."""
    return FeedbackResult(FeedbackStatus.REJECTED, None, Reason.INVALID, detail, FeedbackInvalid)


def check_patient(
    value: str | int | None, *, refusal: type[MonitoringError] = FeedbackInvalid
) -> str | None:
    """Return what identifies a patient, or None. Raises `refusal`."""
    try:
        return read_patient(None if value is None else str(value))
    except ValueError as error:
        raise refusal(f"Field {error}") from None


def read_uuid(name: str, value: str) -> bytes:
    """The 16 bytes of a UUID. Raises FeedbackInvalid."""
    try:
        return UUID(value).bytes
    except ValueError as error:
        raise FeedbackInvalid(
            f"Field '{name}' must be the UUID from an answer; got {brief(value)}."
        ) from error


def read_time_ns(name: str, value: str | None) -> int | None:
    """Nanoseconds since 1970 of an ISO 8601 time (UTC); None for None. Raises FeedbackInvalid."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise FeedbackInvalid(
            f"Field '{name}' must be an ISO 8601 time; got {brief(value)}."
        ) from error
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    nanoseconds = ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000
    if not 0 <= nanoseconds < 2**63:
        raise FeedbackInvalid(
            f"Field '{name}' must be a time between 1970 and 2262; got {brief(value)}."
        )
    return nanoseconds
