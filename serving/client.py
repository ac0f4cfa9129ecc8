"""A client of a Candor server.

It is a single file, though a long one, and needs only httpx, so that you can copy it into a project
of your own.

    with Client("http://127.0.0.1:8080") as client:
        answer = client.predict(Path("x-ray.png"), model="pneumonia")
        client.feedback([{"prediction_id": answer["prediction_id"], "label": "normal"}])

`AsyncClient` has the same methods as coroutines: `Calls` has what both do.
"""

import asyncio
import json
import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeAlias, TypeVar, cast
from urllib.parse import quote
from uuid import uuid4

import httpx

Json: TypeAlias = dict[str, Any]
ItemProgress: TypeAlias = Callable[[int, int], object]

ATTEMPT = "X-Candor-Attempt"  # 1: this key is new, so the server need not look for its answer

# Statuses of an overload, a restart, and a proxy whose server died: the same request may succeed
# later, and no call records anything twice.
RETRIED = (429, 502, 503)


class ServerRefused(Exception):
    """The server answered with an error: its `status`, `code` and sentence (`detail`)."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{detail} ({status} {code})")
        self.status, self.code, self.detail = status, code, detail


class TokenInvalid(ValueError):
    """A text that cannot be a token. It is not repeated, because it may hold several."""

    def __init__(self, words: int) -> None:
        held = {0: "nothing", 1: "characters that no token has"}.get(words, f"{words} words")
        super().__init__(
            f"a token is one word of printable ASCII characters, and this holds {held}; a line of "
            "a server's tokens "
            "file is `TOKEN scope [name]`: put its first word alone into the client's file"
        )


@dataclass(frozen=True)
class RetryPolicy:
    """Attempts in total after a 429, 502 or 503, and the longest wait before each in seconds."""

    attempts: int = 4
    max_wait_s: float = 10.0


@dataclass(frozen=True)
class _Send:
    """A request to send."""

    method: str
    path: str
    options: Mapping[str, Any]


_Result = TypeVar("_Result")
_Options = ParamSpec("_Options")
_Call: TypeAlias = Generator[_Send | float, httpx.Response | None, _Result]


class Calls:
    """The calls that both clients make. Client returns what a call gives, AsyncClient awaits it.

    Here they send nothing: a call yields requests to send and seconds to sleep, and receives the
    responses.
    """

    def __init__(self, retry: RetryPolicy) -> None:
        self._retry = retry

    def predict(
        self,
        image: bytes | Path,
        *,
        model: str | None = None,
        version: int | None = None,
        request_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        patient: str | None = None,
        frame: int | Literal["middle", "all"] | None = None,
        idempotency_key: str | None = None,
    ) -> _Call[Json]:
        """The answer for one encoded image. Without `model`, the server must have exactly one.

        `frame` chooses one of a DICOM file that has several, by its number from 1, or the middle
        one; the answer then has its number. `patient` identifies the patient: images of one count
        as dependent, and only a keyed hash is stored. A retry gets the recorded answer. Give an
        `idempotency_key` to repeat the call yourself, and get what the first one recorded; it is
        the request id of an answer without one. Raises ServerRefused, with status 404 if the model
        is not named and the server has several or none.
        """
        name = (yield from self.only_model()) if model is None else model
        path = f"/predictions/{quote(name, safe='')}"
        if version is not None:
            path += f"/{version}"
        headers = {"Content-Type": b"application/octet-stream"}
        headers["Idempotency-Key"] = (idempotency_key or uuid4().hex).encode()
        if idempotency_key is None:
            headers[ATTEMPT] = b"1"
        if request_id is not None:
            headers["X-Request-Id"] = request_id.encode()
        if patient is not None:
            headers["X-Candor-Patient"] = patient.encode()
        if tags:
            headers["X-Candor-Tags"] = ",".join(f"{key}={tags[key]}" for key in tags).encode()
        content = image.read_bytes() if isinstance(image, Path) else image
        chosen = {} if frame is None else {"params": {"frame": str(frame)}}
        answer: Json = yield from self._json(
            "POST", path, content=content, headers=headers, **chosen
        )
        return answer

    def predict_frames(
        self,
        image: bytes | Path,
        *,
        model: str | None = None,
        version: int | None = None,
        request_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        patient: str | None = None,
    ) -> _Call[list[Json]]:
        """The answers for all frames of one DICOM file, each with its number as `frame`.

        The request ids are `request_id` and that number: "a/1", "a/2". A frame whose inference
        failed has {"error", "detail", "frame"} in its place. Raises ServerRefused as `predict`
        does.
        """
        answers = yield from self.predict(
            image,
            model=model,
            version=version,
            request_id=request_id,
            tags=tags,
            patient=patient,
            frame="all",
        )
        return cast(list[Json], answers)

    def feedback(self, labels: Sequence[Mapping[str, Any]]) -> _Call[list[Json]]:
        """Send labels: {"label", "prediction_id" or "model" and "request_id", ...}."""
        answer = yield from self._json("POST", "/feedback", json=[dict(label) for label in labels])
        return cast(list[Json], answer["results"] if isinstance(answer, dict) else answer)

    def upload(self, path: str, rows: Sequence[Mapping[str, Any]]) -> _Call[Json]:
        """Send `rows` as a table to /feedback or /predictions-log. Returns the summary.

        It has `statuses` and `problems`, each {"line", "status", "detail"}; lines count from 1.
        """
        content = "".join(json.dumps(dict(row)) + "\n" for row in rows).encode()
        headers = {"Content-Type": "application/x-ndjson"}
        return self._json("POST", path, content=content, headers=headers)

    def declare(self, model: Mapping[str, Any]) -> _Call[Json]:
        """Declare a model of another server: {"model", "version", "classes", ...}."""
        return self._json("POST", "/models-log", json=dict(model))

    def calibration(
        self,
        model: str,
        *,
        version: int | None = None,
        window: str | None = None,
        finding: str | None = None,
    ) -> _Call[Json]:
        """The calibration report of a model, or of one of its findings."""
        asked = {"version": version, "window": window, "finding": finding}
        parameters = {name: str(value) for name, value in asked.items() if value is not None}
        path = f"/models/{quote(model, safe='')}/report"
        return self._json("GET", path, params=parameters)

    def models(self) -> _Call[Json]:
        """The loaded models and the refused versions."""
        return self._json("GET", "/models")

    def only_model(self) -> _Call[str]:
        """The name of the only model. Raises ServerRefused (404) if there are several or none."""
        names: list[str] = [model["name"] for model in (yield from self.models())["models"]]
        if len(names) != 1:
            has = f"the server has {', '.join(names)}: name one" if names else "the server has none"
            raise ServerRefused(404, "unknown_model", f"no model was named, and {has}")
        return names[0]

    def _json(self, method: str, path: str, **options: Any) -> _Call[Any]:
        attempt = 1
        while True:
            response = yield _Send(method, path, options)
            if response is None:  # `_run` sends a response for each request
                raise TypeError("a request got no response")
            if response.is_success:
                return response.json()
            if response.status_code not in RETRIED or attempt == self._retry.attempts:
                raise _refusal(response)
            yield min(_retry_after_s(response, default_s=0.1 * 2**attempt), self._retry.max_wait_s)
            attempt += 1
            if ATTEMPT in options.get("headers", {}):
                options["headers"][ATTEMPT] = str(attempt).encode()


def _blocking(
    call: Callable[Concatenate[Calls, _Options], _Call[_Result]],
) -> Callable[Concatenate["Client", _Options], _Result]:
    """The method of Client that makes a call, with the same arguments."""

    @wraps(call)
    def method(client: "Client", /, *args: _Options.args, **options: _Options.kwargs) -> _Result:
        return client._run(call(client._calls, *args, **options))

    return method


class Client:
    """A client of one server that threads can share. Close it, or use it in a `with`.

    `token` is sent as a bearer token. After a 429, 502 or 503 it waits as long as the server's
    Retry-After says and tries again, within the limits of `retry`. Any other error raises
    ServerRefused at once. An unreachable server raises httpx.TransportError.
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
        self._http = httpx.Client(
            base_url=url, timeout=timeout_s, transport=transport, headers=_headers(token)
        )
        self._calls = Calls(retry or RetryPolicy())

    predict = _blocking(Calls.predict)
    predict_frames = _blocking(Calls.predict_frames)
    feedback = _blocking(Calls.feedback)
    upload = _blocking(Calls.upload)
    declare = _blocking(Calls.declare)
    only_model = _blocking(Calls.only_model)
    calibration = _blocking(Calls.calibration)
    models = _blocking(Calls.models)

    def predict_many(
        self,
        images: Sequence[bytes | Path],
        *,
        model: str | None = None,
        version: int | None = None,
        connections: int = 8,
        progress: ItemProgress = lambda _done, _total: None,
    ) -> Iterator[Json | ServerRefused]:
        """The answers for `images` in order; a refused image has its ServerRefused instead.

        Up to `connections` requests run at a time, so that the server can batch them. `progress` is
        called after each.
        """
        name = model or self.only_model()

        def one(image: bytes | Path) -> Json | ServerRefused:
            try:
                return self.predict(image, model=name, version=version)
            except ServerRefused as refusal:
                return refusal

        with ThreadPoolExecutor(connections) as pool:
            for done, answer in enumerate(pool.map(one, images), 1):
                progress(done, len(images))
                yield answer

    def ready(self) -> bool:
        """Whether the server can be reached, accepts requests and has a model."""
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, call: _Call[_Result]) -> _Result:
        response: httpx.Response | None = None
        while True:
            try:
                step = call.send(response)
            except StopIteration as done:
                result: _Result = done.value
                return result
            if isinstance(step, _Send):
                response = self._http.request(step.method, step.path, **step.options)
            else:
                response = None
                time.sleep(step)


