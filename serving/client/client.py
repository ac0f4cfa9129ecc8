"""A client of a Candor server, in one file that needs httpx and nothing else: copy it into a project that uses Candor.

    with Client("http://127.0.0.1:8080") as client:
        answer = client.predict(Path("x-ray.png"), model="pneumonia")
        client.feedback([{"prediction_id": answer["prediction_id"], "label": "normal"}])

`AsyncClient` has the same methods to be awaited. What both do is written once, as generators that yield what is to be
sent or waited for and are sent the response.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import quote

import httpx

Json: TypeAlias = dict[str, Any]
Progress: TypeAlias = Callable[[int, int], object]

# Refused because of load or of a restart; the same request may succeed a little later.
RETRIED = (429, 503)


class ServerRefused(Exception):
    """The server answered with an error: `status`, `code` and the server's sentence, `detail`."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{detail} ({status} {code})")
        self.status, self.code, self.detail = status, code, detail


@dataclass(frozen=True)
class RetryPolicy:
    """How often a 429 or 503 is tried in all, and how long to wait for it each time at most, in seconds."""

    attempts: int = 4
    longest_wait_s: float = 10.0


@dataclass(frozen=True)
class _Send:
    """A request to be made."""

    method: str
    path: str
    options: Mapping[str, Any]


# Yields requests, and seconds to sleep; is sent the response to each request; returns the call's result.
_Call: TypeAlias = Generator[_Send | float, httpx.Response | None, Any]


class _Calls:
    """Every call that a client makes, without the making."""

    def __init__(self, retry: RetryPolicy) -> None:
        self._retry = retry

    def predict(
        self,
        image: bytes | Path,
        *,
        model: str | None,
        version: int | None,
        request_id: str | None,
        tags: Mapping[str, str] | None = None,
    ) -> _Call:
        name = (yield from self.only_model()) if model is None else model
        path = f"/predictions/{quote(name, safe='')}" + (f"/{version}" if version is not None else "")
        headers = {"Content-Type": "application/octet-stream"}
        if request_id is not None:
            headers["X-Request-Id"] = request_id
        if tags:
            headers["X-Candor-Tags"] = ",".join(f"{key}={value}" for key, value in tags.items())
        content = image.read_bytes() if isinstance(image, Path) else image
        return (yield from self._json("POST", path, content=content, headers=headers))

    def feedback(self, labels: Sequence[Mapping[str, Any]]) -> _Call:
        answer = yield from self._json("POST", "/feedback", json=[dict(label) for label in labels])
        return answer["results"] if isinstance(answer, dict) else answer

    def upload(self, path: str, rows: Sequence[Mapping[str, Any]]) -> _Call:
        content = "".join(json.dumps(dict(row)) + "\n" for row in rows).encode()
        return (yield from self._json("POST", path, content=content, headers={"Content-Type": "application/x-ndjson"}))

    def declare(self, model: Mapping[str, Any]) -> _Call:
        return (yield from self._json("POST", "/models-log", json=dict(model)))

    def calibration(self, model: str, *, version: int | None, window: str | None) -> _Call:
        asked = {"version": version, "window": window}
        parameters = {name: str(value) for name, value in asked.items() if value is not None}
        return (yield from self._json("GET", f"/calibration/{quote(model, safe='')}", params=parameters))

    def models(self) -> _Call:
        return (yield from self._json("GET", "/models"))

    def only_model(self) -> _Call:
        names = [model["name"] for model in (yield from self.models())["models"]]
        if len(names) != 1:
            raise ServerRefused(404, "unknown_model", f"name the model; the server has: {', '.join(names) or 'none'}.")
        return names[0]

    def _json(self, method: str, path: str, **options: Any) -> _Call:
        attempt = 1
        while True:
            response = yield _Send(method, path, options)
            if response is None:  # the drivers below send one for each request
                raise TypeError("a request was answered with nothing")
            if response.is_success:
                return response.json()
            if response.status_code not in RETRIED or attempt == self._retry.attempts:
                raise _refusal(response)
            yield min(_retry_after_s(response, default_s=0.1 * 2**attempt), self._retry.longest_wait_s)
            attempt += 1


