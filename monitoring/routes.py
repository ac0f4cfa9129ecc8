"""The monitoring room over HTTP: labels in; reports, metrics and pages out.
 Bad input gets a 4xx of its own with a sentence, as `{"error", "detail"}`; the two tables below say which.
The ledger is read, and bodies are parsed, off the event loop.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from anyio import to_thread
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from monitoring.errors import (
    BodyMalformed,
    BodyTooLarge,
    FeedbackInvalid,
    ModelUnknown,
    MonitoringError,
    QueryInvalid,
    RecorderClosed,
    brief,
)
from monitoring.feedback.body import read_items, read_json, read_text
from monitoring.feedback.items import FeedbackItem, FeedbackResult, FeedbackStatus, Reason
from monitoring.ledger import calibrations
from monitoring.ledger.database import Ledger
from monitoring.metrics import MonitorMetrics
from monitoring.pages.index_page import index_page
from monitoring.pages.model_page import model_page
from monitoring.recorder import Recorder
from monitoring.report import ALL, Report, calibration_report
from monitoring.window_gauges import WindowGauges

BODY_LIMIT_BYTES = 8 * 1024 * 1024
REFUSALS: dict[type[Exception], tuple[int, str]] = {
    BodyMalformed: (400, "malformed_body"),
    BodyTooLarge: (413, "body_too_large"),
    FeedbackInvalid: (422, "invalid_feedback"),
    ModelUnknown: (404, "unknown_model"),
    QueryInvalid: (422, "invalid_query"),
    RecorderClosed: (503, "recorder_closed"),
    SQLAlchemyError: (503, "ledger_unavailable"),
}
REJECTIONS: dict[Reason, tuple[int, str]] = {
    Reason.INVALID: (422, "invalid_feedback"),
    Reason.UNKNOWN_LABEL: (422, "unknown_label"),
    Reason.UNKNOWN_MODEL: (404, "unknown_model"),
    Reason.PENDING_FULL: (503, "too_many_pending"),
}
Endpoint = Callable[[Request], Awaitable[Response]]
Production = Callable[[str], int | None]


def routes(
    recorder: Recorder, ledger: Ledger, metrics: MonitorMetrics, *, production: Production | None = None
) -> list[Route]:
    """The routes to mount; also registers the ledger's gauges with the metrics' registry, so call it once.

    `production` says which version of a model a report is about when the caller names none; without it, or when it says
    None, that is the version registered last.
    """
    metrics.registry.register(WindowGauges(ledger))
    reports = _Reports(ledger, production or (lambda model: None))
    return [
        Route("/feedback", _answering(_Feedback(recorder).post), methods=["POST"]),
        Route("/calibration", _answering(reports.summaries), methods=["GET"]),
        Route("/calibration/{model}", _answering(reports.report), methods=["GET"]),
        Route("/calibration/{model}/acknowledge", _answering(_Alarms(recorder).acknowledge), methods=["POST"]),
        Route("/calibration/{model}/page", _answering(reports.page), methods=["GET"]),
        Route("/metrics", _answering(_Exposition(metrics.registry).get), methods=["GET"]),
        Route("/", _answering(reports.index), methods=["GET"]),
    ]


class _Feedback:
    """POST /feedback."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def post(self, request: Request) -> Response:
        """One label as an object, or a list of them; answered in kind."""
        data = await _read_json(request)
        try:
            read = await to_thread.run_sync(read_items, data)
        except FeedbackInvalid:
            self._recorder.reject(Reason.INVALID)
            raise
        results = await self._record(read)
        refusal = REJECTIONS[results[0].reason] if _all_rejected(results) and results[0].reason else None
        if refusal and isinstance(data, dict):
            return _refused(*refusal, results[0].detail or "")
        answers = [_answer(result) for result in results]
        if refusal:
            detail = f"All {len(answers):,} items were rejected; the first: {results[0].detail}"
            return JSONResponse({"error": refusal[1], "detail": detail, "results": answers}, 422)
        return JSONResponse(answers[0] if isinstance(data, dict) else answers)

    async def _record(self, read: Sequence[FeedbackItem | FeedbackResult]) -> list[FeedbackResult]:
        """Record the valid ones, keep the others' rejections at their places."""
        items = [entry for entry in read if isinstance(entry, FeedbackItem)]
        if invalid := len(read) - len(items):
            self._recorder.reject(Reason.INVALID, invalid)
        results: list[FeedbackResult] = await asyncio.wrap_future(self._recorder.feedback(items))
        recorded = iter(results)
        return [next(recorded) if isinstance(entry, FeedbackItem) else entry for entry in read]


