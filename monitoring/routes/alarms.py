"""The drift alarm: POST /calibration/{model}/acknowledge and /reset."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from monitoring.drift.events import ACKNOWLEDGED, RESET
from monitoring.errors import FeedbackInvalid
from monitoring.feedback.body import read_json, read_text
from monitoring.recording.recorder import Recorder
from monitoring.routes.request import read_body, read_version


class AlarmRoutes:
    """POST /calibration/{model}/acknowledge and /reset; an optional body `{"note": "..."}` is kept in the history."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def acknowledge(self, request: Request) -> Response:
        """Answer an alarm: the watch begins anew."""
        return await self._begin_anew(request, ACKNOWLEDGED)

    async def reset(self, request: Request) -> Response:
        """Begin the watch anew because the world is known to have changed, alarm or not."""
        return await self._begin_anew(request, RESET)

    async def _begin_anew(self, request: Request, kind: str) -> Response:
        body = await read_body(request)
        data = read_json(body) if body else {}
        if not isinstance(data, dict) or data.keys() - {"note"}:
            raise FeedbackInvalid('The body must be empty or {"note": "why the alarm is acknowledged"}.')
        note = None if data.get("note") is None else read_text("note", data["note"])
        future = self._recorder.acknowledge(request.path_params["model"], read_version(request), note=note, kind=kind)
        row, watched = await asyncio.wrap_future(future)
        drift = {"active": watched.detector.active, "labels": watched.detector.labels}
        return JSONResponse({"model": row.model, "version": row.version, "drift": drift})
