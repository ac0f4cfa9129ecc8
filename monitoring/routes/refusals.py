"""This room's refusals as JSON answers `{"error", "detail"}`: tables say which status and code belongs to what."""

from collections.abc import Awaitable, Callable

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from monitoring.errors import (
    AnswersSpooled,
    BodyMalformed,
    BodyStalled,
    BodyTooLarge,
    FeedbackInvalid,
    ModelDiffers,
    ModelInvalid,
    ModelsFull,
    ModelUnknown,
    MonitoringError,
    PredictionInvalid,
    QueryInvalid,
    RecorderClosed,
    TableInvalid,
)
from monitoring.external.items import Fault
from monitoring.feedback.items import Reason

REFUSALS: dict[type[Exception], tuple[int, str]] = {
    BodyMalformed: (400, "malformed_body"),
    BodyStalled: (408, "body_timeout"),
    BodyTooLarge: (413, "body_too_large"),
    FeedbackInvalid: (422, "invalid_feedback"),
    ModelInvalid: (422, "invalid_model"),
    ModelDiffers: (409, "model_differs"),
    ModelsFull: (409, "too_many_models"),
    PredictionInvalid: (422, "invalid_prediction"),
    ModelUnknown: (404, "unknown_model"),
    TableInvalid: (422, "invalid_table"),
    QueryInvalid: (422, "invalid_query"),
    AnswersSpooled: (503, "ledger_unavailable"),
    RecorderClosed: (503, "recorder_closed"),
    SQLAlchemyError: (503, "ledger_unavailable"),
}
REJECTIONS: dict[Reason, tuple[int, str]] = {
    Reason.INVALID: (422, "invalid_feedback"),
    Reason.UNKNOWN_LABEL: (422, "unknown_label"),
    Reason.UNKNOWN_MODEL: (404, "unknown_model"),
    Reason.PENDING_FULL: (503, "too_many_pending"),
}
FAULTS: dict[Fault, tuple[int, str]] = {
    Fault.INVALID: (422, "invalid_prediction"),
    Fault.UNKNOWN_LABEL: (422, "unknown_label"),
    Fault.UNKNOWN_MODEL: (404, "unknown_model"),
    Fault.DIFFERS: (409, "prediction_differs"),
}
Endpoint = Callable[[Request], Awaitable[Response]]


def answering(endpoint: Endpoint) -> Endpoint:
    """Turn this room's refusals into JSON answers."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except MonitoringError as error:
            return refused(*_refusal(error), str(error))
        except ClientDisconnect:
            return refused(400, "malformed_body", "The client hung up before its body was complete.")  # unheard
        except SQLAlchemyError as error:
            return refused(*_refusal(error), "The ledger cannot be read or written now; try again later.")

    return answer


def _refusal(error: Exception) -> tuple[int, str]:
    return next(REFUSALS[kind] for kind in type(error).__mro__ if kind in REFUSALS)


def refused(status: int, code: str, detail: str) -> Response:
    """The answer to what was refused."""
    return JSONResponse({"error": code, "detail": detail}, status)