class Client:
    """A connection to one server, safe to share between threads; close it, or use it in a `with`.

    `token` is sent as bearer token. A 429 or 503 is tried again as `retry` says, after the server's own Retry-After.
    Any other error is raised as ServerRefused at once; httpx.TransportError says that there is no server to be reached.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_s: float = 30.0,
        retry: RetryPolicy | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(base_url=url, timeout=timeout_s, transport=transport, headers=_headers(token))
        self._calls = _Calls(retry or RetryPolicy())

    def predict(
        self,
        image: bytes | Path,
        *,
        model: str | None = None,
        version: int | None = None,
        request_id: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Json:
        """The answer for one encoded image; without `model`, of the one model that the server has.

        Raises ServerRefused, also (404) where the server has several models or none.
        """
        answer: Json = self._run(
            self._calls.predict(image, model=model, version=version, request_id=request_id, tags=tags)
        )
        return answer

    def predict_many(
        self,
        images: Sequence[bytes | Path],
        *,
        model: str | None = None,
        version: int | None = None,
        connections: int = 8,
        progress: Progress = lambda _done, _total: None,
    ) -> Iterator[Json | ServerRefused]:
        """The answers for `images` in their order, a refusal in the place of what was refused.

        `connections` requests are on their way at a time, so that the server can batch them; `progress` hears of each.
        """
        name = model or self._run(self._calls.only_model())

        def one(image: bytes | Path) -> Json | ServerRefused:
            try:
                return self.predict(image, model=name, version=version)
            except ServerRefused as refusal:
                return refusal

        with ThreadPoolExecutor(connections) as pool:
            for done, answer in enumerate(pool.map(one, images), 1):
                progress(done, len(images))
                yield answer

    def feedback(self, labels: Sequence[Mapping[str, Any]]) -> list[Json]:
        """What became of each of `labels`, each {"prediction_id" or "model" and "request_id", "label", ...}."""
        results: list[Json] = self._run(self._calls.feedback(labels))
        return results

    def upload(self, path: str, rows: Sequence[Mapping[str, Any]]) -> Json:
        """What became of `rows` that were sent as a table to /feedback or /predictions-log: `statuses`, `problems`.

        A problem is {"line", "status", "detail"}; lines count the rows from 1.
        """
        summary: Json = self._run(self._calls.upload(path, rows))
        return summary

    def declare(self, model: Mapping[str, Any]) -> Json:
        """Declare a model that is served elsewhere: {"model", "version", "classes", ...}."""
        declared: Json = self._run(self._calls.declare(model))
        return declared

    def calibration(self, model: str, *, version: int | None = None, window: str | None = None) -> Json:
        """The calibration report of a model."""
        report: Json = self._run(self._calls.calibration(model, version=version, window=window))
        return report

    def models(self) -> Json:
        """What is loaded and what was refused."""
        loaded: Json = self._run(self._calls.models())
        return loaded

    def ready(self) -> bool:
        """Whether the server has a model loaded and takes requests; False where there is no server either."""
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: _Call) -> Any:
        response: httpx.Response | None = None
        while True:
            try:
                step = call.send(response)
            except StopIteration as done:
                return done.value
            if isinstance(step, _Send):
                response = self._http.request(step.method, step.path, **step.options)
            else:
                response = None
                time.sleep(step)


class AsyncClient:
    """Client, to be awaited; close it with `aclose`, or use it in an `async with`."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_s: float = 30.0,
        retry: RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=timeout_s, transport=transport, headers=_headers(token))
        self._calls = _Calls(retry or RetryPolicy())

    async def predict(
        self,
        image: bytes | Path,
        *,
        model: str | None = None,
        version: int | None = None,
        request_id: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Json:
        """See Client.predict."""
        answer: Json = await self._run(
            self._calls.predict(image, model=model, version=version, request_id=request_id, tags=tags)
        )
        return answer

    async def predict_many(
        self,
        images: Sequence[bytes | Path],
        *,
        model: str | None = None,
        version: int | None = None,
        connections: int = 8,
        progress: Progress = lambda _done, _total: None,
    ) -> AsyncIterator[Json | ServerRefused]:
        """See Client.predict_many."""
        name = model or await self._run(self._calls.only_model())
        turn = asyncio.Semaphore(connections)

        async def one(image: bytes | Path) -> Json | ServerRefused:
            async with turn:
                try:
                    return await self.predict(image, model=name, version=version)
                except ServerRefused as refusal:
                    return refusal

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(image)) for image in images]
            for done, task in enumerate(tasks, 1):
                answer = await task
                progress(done, len(images))
                yield answer

    async def feedback(self, labels: Sequence[Mapping[str, Any]]) -> list[Json]:
        """See Client.feedback."""
        results: list[Json] = await self._run(self._calls.feedback(labels))
        return results

    async def upload(self, path: str, rows: Sequence[Mapping[str, Any]]) -> Json:
        """See Client.upload."""
        summary: Json = await self._run(self._calls.upload(path, rows))
        return summary

    async def declare(self, model: Mapping[str, Any]) -> Json:
        """See Client.declare."""
        declared: Json = await self._run(self._calls.declare(model))
        return declared

    async def calibration(self, model: str, *, version: int | None = None, window: str | None = None) -> Json:
        """See Client.calibration."""
        report: Json = await self._run(self._calls.calibration(model, version=version, window=window))
        return report

    async def models(self) -> Json:
        """See Client.models."""
        loaded: Json = await self._run(self._calls.models())
        return loaded

    async def ready(self) -> bool:
        """See Client.ready."""
        try:
            return (await self._http.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run(self, call: _Call) -> Any:
        response: httpx.Response | None = None
        while True:
            try:
                step = call.send(response)
            except StopIteration as done:
                return done.value
            if isinstance(step, _Send):
                response = await self._http.request(step.method, step.path, **step.options)
            else:
                response = None
                await asyncio.sleep(step)


def _headers(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _retry_after_s(response: httpx.Response, *, default_s: float) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else default_s


def _refusal(response: httpx.Response) -> ServerRefused:
    try:
        body = response.json()
        return ServerRefused(response.status_code, str(body["error"]), str(body["detail"]))
    except (ValueError, KeyError, TypeError):
        return ServerRefused(response.status_code, "http_error", response.text[:200] or response.reason_phrase)
