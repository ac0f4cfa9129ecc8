"""A small client of a Candor server: images in, answers out, labels back. Needs httpx and nothing else of
Candor but its errors.

    with Client("http://127.0.0.1:8080") as client:
        answer = client.predict(Path("x-ray.png"), model="pneumonia")
        client.feedback([{"prediction_id": answer["prediction_id"], "label": "normal"}])
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import quote

import httpx

from serving.errors import ServerRefused

Json: TypeAlias = dict[str, Any]

# Refused because of load or of a restart; the same request may succeed a little later.
RETRIED = (429, 503)


class Client:
    """A connection to one server; close it, or use it in a `with`.

    A 429 or 503 is tried again, up to `attempts` times in all, after the server's own Retry-After (at most
    `longest_wait_s`). Any other error is raised as ServerRefused at once; httpx.TransportError says that
    there is no server to be reached.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 30.0,
        attempts: int = 4,
        longest_wait_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(base_url=url, timeout=timeout_s, transport=transport)
        self._attempts = attempts
        self._longest_wait_s = longest_wait_s

    def predict(
        self,
        image: bytes | Path,
        *,
        model: str | None = None,
        version: int | None = None,
        request_id: str | None = None,
    ) -> Json:
        """The answer for one encoded image; without `model`, of the one model that the server has.

        Raises ServerRefused, also (404) where the server has several models or none.
        """
        path = f"/predictions/{quote(model or self._only_model(), safe='')}" + (
            f"/{version}" if version is not None else ""
        )
        content = image.read_bytes() if isinstance(image, Path) else image
        headers = {"Content-Type": "application/octet-stream"}
        if request_id is not None:
            headers["X-Request-Id"] = request_id
        answer: Json = self._json("POST", path, content=content, headers=headers)
        return answer

    def feedback(self, labels: Sequence[Mapping[str, Any]]) -> list[Json]:
        """What became of each of `labels`, each {"prediction_id" or "model" and "request_id", "label", ...}."""
        answer = self._json("POST", "/feedback", json=[dict(label) for label in labels])
        results: list[Json] = answer["results"] if isinstance(answer, dict) else answer
        return results

    def calibration(self, model: str, *, version: int | None = None, window: str | None = None) -> Json:
        """The calibration report of a model."""
        asked = {"version": version, "window": window}
        parameters = {name: str(value) for name, value in asked.items() if value is not None}
        report: Json = self._json("GET", f"/calibration/{quote(model, safe='')}", params=parameters)
        return report

    def models(self) -> Json:
        """What is loaded and what was refused."""
        loaded: Json = self._json("GET", "/models")
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

    def _only_model(self) -> str:
        names = [model["name"] for model in self.models()["models"]]
        if len(names) != 1:
            raise ServerRefused(404, "unknown_model", f"name the model; the server has: {', '.join(names) or 'none'}.")
        return str(names[0])

    def _json(self, method: str, path: str, **request: Any) -> Any:
        for attempt in range(1, self._attempts + 1):
            response = self._http.request(method, path, **request)
            if response.status_code not in RETRIED or attempt == self._attempts:
                break
            time.sleep(min(_retry_after_s(response, default_s=0.1 * 2**attempt), self._longest_wait_s))
        if response.is_success:
            return response.json()
        raise _refusal(response)


def _retry_after_s(response: httpx.Response, *, default_s: float) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else default_s


def _refusal(response: httpx.Response) -> ServerRefused:
    try:
        body = response.json()
        return ServerRefused(response.status_code, str(body["error"]), str(body["detail"]))
    except (ValueError, KeyError, TypeError):
        return ServerRefused(response.status_code, "http_error", response.text[:200] or response.reason_phrase)
