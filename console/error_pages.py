"""Answers errors of routes by the table of errors, for servers and monitors.

Programs get JSON. A browser that asks for a page gets one, and the page to sign in where it lacks a
token.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qsl, urlencode

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from console.formatting import page_path
from console.reader import reader_of, reading
from console.rendering import answer_page, render
from hosting.error_table import ERRORS, ErrorAnswer, error_answer, log_error
from hosting.errors import ClientGone, ServingError, Unauthorized
from hosting.request_log import GONE
from hosting.tokens import COOKIE, LIFETIME_S
from model_store.errors import ImageError
from monitoring.errors import MonitoringError
from monitoring.http.endpoint import NOBODY, Endpoint, Viewer, routes_of, wants_page

TITLES: Final = {  # of pages, for people who know no status codes
    400: "This cannot be read",
    403: "You may not do this",
    404: "This is not here",
    405: "This cannot be done here",
    409: "This does not fit what is there",
    413: "This is too large",
    415: "This kind of file is not read here",
    422: "This cannot be taken",
    429: "The server is busy",
    503: "Not available now",
}
_OF_MODEL: Final = (409, 422)  # refusals of what was asked of a model that is there


async def answer_error(request: Request, error: Exception) -> Response:
    """The answer to `error`, and a line in the log. Nobody reads it if the client is gone."""
    if isinstance(error, ClientGone):
        return Response(status_code=GONE)
    answer = error_answer(error)
    if isinstance(error, HTTPException):
        where = f"{request.method} {request.url.path[:200]}"
        allowed = (error.headers or {}).get("Allow", "")
        here = f" use {allowed.replace(', ', ' or ')} here;" if allowed else ""
        answer = replace(
            answer, detail=f"{where}: {error.detail};{here} GET /docs lists the addresses."
        )
    request.state.error = answer.code
    log_error(request.url.path, answer, error)
    return error_response(request.scope, answer)


async def send_error(scope: Scope, receive: Receive, send: Send, error: Exception) -> None:
    await error_response(scope, error_answer(error))(scope, receive, send)


def error_response(scope: Scope, answer: ErrorAnswer) -> Response:
    """The answer as a Starlette response: a page for a browser, JSON for everyone else."""
    if wants_page(scope):
        with reading(reader_of(scope, session_cookie=COOKIE)):
            response = _page(scope, answer)
    else:
        response = Response(answer.body(), answer.status, media_type="application/json")
    response.raw_headers.extend(answer.headers)
    return response


def sign_in_page(
    next_path: str, *, is_open: bool = False, reason: str = "", viewer: Viewer | None = None
) -> str:
    """The page to sign in. `is_open`: nobody needs to; `viewer`: who already has."""
    page = {"next": next_path, "is_open": is_open, "reason": reason, "viewer": viewer or NOBODY}
    return render("sign_in.html", **page, hours=LIFETIME_S // 3600)


def _page(scope: Scope, answer: ErrorAnswer) -> Response:
    if answer.status == ERRORS[Unauthorized][0]:
        return answer_page(_signing_in(scope, answer), status=401)
    page = {
        "title": TITLES.get(answer.status, answer.phrase),
        "sentence": answer.detail[:1].upper() + answer.detail[1:],
        "status": answer.status,
        "code": answer.code,
        "back": _back_to(scope) if answer.status in _OF_MODEL else None,
    }
    return answer_page(render("error.html", **page), status=answer.status)


def _back_to(scope: Scope) -> str | None:
    """The page of the model that a request is about; None if it is about none."""
    model = scope.get("path_params", {}).get("model")
    asked = parse_qsl(scope["query_string"].decode("latin-1"))
    named = urlencode([each for each in asked if each[0] in ("version", "finding")])
    return None if model is None else f"{page_path(model)}?{named}"


def _signing_in(scope: Scope, answer: ErrorAnswer) -> str:
    """The page to sign in, in place of the page that was asked for, or after a wrong token."""
    if scope["path"] == "/sign-in":
        where = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("next", "/")
        return sign_in_page(where, reason=f"This did not work: {answer.detail}")
    where = scope["path"] if scope["method"] == "GET" else "/"
    return sign_in_page(where, reason="This page is for people who have a token.")


# Starlette answers an error under the key `Exception` and raises it again, which suits bugs; others
# are only answered.
ERROR_HANDLERS: Final[
    dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]
] = dict.fromkeys(
    (HTTPException, ImageError, ServingError, MonitoringError, SQLAlchemyError, Exception),
    answer_error,
)


_LEAST_BYTES: Final = 600  # a packet holds as much anyway
_LEVEL: Final = 6


def application(endpoints: Iterable[Endpoint], *routes: BaseRoute) -> Starlette:
    """The application of these endpoints and routes, which answers errors as this module says."""
    return Starlette(
        routes=[*routes_of(endpoints), *routes],
        exception_handlers=ERROR_HANDLERS,
        middleware=[Middleware(PageMiddleware)],
    )


class PageMiddleware:
    """Around the routes of pages. Everything else passes through it unchanged."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressed = GZipMiddleware(app, minimum_size=_LEAST_BYTES, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_browser = wants_page(scope) or scope["path"].startswith("/static/")
        if not is_browser and scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        with reading(reader_of(scope, session_cookie=COOKIE)):
            await (self._compressed if is_browser else self._app)(scope, receive, send)
