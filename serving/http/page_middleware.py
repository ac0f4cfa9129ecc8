"""`PageMiddleware`: what every page gets: the time zone of its reader, and compression.

What a browser asks for by name (`Accept: text/html`), and the files that its pages load, are
compressed. Answers to programs are small, or are tables that are streamed. A page that is fetched
with `Accept: */*` is the same page.
"""

from typing import Final

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from monitoring.pages.reader import reader_of, reading
from serving.http.error_handlers import wants_page
from serving.http.sessions import COOKIE

_LEAST_BYTES: Final = 600  # a packet holds as much anyway
_LEVEL: Final = 6


class PageMiddleware:
    """Around the routes of pages. Everything else passes through it unchanged."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressed = GZipMiddleware(app, minimum_size=_LEAST_BYTES, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_browser = wants_page(scope) or scope["path"].startswith("/static/")
        if not is_browser and scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        with reading(reader_of(scope, session_cookie=COOKIE)):
            await (self._compressed if is_browser else self._app)(scope, receive, send)
