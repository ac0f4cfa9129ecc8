"""One line in the log for each request (CANDOR_LOG_REQUESTS): who asked what, and what came of it.

Health checks and /metrics have none. A request without an id of its own gets one, which the answer
carries in X-Request-Id too. Where there are tokens, requests without one share ten lines a second,
of which one counts what has none: the disk is not theirs to fill.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

import uuid_utils
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hosting.auth import AccessControl
from hosting.paced_lines import PacedLines
from monitoring.http.fields import ID_LIMIT

logger = logging.getLogger(__name__)

REQUEST_ID: Final = b"x-request-id"
_UNLOGGED: Final = frozenset({"/healthz", "/readyz", "/ping", "/metrics"})
_unnamed: Final = PacedLines(logger, "request")
GONE: Final = 499  # the client left, as nginx has it; nobody reads the answer


class RequestLog:
    """Logs the requests that `app` answers.

    The request's state says more: `viewer`, the token's holder; `served`, the version that answers;
    `error`, the code of a refusal.
    """

    def __init__(self, app: ASGIApp, *, access: AccessControl, traces: bool) -> None:
        self._app, self._access, self._traces = app, access, traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _UNLOGGED:
            await self._app(scope, receive, send)
            return
        started_s, status = time.perf_counter(), GONE
        given = next((value for name, value in scope["headers"] if name == REQUEST_ID), b"")
        identity = given or str(uuid_utils.uuid7()).encode()
        state: dict[str, Any] = scope.setdefault("state", {})

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if not given:
                    headers = [*message.get("headers", ()), (REQUEST_ID, identity)]
                    message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except Exception:
            status = 500
            raise
        finally:
            fields = {
                "request_id": identity.decode("utf-8", errors="replace")[:ID_LIMIT],
                "method": scope["method"],
                "path": scope["path"][:200],
                "status": status,
                "duration_ms": round(1e3 * (time.perf_counter() - started_s), 3),
                **_of_state(state, status),
                "trace_id": _trace_id() if self._traces else None,
            }
            if self._access.is_open or "viewer" in state:
                logger.info("request", extra={"fields": fields})
            else:
                _unnamed.write(fields)


def _of_state(state: Mapping[str, Any], status: int) -> dict[str, Any]:
    viewer, served = state.get("viewer"), state.get("served")
    return {
        "token": viewer and viewer.name,
        "model": served and served.card.name,
        "version": served and served.card.version,
        "outcome": state.get("error") or _outcome(status),
    }


def _outcome(status: int) -> str:
    if status == GONE:
        return "client_gone"
    return "answered" if status < 400 else "refused" if status < 500 else "failed"


def _trace_id() -> str:
    from opentelemetry.trace import format_trace_id, get_current_span

    return str(format_trace_id(get_current_span().get_span_context().trace_id))
