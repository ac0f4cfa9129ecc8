"""A client of a Candor server.

It is a single file and needs only httpx, so that you can copy it into a project of your own.

    with Client("http://127.0.0.1:8080") as client:
        answer = client.predict(Path("x-ray.png"), model="pneumonia")
        client.feedback([{"prediction_id": answer["prediction_id"], "label": "normal"}])

AsyncClient has the same methods as coroutines, which run in threads.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeAlias, TypeVar, cast
from urllib.parse import quote
from uuid import uuid4

import httpx

Json: TypeAlias = dict[str, Any]
ItemProgress: TypeAlias = Callable[[int, int], object]
_Options = ParamSpec("_Options")
_Result = TypeVar("_Result")

THREADS = 32  # of an AsyncClient: more calls at once wait

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
        headers = {} if token is None else {"Authorization": f"Bearer {usable_token(token)}"}
        self._http = httpx.Client(
            base_url=url, timeout=timeout_s, transport=transport, headers=headers
        )
        self._retry = retry or RetryPolicy()

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
    ) -> Json:
        """The answer for one encoded image. Without `model`, the server must have exactly one.

        `frame` chooses one of a DICOM file that has several, by its number from 1, or the middle
        one; the answer then has its number. `patient` identifies the patient: images of one count
        as dependent, and only a keyed hash is stored. A retry gets the recorded answer. Give an
        `idempotency_key` to repeat the call yourself, and get what the first one recorded; it is
        the request id of an answer without one. Raises ServerRefused, with status 404 if the model
        is not named and the server has several or none.
        """
        name = self.only_model() if model is None else model
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
        return self._json("POST", path, content=content, headers=headers, **chosen)

    def predict_frames(
        self,
        image: bytes | Path,
        *,
        model: str | None = None,
        version: int | None = None,
        request_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        patient: str | None = None,
    ) -> list[Json]:
        """The answers for all frames of one DICOM file, each with its number as `frame`.

        The request ids are `request_id` and that number: "a/1", "a/2". A frame whose inference
        failed has {"error", "detail", "frame"} in its place. Raises ServerRefused as `predict`
        does.
        """
        answers = self.predict(
            image,
            model=model,
            version=version,
            request_id=request_id,
            tags=tags,
            patient=patient,
            frame="all",
        )
        return cast(list[Json], answers)

    def feedback(self, labels: Sequence[Mapping[str, Any]]) -> list[Json]:
        """Send labels: {"label", "prediction_id" or "model" and "request_id", ...}."""
        answer: Any = self._json("POST", "/feedback", json=[dict(label) for label in labels])
        return cast(list[Json], answer["results"] if isinstance(answer, dict) else answer)

    def upload(self, path: str, rows: Sequence[Mapping[str, Any]]) -> Json:
        """Send `rows` as a table to /feedback or /predictions-log. Returns the summary.

        It has `statuses` and `problems`, each {"line", "status", "detail"}; lines count from 1.
        """
        content = "".join(json.dumps(dict(row)) + "\n" for row in rows).encode()
        headers = {"Content-Type": "application/x-ndjson"}
        return self._json("POST", path, content=content, headers=headers)

    def declare(self, model: Mapping[str, Any]) -> Json:
        """Declare a model of another server: {"model", "version", "classes", ...}."""
        return self._json("POST", "/models-log", json=dict(model))

    def calibration(
        self,
        model: str,
        *,
        version: int | None = None,
        window: str | None = None,
        finding: str | None = None,
        gap: float | None = None,
    ) -> Json:
        """The calibration report of a model, or of one of its findings.

        `gap`: the diagnosis' `open` says how many labels would show a gap of that size.
        """
        asked = {"version": version, "window": window, "finding": finding, "gap": gap}
        parameters = {name: str(value) for name, value in asked.items() if value is not None}
        path = f"/models/{quote(model, safe='')}/report"
        return self._json("GET", path, params=parameters)

    def models(self) -> Json:
        """The loaded models and the refused versions."""
        return self._json("GET", "/models")

    def only_model(self) -> str:
        """The name of the only model. Raises ServerRefused (404) if there are several or none."""
        names: list[str] = [model["name"] for model in self.models()["models"]]
        if len(names) != 1:
            has = f"the server has {', '.join(names)}: name one" if names else "the server has none"
            raise ServerRefused(404, "unknown_model", f"no model was named, and {has}")
        return names[0]

    def predict_many(
        self,
        images: Sequence[bytes | Path],
        *,
        model: str | None = None,
        version: int | None = None,
        connections: int = 8,
        progress: ItemProgress = lambda _done, _total: None,
    ) -> Generator[Json | ServerRefused]:
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

    def _json(self, method: str, path: str, **options: Any) -> Json:
        attempt = 1
        while True:
            response = self._http.request(method, path, **options)
            if response.is_success:
                return cast(Json, response.json())
            if response.status_code not in RETRIED or attempt == self._retry.attempts:
                raise _refusal(response)
            wait_s = _retry_after_s(response, default_s=0.1 * 2**attempt)
            time.sleep(min(wait_s, self._retry.max_wait_s))
            attempt += 1
            if ATTEMPT in options.get("headers", {}):
                options["headers"][ATTEMPT] = str(attempt).encode()


def _in_thread(
    call: Callable[Concatenate[Client, _Options], _Result],
) -> Callable[Concatenate["AsyncClient", _Options], Coroutine[Any, Any, _Result]]:
    @wraps(call)
    async def method(
        self: "AsyncClient", /, *args: _Options.args, **options: _Options.kwargs
    ) -> _Result:
        return await self._run(partial(call, self._client, *args, **options))

    return method


class AsyncClient:
    """The same client for asyncio: it takes what Client takes, and its methods are coroutines.

    Close it with `aclose`, or use it in an `async with`.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._client = Client(url, **options)
        self._threads = ThreadPoolExecutor(THREADS)

    predict = _in_thread(Client.predict)
    predict_frames = _in_thread(Client.predict_frames)
    feedback = _in_thread(Client.feedback)
    upload = _in_thread(Client.upload)
    declare = _in_thread(Client.declare)
    calibration = _in_thread(Client.calibration)
    models = _in_thread(Client.models)
    only_model = _in_thread(Client.only_model)
    ready = _in_thread(Client.ready)

    async def predict_many(
        self, images: Sequence[bytes | Path], **options: Any
    ) -> AsyncIterator[Json | ServerRefused]:
        """See Client.predict_many."""
        answers = self._client.predict_many(images, **options)
        try:
            for _ in images:
                yield await self._run(partial(next, answers))
        finally:
            await asyncio.to_thread(answers.close)  # the own threads may have ended

    async def aclose(self) -> None:
        """Wait for running calls and close the connections."""
        await asyncio.to_thread(self._threads.shutdown)
        self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _run(self, call: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def usable_token(text: str) -> str:
    """The token without the space around it. Raises TokenInvalid.

    >>> usable_token(" 6706f5fe0c1d ")
    '6706f5fe0c1d'
    """
    words = text.split()
    if len(words) != 1 or not (words[0].isascii() and words[0].isprintable()):
        raise TokenInvalid(len(words))
    return words[0]


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
