"""The one table of errors: the status, code and sentence that a client gets for each error class.

The hot route, the other HTTP routes (also of `candor monitor`) and the Open Inference Protocol
read it. docs/reference/errors.md is generated from it.
"""

import json
import logging
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from hosting import errors
from hosting.paced_lines import PacedLines
from model_store import errors as store
from monitoring import errors as monitoring
from monitoring.http.json_body import clear_tracebacks

Rows = dict[type[Exception], tuple[int, str]]

# Errors of a request for a prediction. Their codes are also the reasons of
# candor_requests_rejected_total.
PREDICTION_ERRORS: Final[Rows] = {
    errors.MalformedRequest: (400, "malformed_request"),
    store.EmptyImage: (400, "empty_body"),
    store.BrokenImage: (400, "broken_image"),
    store.NoSuchFrame: (400, "no_such_frame"),
    errors.Unauthorized: (401, "unauthorized"),
    errors.Forbidden: (403, "forbidden"),
    errors.CrossOrigin: (403, "cross_origin"),
    errors.UnknownHost: (403, "unknown_host"),
    errors.ModelNotLoaded: (404, "unknown_model"),
    errors.VersionNotLoaded: (404, "unknown_version"),
    monitoring.BodyTimeout: (408, "body_timeout"),
    monitoring.BodyTooLarge: (413, "body_too_large"),
    store.ImageTooComplex: (413, "image_too_complex"),
    store.ImageTooLarge: (413, "image_too_large"),
    store.TooManyFrames: (413, "too_many_frames"),
    monitoring.BodyCompressed: (415, "compressed_body"),
    store.UnknownImage: (415, "not_an_image"),
    store.UnsupportedImage: (415, "unsupported_image"),
    errors.UnsupportedMedia: (415, "unsupported_media_type"),
    errors.OutOfScope: (422, "out_of_scope"),
    monitoring.BodiesFull: (429, "bodies_full"),
    errors.ExplanationsBusy: (429, "explanations_busy"),
    errors.Overloaded: (429, "overloaded"),
    errors.InferenceFailed: (500, "inference_failed"),
    errors.DecoderUnavailable: (503, "decoder_unavailable"),
    errors.NotReady: (503, "not_ready"),
    errors.ExplanationUnavailable: (503, "unexplained"),
    errors.LedgerFailed: (503, "ledger_failed"),
    errors.VersionStopped: (503, "version_stopped"),
}
# Errors of feedback, logged predictions and reports.
MONITORING_ERRORS: Final[Rows] = {
    monitoring.BodyNotJson: (400, "malformed_body"),
    monitoring.ModelNotInLedger: (404, "unknown_model"),
    monitoring.PictureMissing: (404, "no_picture"),
    monitoring.TagNotWatched: (404, "tag_not_watched"),
    monitoring.AlarmAcknowledged: (409, "alarm_acknowledged"),
    monitoring.AuditMissing: (409, "no_audit"),
    monitoring.ModelDiffers: (409, "model_differs"),
    monitoring.ModelServed: (409, "model_served"),
    monitoring.ModelsFull: (409, "too_many_models"),
    monitoring.RecalibrationHarms: (409, "harms_subgroup"),
    monitoring.PredictionDiffers: (409, "prediction_differs"),
    monitoring.FeedbackInvalid: (422, "invalid_feedback"),
    monitoring.FindingNeeded: (422, "finding_needed"),
    monitoring.FindingUnknown: (422, "unknown_finding"),
    monitoring.FormInvalid: (422, "invalid_form"),
    monitoring.NoteInvalid: (422, "invalid_note"),
    monitoring.LabelUnknown: (422, "unknown_label"),
    monitoring.ModelInvalid: (422, "invalid_model"),
    monitoring.PredictionInvalid: (422, "invalid_prediction"),
    monitoring.QueryInvalid: (422, "invalid_query"),
    monitoring.SourcesInvalid: (422, "invalid_sources"),
    monitoring.TableInvalid: (422, "invalid_table"),
    monitoring.AnswersSpooled: (503, "ledger_unavailable"),
    monitoring.PendingFull: (503, "too_many_pending"),
    monitoring.RecorderClosed: (503, "recorder_closed"),
    SQLAlchemyError: (503, "ledger_unavailable"),
}
# Errors of pages and of the files that they load.
PAGE_ERRORS: Final[Rows] = {
    errors.AssetUnknown: (404, "unknown_file"),
    errors.ModelNotStored: (404, "unknown_model"),
    errors.StoreMissing: (404, "no_model_store"),
    errors.VersionNotStored: (404, "unknown_version"),
}
# Errors of a connection, before there is a request.
CONNECTION_ERRORS: Final[Rows] = {
    errors.MalformedHttp: (400, "malformed_http"),
    errors.HeadTooLarge: (431, "head_too_large"),
}
# Errors of a server of several replicas.
CLUSTER_ERRORS: Final[Rows] = {
    errors.MetricsElsewhere: (404, "metrics_elsewhere"),
}
ERRORS: Final[Rows] = (
    PREDICTION_ERRORS | MONITORING_ERRORS | PAGE_ERRORS | CONNECTION_ERRORS | CLUSTER_ERRORS
)
# Also the status of health checks, whose bodies are not errors.
NOT_READY: Final = ERRORS[errors.NotReady][0]
# Codes of Starlette's own HTTPException.
ROUTING_CODES: Final = {404: "unknown_path", 405: "method_not_allowed"}
# Sentences for errors whose own text is not for clients.
SENTENCES: Final[dict[type[Exception], str]] = {
    SQLAlchemyError: "The ledger cannot be read or written now; try again later."
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error as the client sees it: `headers` of ASGI, `extra` fields of the JSON body."""

    status: int
    code: str
    detail: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def is_failure(self) -> bool:
        """Whether the server could not answer, whoever asks: it is overloaded or broken."""
        return self.status >= 500 or self.status == 429

    @property
    def phrase(self) -> str:
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
    """What the client gets: the row of the nearest class in the table, else INTERNAL.

    An error that has a row forgets how it came about.
    """
    if isinstance(error, HTTPException):
        code, given = ROUTING_CODES.get(error.status_code, "http_error"), error.headers or {}
        headers = tuple((name.lower().encode(), given[name].encode()) for name in given)
        return ErrorAnswer(error.status_code, code, error.detail, headers)
    kind = _row_of(error.cause if isinstance(error, monitoring.ItemsRejected) else type(error))
    if kind is None:
        return INTERNAL
    clear_tracebacks(error)
    status, code = ERRORS[kind]
    if isinstance(error, monitoring.ItemsRejected) and error.results is not None:
        return ErrorAnswer(422, code, str(error), extra={"results": error.results})
    extra = {"scope_p": error.scope_p} if isinstance(error, errors.OutOfScope) else {}
    return ErrorAnswer(status, code, SENTENCES.get(kind) or str(error), _headers(error), extra)


def _row_of(kind: type[BaseException]) -> type[Exception] | None:
    return next((each for each in kind.__mro__ if each in ERRORS), None)


def _headers(error: BaseException) -> tuple[tuple[bytes, bytes], ...]:
    if isinstance(error, errors.Unauthorized):
        return ((b"www-authenticate", b"Bearer"),)
    if isinstance(error, errors.MalformedHttp | errors.HeadTooLarge):
        return ((b"connection", b"close"),)
    wait_s: int | None = getattr(error, "retry_after_s", None)
    return () if wait_s is None else ((b"retry-after", str(wait_s).encode()),)


_refusals: Final = defaultdict[str, PacedLines](partial(PacedLines, logger, "request refused"))


def log_error(path: str, answer: ErrorAnswer, error: Exception) -> None:
    """Log an error with its answer in one line, with a traceback only if the server is at fault.

    Of refusals for one reason there are ten lines a second, and one counts the others. Call it on
    the event loop.
    """
    fields = {
        "path": path[:200],
        "status": answer.status,
        "error": answer.code,
        "detail": answer.detail,
    }
    if answer is INTERNAL:
        logger.error("request failed", extra={"fields": fields}, exc_info=error)
    elif answer.status >= 500:
        logger.warning("request refused", extra={"fields": fields})
    else:
        _refusals[answer.code].write(fields)