def _awaited(
    call: Callable[Concatenate[Calls, _Options], _Call[_Result]],
) -> Callable[Concatenate["AsyncClient", _Options], Coroutine[Any, Any, _Result]]:
    """The method of AsyncClient that makes a call, with the same arguments."""

    @wraps(call)
    async def method(
        client: "AsyncClient", /, *args: _Options.args, **options: _Options.kwargs
    ) -> _Result:
        return await client._run(call(client._calls, *args, **options))

    return method


class AsyncClient:
    """Like Client, with coroutines. Close it with `aclose`, or use it in an `async with`."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_s: float = 30.0,
        retry: RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, timeout=timeout_s, transport=transport, headers=_headers(token)
        )
        self._calls = Calls(retry or RetryPolicy())

    predict = _awaited(Calls.predict)
    predict_frames = _awaited(Calls.predict_frames)
    feedback = _awaited(Calls.feedback)
    upload = _awaited(Calls.upload)
    declare = _awaited(Calls.declare)
    only_model = _awaited(Calls.only_model)
    calibration = _awaited(Calls.calibration)
    models = _awaited(Calls.models)

    async def predict_many(
        self,
        images: Sequence[bytes | Path],
        *,
        model: str | None = None,
        version: int | None = None,
        connections: int = 8,
        progress: ItemProgress = lambda _done, _total: None,
    ) -> AsyncIterator[Json | ServerRefused]:
        """See Client.predict_many."""
        name = model or await self.only_model()
        turn = asyncio.Semaphore(connections)

        async def one(image: bytes | Path) -> Json | ServerRefused:
            async with turn:
                try:
                    return await self.predict(image, model=name, version=version)
                except ServerRefused as refusal:
                    return refusal

        tasks = [asyncio.create_task(one(image)) for image in images]
        try:
            for done, task in enumerate(tasks, 1):
                answer = await task
                progress(done, len(images))
                yield answer
        finally:  # also where the caller stops early, which a task group makes an exception group
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

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

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _run(self, call: _Call[_Result]) -> _Result:
        response: httpx.Response | None = None
        while True:
            try:
                step = call.send(response)
            except StopIteration as done:
                result: _Result = done.value
                return result
            if isinstance(step, _Send):
                response = await self._http.request(step.method, step.path, **step.options)
            else:
                response = None
                await asyncio.sleep(step)


def usable_token(text: str) -> str:
    """The token without the space around it. Raises TokenInvalid.

    >>> usable_token(" 6706f5fe0c1d ")
    '6706f5fe0c1d'
    """
    words = text.split()
    if len(words) != 1 or not (words[0].isascii() and words[0].isprintable()):
        raise TokenInvalid(len(words))
    return words[0]


def _headers(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {usable_token(token)}"}


def _retry_after_s(response: httpx.Response, *, default_s: float) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else default_s


def _refusal(response: httpx.Response) -> ServerRefused:
    try:
        body = response.json()
        return ServerRefused(response.status_code, str(body["error"]), str(body["detail"]))
    except (ValueError, KeyError, TypeError):
        return ServerRefused(
            response.status_code, "http_error", response.text[:200] or response.reason_phrase
        )
