"""The middlewares around the routes of `candor serve` and `candor monitor`, in one place."""

from collections.abc import Iterable
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from model_store.installation import install_command
from monitoring.api.endpoint import Endpoint
from serving.errors import SettingsError
from serving.http.auth import AccessControl, AccessMiddleware, Refuse
from serving.settings import Settings

# Pages often send their own request id with every request, also to endpoints that do not read it.
_HEADERS: Final = frozenset({"Authorization", "Content-Type", "X-Request-Id"})


def with_middlewares(
    app: ASGIApp, settings: Settings, *, endpoints: Iterable[Endpoint], access: AccessControl, refuse: Refuse
) -> ASGIApp:
    """Wrap `app` in, from the outside in: traces, CORS, access control. Traces and CORS are off by default.

    CORS is outside access control, because a browser sends its preflight without a token and shows a page only refusals
    that carry CORS headers. It allows the request headers that `endpoints` declare. Raises SettingsError if traces are
    on but not installed.
    """
    app = AccessMiddleware(app, access=access, refuse=refuse)
    if settings.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=sorted(_HEADERS.union(*(each.headers for each in endpoints))),
        )
    if settings.traces:
        app = _traced(app)
    return app


def _traced(app: ASGIApp) -> ASGIApp:
    try:
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    except ModuleNotFoundError as error:
        raise SettingsError(f"traces need more packages ({error}): {install_command('traces')}") from error
    traced: ASGIApp = OpenTelemetryMiddleware(app, excluded_urls="healthz,readyz,ping,metrics")
    return traced
