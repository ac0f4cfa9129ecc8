"""The bodies of POST /predictions-log: a prediction as JSON or as the row of a table, and its
result.

The columns are those of `candor ledger export`: `predicted` is what the model said, `label` the
truth. The cells of a CSV are text: numbers are read from it, and `probabilities` and `tags` may be
JSON in their cells.
"""

import json
from typing import Annotated, Any, TypeAlias
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from model_store.errors import TagsInvalid
from model_store.tags import read_tags, tags_of
from monitoring.errors import PredictionInvalid, brief
from monitoring.feedback.body import check_patient, read_time_ns, read_uuid
from monitoring.feedback.items import FeedbackStatus, LookedFor, Presence, read_labels
from monitoring.http.endpoint import ErrorBody
from monitoring.http.fields import Fraction, Moment, Text, Uuid, Version, check_storable
from monitoring.http.json_body import JsonReader, check_keys
from monitoring.logged.declaration import CLASSES_LIMIT
from monitoring.logged.items import LoggedItem, LoggedResult, LoggedStatus, rejected

_SUM_TOLERANCE = 0.01  # for probabilities that were rounded before they were sent

_PerClass = Meta(min_length=2, max_length=CLASSES_LIMIT)
Probabilities: TypeAlias = (
    Annotated[tuple[Fraction, ...], _PerClass] | Annotated[dict[str, Fraction], _PerClass]
)


class LoggedPrediction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An answer given elsewhere: an id of it, and probabilities, or predicted and confidence."""

    model: (
        UnsetType
        | Annotated[Text, Meta(description="who answered; the query's if left out")]
        | None
    ) = UNSET
    version: (
        UnsetType
        | Annotated[
            Version,
            Meta(description="the query's if left out; the newest declared if null or in neither"),
        ]
        | None
    ) = UNSET
    prediction_id: Annotated[Uuid, Meta(description="a UUIDv7, if you have one")] | None = None
    request_id: Annotated[Text, Meta(description="your own id of the answer")] | None = None
    probabilities: Probabilities | None = None
    findings: (
        Annotated[
            dict[str, Fraction],
            Meta(
                max_length=CLASSES_LIMIT,
                description="of a model with findings, in place of `probabilities`: the "
                "probability that each is present",
                examples=[{"Edema": 0.62, "Mass": 0.03}],
            ),
        ]
        | None
    ) = None
    finding: (
        Annotated[Text, Meta(description="of a row about one finding, as an export has them")]
        | None
    ) = None
    predicted: Annotated[Text, Meta(description="the class that the model predicted")] | None = None
    confidence: Fraction | None = None
    served_at: Moment | None = None
    tags: Annotated[str, Meta(examples=["site=A,device=CT-2"])] | dict[str, str] | None = None
    audit: (
        Annotated[
            float, Meta(gt=0, le=1, description="the probability of being drawn for an audit")
        ]
        | None
    ) = None
    patient: (
        Annotated[Text, Meta(description="identifies the patient; only a keyed hash is stored")]
        | int
        | None
    ) = None
    scope_p: Annotated[Fraction, Meta(description="p-value of the image's scope check")] | None = (
        None
    )
    label: Annotated[Text, Meta(description="the true class, if it is known")] | None = None
    labels: Annotated[dict[str, Presence], Meta(description="of findings, as feedback")] | None = (
        None
    )
    looked_for: LookedFor | None = None
    source: Text | None = None
    reader: Text | None = None
    observed_at: Moment | None = None

    def item(self, model: str | None = None, version: int | None = None) -> LoggedItem:
        """The answer as it is recorded; `model` and `version` stand in where it leaves them out.

        Raises PredictionInvalid or FeedbackInvalid.
        """
        named = model if self.model is UNSET else self.model
        item = LoggedItem(
            model=check_storable("model", named) or "",
            version=version if self.version is UNSET else self.version,
            prediction_id=_read_uuid7("prediction_id", self.prediction_id),
            request_id=check_storable("request_id", self.request_id),
            probabilities=_summing_to_one(self.probabilities),
            predicted=check_storable("predicted", self.predicted),
            confidence=self.confidence,
            served_at_ns=read_time_ns("served_at", self.served_at),
            tags=_read_tags(self.tags),
            audit=self.audit,
            patient=check_patient(self.patient, refusal=PredictionInvalid),
            scope_p=self.scope_p,
            label=check_storable("label", self.label),
            findings=self.findings,
            finding=check_storable("finding", self.finding) or "",
            labels=self._labels(),
            source=check_storable("source", self.source),
            observed_at_ns=read_time_ns("observed_at", self.observed_at),
            reader=check_storable("reader", self.reader),
        )
        item.require()
        return item

    def _labels(self) -> dict[str, str] | None:
        if self.labels is None and self.looked_for is None:
            return None
        return read_labels(self.label, self.labels, self.looked_for)[1]


class LoggedPredictionResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of a logged prediction, and of its label, if it had one."""

    status: LoggedStatus
    prediction_id: UUID | None = None
    feedback: FeedbackStatus | None = None
    detail: Annotated[str, Meta(description="why the prediction was rejected")] | None = None

    @classmethod
    def of(cls, result: LoggedResult) -> "LoggedPredictionResult":
        """The result as it is sent."""
        prediction_id = UUID(bytes=result.prediction_id) if result.prediction_id else None
        return cls(
            status=result.status,
            prediction_id=prediction_id,
            feedback=result.feedback,
            detail=result.detail,
        )


