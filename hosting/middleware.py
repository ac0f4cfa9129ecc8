"""The middlewares around the routes of `candor serve` and `candor monitor`, in one place."""

import os
from collections.abc import Iterable
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from hosting.auth import AccessControl, AccessMiddleware, Refuse
from hosting.exchange import Exchange
from hosting.request_log import RequestLog
from hosting.settings import Settings
from monitoring.http.endpoint import Endpoint

# Pages often send their own request id with every request, also to endpoints that do not read it.
_SECRET_HEADERS: Final = ("authorization", "proxy-authorization", "cookie")  # never in a trace
_HEADERS: Final = frozenset({"Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id"})


def with_middlewares(
    app: ASGIApp,
    settings: Settings,
    *,
    endpoints: Iterable[Endpoint],
    access: AccessControl,
    refuse: Refuse,
) -> ASGIApp:
    """Wrap `app` in, from the outside in: the exchange, traces, log of requests, CORS, access
    control. The first and the last are always on.

    CORS is outside access control, because a browser sends its preflight without a token and shows
    a page only refusals that carry CORS headers. It allows the request headers that `endpoints`
    declare. Raises SettingsError if traces are on but not installed.
    """
    app = AccessMiddleware(app, access=access, refuse=refuse)
    if settings.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST"],
            expose_headers=["X-Request-Id"],
            allow_headers=sorted(
                _HEADERS.union(each.name for of in endpoints for each in of.headers)
            ),
        )
    if settings.log_requests:
        app = RequestLog(app, access=access, traces=settings.traces)
    if settings.traces:
        app = _traced(app)
    return Exchange(app)


def _traced(app: ASGIApp) -> ASGIApp:
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.instrumentation.auto_instrumentation import initialize
    from opentelemetry.util.http import (
        OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS,
        get_custom_headers,
        parse_excluded_urls,
    )

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        """OpenTelemetry takes what is no coroutine function for an application of ASGI 2."""
        await app(scope, receive, send)

    if "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", "candor")
    initialize()  # the exporters that OpenTelemetry's own variables name
    hidden = [
        *_SECRET_HEADERS,
        *get_custom_headers(OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS),
    ]
    untraced = parse_excluded_urls(
        "healthz,readyz,ping,metrics"
    )  # releases before 0.56b0 take no text
    traced: ASGIApp = OpenTelemetryMiddleware(
        answer, excluded_urls=untraced, http_capture_headers_sanitize_fields=hidden
    )
    return traced
