"""The one table of errors: the status, code and sentence that a client gets for each error class.

The hot route, the other HTTP routes (also of `candor monitor`), the Open Inference Protocol and
gRPC all read it. docs/reference/errors.md is generated from it.
"""

import json
import logging
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from model_store.errors import (
    BrokenImage,
    EmptyImage,
    ImageTooComplex,
    ImageTooLarge,
    NoSuchFrame,
    TooManyFrames,
    UnknownImage,
    UnsupportedImage,
)
from monitoring.errors import (
    AlarmAcknowledged,
    AnswersSpooled,
    BodiesFull,
    BodyCompressed,
    BodyNotJson,
    BodyTimeout,
    BodyTooLarge,
    FeedbackInvalid,
    FormInvalid,
    ItemsRejected,
    LabelUnknown,
    ModelDiffers,
    ModelInvalid,
    ModelNotInLedger,
    ModelServed,
    ModelsFull,
    NoteInvalid,
    PendingFull,
    PredictionDiffers,
    PredictionInvalid,
    QueryInvalid,
    RecorderClosed,
    TableInvalid,
    TagNotWatched,
    clear_tracebacks,
)
from serving.errors import (
    AssetUnknown,
    CrossOrigin,
    DecoderUnavailable,
    ExplanationsBusy,
    ExplanationUnavailable,
    Forbidden,
    HeadTimeout,
    HeadTooLarge,
    InferenceFailed,
    LedgerFailed,
    MalformedHttp,
    MalformedRequest,
    MetricsElsewhere,
    ModelNotLoaded,
    ModelNotStored,
    NotReady,
    Overloaded,
    ReplicaLost,
    StoreMissing,
    Unauthorized,
    UnknownHost,
    UnsupportedMedia,
    VersionNotLoaded,
    VersionNotStored,
)

Rows = dict[type[Exception], tuple[int, str]]