class LoggedPredictionsRejected(ErrorBody, frozen=True):
    """Every prediction was rejected."""

    results: (
        Annotated[
            list[LoggedPredictionResult], Meta(description="of a list: why each was rejected")
        ]
        | UnsetType
    ) = UNSET


def rejection(detail: str) -> LoggedResult:
    """The result of a prediction that cannot be read."""
    return rejected(PredictionInvalid, detail)


def _read_uuid7(name: str, value: str | None) -> bytes | None:
    key = None if value is None else read_uuid(name, value)
    if key is not None and UUID(bytes=key).version != 7:
        raise PredictionInvalid(
            f"Field '{name}' must be a UUIDv7; send any other id as 'request_id'."
        )
    return key


def _summing_to_one(probabilities: Probabilities | None) -> Probabilities | None:
    if probabilities is not None:
        total = sum(probabilities.values() if isinstance(probabilities, dict) else probabilities)
        if abs(total - 1) > _SUM_TOLERANCE:
            raise PredictionInvalid(f"Field 'probabilities' must add up to 1; got {total:.3f}.")
    return probabilities


def _read_tags(value: str | dict[str, str] | None) -> str | None:
    try:
        if isinstance(value, str) and not value.lstrip().startswith("{"):
            return read_tags(value)
        return tags_of(_from_cell("tags", value))
    except TagsInvalid as error:
        raise PredictionInvalid(str(error)) from None


def _from_text(entry: Any) -> Any:
    """An entry whose probabilities are JSON in a cell of a CSV. Raises PredictionInvalid."""
    if not isinstance(entry, dict):
        return entry
    cells = (
        name for name in ("probabilities", "findings", "labels") if isinstance(entry.get(name), str)
    )
    return entry | {name: _from_cell(name, entry[name]) for name in cells}


def _from_cell(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        check_keys(value)
        return json.loads(value)
    except (ValueError, RecursionError):
        raise PredictionInvalid(
            f"Field '{name}' must be JSON in a cell, with each key once; got {brief(value)}."
        ) from None


FIELDS = frozenset(LoggedPrediction.__struct_fields__)
PREDICTIONS = JsonReader(
    LoggedPrediction, PredictionInvalid, whole="An item", prepare=_from_text, numbers_as_text=True
)
