"""TorchServe's management API: which versions are registered, and which of them answers."""

import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from model_store.bundle.bundle import Bundle
from serving.errors import TorchServeError
from serving.torchserve.configuration import archive_name
from serving.torchserve.record import TorchServeRecord, read_keys

TIMEOUT_S: Final = 180.0  # a worker that loads a large model


class TorchServeManagement:
    """A client of the management API of a TorchServe. Use it in a `with`."""

    def __init__(self, folder: Path, record: TorchServeRecord) -> None:
        self._keys = read_keys(folder, record)
        self._record = record
        self._client = httpx.Client(
            base_url=record.url("management"),
            timeout=TIMEOUT_S,
            headers=_bearer(self._keys.get("management")),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: TracebackType | object) -> None:
        self._client.close()

    def healthy(self) -> bool:
        """Whether the inference API says that it is healthy."""
        if self._record.tokens and not self._keys:
            return False
        url = f"{self._record.url()}/ping"
        try:
            said = self._client.get(
                url, headers=_bearer(self._keys.get("inference")), timeout=5.0
            ).json()
        except (httpx.HTTPError, ValueError):
            return False
        return isinstance(said, dict) and said.get("status") == "Healthy"

    def register(self, bundle: Bundle) -> None:
        """Register a version and start its workers; TorchServe makes the first of a model its
        default.
        """
        query = {"url": archive_name(bundle), "model_name": bundle.card.name, "synchronous": "true"}
        self._call("POST", "/models", params=query | {"initial_workers": str(self._record.workers)})
        deadline_s = time.monotonic() + TIMEOUT_S
        while self.workers(bundle.card.name, bundle.card.version) == 0:
            if time.monotonic() > deadline_s:
                raise TorchServeError(
                    f"no worker of {bundle.card.name} version {bundle.card.version} came up "
                    f"within {TIMEOUT_S:g} s; "
                    "the reason is in the folder's logs/model_log.log"
                )
            time.sleep(0.1)

    def set_default(self, model: str, version: int) -> None:
        """Let a version answer requests that name none."""
        self._call("PUT", f"/models/{model}/{version}.0/set-default")

    def unregister(self, model: str, version: int) -> None:
        """Take a version away. Its workers are killed, so requests that they have are never
        answered.
        """
        self._call("DELETE", f"/models/{model}/{version}.0")

    def default_versions(self) -> dict[str, int]:
        """Return the version of each model that answers requests that name none."""
        listed = self._call("GET", "/models", params={"limit": "1000"})["models"]
        names = {str(each["modelName"]) for each in listed}
        return {name: _version(self._call("GET", f"/models/{name}")[0]) for name in sorted(names)}

    def versions(self, model: str) -> list[int]:
        """Return the registered versions of a model."""
        return sorted(_version(each) for each in self._call("GET", f"/models/{model}/all"))

    def workers(self, model: str, version: int) -> int:
        """Return how many workers of a version are ready."""
        (described,) = self._call("GET", f"/models/{model}/{version}.0")
        return sum(worker["status"] == "READY" for worker in described["workers"])

    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._client.request(method, path, **options)
            said = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise TorchServeError(
                f"TorchServe's management API at {self._client.base_url} failed: {error}"
            ) from error
        if answer.is_error:
            why = said.get("message", said) if isinstance(said, dict) else said
            raise TorchServeError(f"TorchServe refused {method} {path}: {why}")
        return said


def _version(described: dict[str, Any]) -> int:
    return int(str(described["modelVersion"]).partition(".")[0])


def _bearer(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}