# Errors of a request for a prediction. Their codes are also the reasons of
# candor_requests_rejected_total.
PREDICTION_ERRORS: Final[Rows] = {
    MalformedRequest: (400, "malformed_request"),
    EmptyImage: (400, "empty_body"),
    BrokenImage: (400, "broken_image"),
    NoSuchFrame: (400, "no_such_frame"),
    Unauthorized: (401, "unauthorized"),
    Forbidden: (403, "forbidden"),
    CrossOrigin: (403, "cross_origin"),
    UnknownHost: (403, "unknown_host"),
    ModelNotLoaded: (404, "unknown_model"),
    VersionNotLoaded: (404, "unknown_version"),
    BodyTimeout: (408, "body_timeout"),
    BodyTooLarge: (413, "body_too_large"),
    ImageTooComplex: (413, "image_too_complex"),
    ImageTooLarge: (413, "image_too_large"),
    TooManyFrames: (413, "too_many_frames"),
    BodyCompressed: (415, "compressed_body"),
    UnknownImage: (415, "not_an_image"),
    UnsupportedImage: (415, "unsupported_image"),
    UnsupportedMedia: (415, "unsupported_media_type"),
    BodiesFull: (429, "bodies_full"),
    ExplanationsBusy: (429, "explanations_busy"),
    Overloaded: (429, "overloaded"),
    InferenceFailed: (500, "inference_failed"),
    DecoderUnavailable: (503, "decoder_unavailable"),
    NotReady: (503, "not_ready"),
    ExplanationUnavailable: (503, "unexplained"),
    LedgerFailed: (503, "ledger_failed"),
}
# Errors of feedback, logged predictions and reports.
MONITORING_ERRORS: Final[Rows] = {
    BodyNotJson: (400, "malformed_body"),
    ModelNotInLedger: (404, "unknown_model"),
    TagNotWatched: (404, "tag_not_watched"),
    AlarmAcknowledged: (409, "alarm_acknowledged"),
    ModelDiffers: (409, "model_differs"),
    ModelServed: (409, "model_served"),
    ModelsFull: (409, "too_many_models"),
    PredictionDiffers: (409, "prediction_differs"),
    FeedbackInvalid: (422, "invalid_feedback"),
    FormInvalid: (422, "invalid_form"),
    NoteInvalid: (422, "invalid_note"),
    LabelUnknown: (422, "unknown_label"),
    ModelInvalid: (422, "invalid_model"),
    PredictionInvalid: (422, "invalid_prediction"),
    QueryInvalid: (422, "invalid_query"),
    TableInvalid: (422, "invalid_table"),
    AnswersSpooled: (503, "ledger_unavailable"),
    PendingFull: (503, "too_many_pending"),
    RecorderClosed: (503, "recorder_closed"),
    SQLAlchemyError: (503, "ledger_unavailable"),
}
# Errors of pages and of the files that they load.
PAGE_ERRORS: Final[Rows] = {
    AssetUnknown: (404, "unknown_file"),
    ModelNotStored: (404, "unknown_model"),
    StoreMissing: (404, "no_model_store"),
    VersionNotStored: (404, "unknown_version"),
}
# Errors of a connection, before there is a request.
CONNECTION_ERRORS: Final[Rows] = {
    MalformedHttp: (400, "malformed_http"),
    HeadTimeout: (408, "head_timeout"),
    HeadTooLarge: (431, "head_too_large"),
}
# Errors of a server of several replicas.
CLUSTER_ERRORS: Final[Rows] = {
    MetricsElsewhere: (404, "metrics_elsewhere"),
    ReplicaLost: (503, "replica_lost"),
}
ERRORS: Final[Rows] = (
    PREDICTION_ERRORS | MONITORING_ERRORS | PAGE_ERRORS | CONNECTION_ERRORS | CLUSTER_ERRORS
)
NOT_READY: Final = ERRORS[NotReady][
    0
]  # also the status of health checks, whose bodies are not errors
ROUTING_CODES: Final = {
    404: "unknown_path",
    405: "method_not_allowed",
}  # codes of Starlette's own HTTPException
# Sentences for errors whose own text is not for clients.
SENTENCES: Final[dict[type[Exception], str]] = {
    SQLAlchemyError: "The ledger cannot be read or written now; try again later.",
}
GRPC_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error as the client sees it. `headers` are ASGI's pairs; `extra` are more fields of the
    JSON body.
    """

    status: int
    code: str
    detail: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def grpc_status(self) -> str:
        """The name of the gRPC status code nearest to the HTTP status."""
        return GRPC_STATUS.get(self.status, "INTERNAL")

    @property
    def phrase(self) -> str:
        """The reason phrase of the HTTP status."""
        return HTTPStatus(self.status).phrase

    def body(self) -> bytes:
        """The JSON body: {"error": code, "detail": sentence}, and `extra`."""
        return json.dumps({"error": self.code, "detail": self.detail} | self.extra).encode()


INTERNAL: Final = ErrorAnswer(
    500,
    "internal_error",
    "the server failed; its log has the details. The request itself is not the cause.",
)


def error_answer(error: BaseException) -> ErrorAnswer:
    """What the client gets for `error`: the row of the nearest class in the table, INTERNAL if
    there is none.

    An error that has a row forgets how it came about.
    """
    if isinstance(error, HTTPException):
        return ErrorAnswer(
            error.status_code,
            ROUTING_CODES.get(error.status_code, "http_error"),
            error.detail,
            tuple(
                (name.lower().encode(), value.encode())
                for name, value in (error.headers or {}).items()
            ),
        )
    kind = _row_of(error.cause if isinstance(error, ItemsRejected) else type(error))
    if kind is None:
        return INTERNAL
    clear_tracebacks(error)
    status, code = ERRORS[kind]
    if isinstance(error, ItemsRejected) and error.results is not None:
        return ErrorAnswer(422, code, str(error), extra={"results": error.results})
    return ErrorAnswer(status, code, SENTENCES.get(kind) or str(error), _headers(error))


def _row_of(kind: type[BaseException]) -> type[Exception] | None:
    return next((each for each in kind.__mro__ if each in ERRORS), None)


def _headers(error: BaseException) -> tuple[tuple[bytes, bytes], ...]:
    if isinstance(error, Unauthorized):
        return ((b"www-authenticate", b"Bearer"),)
    if isinstance(error, Overloaded | BodiesFull | ReplicaLost):
        return ((b"retry-after", str(error.retry_after_s).encode()),)
    return ()


def log_error(path: str, answer: ErrorAnswer, error: Exception) -> None:
    """Log an error with its answer in one line, with a traceback only if the server is at fault."""
    fields = {
        "path": path[:200],
        "status": answer.status,
        "error": answer.code,
        "detail": answer.detail,
    }
    if answer is INTERNAL:
        logger.error("request failed", extra={"fields": fields}, exc_info=error)
    else:
        logger.info("request refused", extra={"fields": fields})
