"""Answers errors of Starlette routes in JSON, by the table of errors, for `candor serve` and `candor monitor`."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from monitoring.errors import MonitoringError
from serving.error_table import INTERNAL, ErrorAnswer, error_answer
from serving.errors import ServingError

logger = logging.getLogger(__name__)


async def answer_error(request: Request, error: Exception) -> Response:
    """The JSON answer to `error`. Logs the error if the server is at fault."""
    answer = error_answer(error)
    if answer is INTERNAL:
        log_error(request.url.path, answer, error)
    if isinstance(error, HTTPException):
        where = f"{request.method} {request.url.path[:200]}"
        answer = replace(answer, detail=f"{where}: {error.detail}; GET / lists the addresses.")
    return _json_response(answer)


def log_error(path: str, answer: ErrorAnswer, error: Exception) -> None:
    """Log an error with its answer in one line, with a traceback only if the server is at fault."""
    fields = {"path": path[:200], "status": answer.status, "error": answer.code, "detail": answer.detail}
    if answer is INTERNAL:
        logger.error("request failed", extra={"fields": fields}, exc_info=error)
    else:
        logger.info("request refused", extra={"fields": fields})


async def send_error(scope: Scope, receive: Receive, send: Send, error: Exception) -> None:
    """Answer `error` outside of a route."""
    await _json_response(error_answer(error))(scope, receive, send)


def _json_response(answer: ErrorAnswer) -> Response:
    """The answer as a Starlette response."""
    response = Response(answer.body(), answer.status, media_type="application/json")
    response.raw_headers.extend(answer.headers)
    return response


# Starlette answers an error under the key `Exception` and raises it again, which suits bugs; others are only answered.
ERROR_HANDLERS: Final[dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]] = dict.fromkeys(
    (HTTPException, ServingError, MonitoringError, SQLAlchemyError, Exception), answer_error
)
