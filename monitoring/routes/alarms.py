"""The drift alarm: POST /calibration/{model}/acknowledge."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from monitoring.errors import FeedbackInvalid
from monitoring.feedback.body import read_json, read_text
from monitoring.recorder import Recorder
from monitoring.routes.request import read_body, read_version


class AlarmRoutes:
    """POST /calibration/{model}/acknowledge."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def acknowledge(self, request: Request) -> Response:
        """Begin the watch anew; an optional body `{"note": "..."}` is kept in the history."""
        body = await read_body(request)
        data = read_json(body) if body else {}
        if not isinstance(data, dict) or data.keys() - {"note"}:
            raise FeedbackInvalid('The body must be empty or {"note": "why the alarm is acknowledged"}.')
        note = None if data.get("note") is None else read_text("note", data["note"])
        future = self._recorder.acknowledge(request.path_params["model"], read_version(request), note=note)
        row, watched = await asyncio.wrap_future(future)
        drift = {"active": watched.detector.active, "labels": watched.detector.labels}
        return JSONResponse({"model": row.model, "version": row.version, "drift": drift})