class _Alarms:
    """POST /calibration/{model}/acknowledge."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def acknowledge(self, request: Request) -> Response:
        """Begin the watch anew; an optional body `{"note": "..."}` is kept in the history."""
        body = await _read_body(request)
        data = read_json(body) if body else {}
        if not isinstance(data, dict) or data.keys() - {"note"}:
            raise FeedbackInvalid('The body must be empty or {"note": "why the alarm is acknowledged"}.')
        note = None if data.get("note") is None else read_text("note", data["note"])
        future = self._recorder.acknowledge(request.path_params["model"], _version(request), note=note)
        row, watched = await asyncio.wrap_future(future)
        drift = {"active": watched.detector.active, "labels": watched.detector.labels}
        return JSONResponse({"model": row.model, "version": row.version, "drift": drift})


class _Reports:
    """GET /, /calibration, /calibration/{model} and /calibration/{model}/page."""

    def __init__(self, ledger: Ledger, production: Production) -> None:
        self._ledger = ledger
        self._production = production

    async def report(self, request: Request) -> Response:
        """One model's report as JSON."""
        return JSONResponse((await self._of(request)).as_dict())

    async def page(self, request: Request) -> Response:
        """The same for people."""
        return HTMLResponse(model_page(await self._of(request)))

    async def summaries(self, request: Request) -> Response:
        """Every model's report without its bins."""
        reports = [report.as_dict() for report in await to_thread.run_sync(self._all)]
        for report in reports:
            del report["bins"], report["served_bins"]
        return JSONResponse({"models": reports})

    async def index(self, request: Request) -> Response:
        """All models at a glance."""
        return HTMLResponse(index_page(await to_thread.run_sync(self._all)))

    async def _of(self, request: Request) -> Report:
        model, version = request.path_params["model"], _version(request)
        window = request.query_params.get("window", ALL)
        return await to_thread.run_sync(self._one, model, version, window)

    def _one(self, model: str, version: int | None, window: str) -> Report:
        chosen = self._in_production(model) if version is None else version
        return calibration_report(self._ledger, model, version=chosen, window=window)

    def _all(self) -> list[Report]:
        with self._ledger.read() as connection:
            models = calibrations.models(connection)
        return [self._one(model, None, ALL) for model in models]

    def _in_production(self, model: str) -> int | None:
        """The production version, unless the ledger has not met it yet."""
        with self._ledger.read() as connection:
            known = {row.version for row in calibrations.of_model(connection, model)}
        version = self._production(model) if known else None
        return version if version in known else None


class _Exposition:
    """GET /metrics, as Prometheus text or OpenMetrics, whichever is asked for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def get(self, request: Request) -> Response:
        """Every metric of the registry."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(await to_thread.run_sync(encode, self._registry), headers={"content-type": content_type})


def _answering(endpoint: Endpoint) -> Endpoint:
    """Turn this room's refusals into JSON answers."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except MonitoringError as error:
            return _refused(*_refusal(error), str(error))
        except SQLAlchemyError as error:
            return _refused(*_refusal(error), "The ledger cannot be read or written now; try again later.")

    return answer


def _refusal(error: Exception) -> tuple[int, str]:
    return next(REFUSALS[kind] for kind in type(error).__mro__ if kind in REFUSALS)


def _refused(status: int, code: str, detail: str) -> Response:
    return JSONResponse({"error": code, "detail": detail}, status)


def _all_rejected(results: Sequence[FeedbackResult]) -> bool:
    return all(result.status is FeedbackStatus.REJECTED for result in results)


def _answer(result: FeedbackResult) -> dict[str, Any]:
    named = {"prediction_id": str(UUID(bytes=result.prediction_id))} if result.prediction_id else {}
    return {"status": result.status.value} | named | ({"detail": result.detail} if result.detail else {})


async def _read_json(request: Request) -> Any:
    return await to_thread.run_sync(read_json, await _read_body(request))


async def _read_body(request: Request) -> bytes:
    """The body, read no further than the limit."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT_BYTES:
            raise BodyTooLarge(BODY_LIMIT_BYTES)
    return bytes(body)


def _version(request: Request) -> int | None:
    text = request.query_params.get("version")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 9):
        raise QueryInvalid(f"A version is a whole number such as 3; got {brief(text)}.")
    return int(text)
