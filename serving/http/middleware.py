"""What may stand around the front: cross-origin rules, and OpenTelemetry traces. Both are off by default."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from serving.errors import SettingsError
from serving.settings import Settings


def wrapped(app: ASGIApp, settings: Settings) -> ASGIApp:
    """`app` within what the settings ask for. Raises SettingsError where traces are wanted but not installed."""
    if settings.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-Id", "X-Candor-Tags"],
        )
    if settings.traces:
        try:
            from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
        except ModuleNotFoundError as error:
            raise SettingsError(f"traces need the extra: pip install 'candor[traces]' ({error})") from error
        app = OpenTelemetryMiddleware(app, excluded_urls="healthz,readyz,ping,metrics")
    return app
