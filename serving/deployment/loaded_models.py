"""The loaded versions of each model: the one in production, the one before it, and a canary.

A shadow answers the images that production has answered, at the lowest priority. No client waits
for it: it skips an image if it is busy, and its errors are only counted.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

from hosting.errors import ModelNotLoaded, NotReady, VersionNotLoaded, VersionStopped
from model_store.store.state import Canary
from serving.inference.batcher import PendingRequest
from serving.inference.metrics import ServingMetrics
from serving.inference.served_version import ServedVersion


class ShadowRunner:
    """Passes answered requests to a shadow version. Runs on the event loop."""

    def __init__(self, metrics: ServingMetrics) -> None:
        self._skipped = metrics.shadow_skipped
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, version: ServedVersion, request: PendingRequest) -> None:
        """Let `version` compute the image of an answered request, unless it is busy."""
        if version.load.waiting >= version.max_batch:
            self._skipped.labels(version.card.name, str(version.card.version)).inc()
            return
        # Taken now: the version may retire before the task runs, and would then never answer.
        held = ExitStack()
        held.enter_context(version.lease())
        held.enter_context(version.load)
        task = asyncio.ensure_future(_compute(version, request, held))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _compute(version: ServedVersion, request: PendingRequest, held: ExitStack) -> None:
    done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    with held:
        version.submit(
            PendingRequest(
                *(request.image, None, time.perf_counter(), done),
                tags=request.tags,
                patient=request.patient,
                shadow_of=request.given_id,
            )
        )
        await asyncio.wait([done])
    done.exception()  # retrieves the error, which is logged and counted where it is raised


MIN_FAILURES: Final = 5  # fewer could be chance, or one broken image that is sent again and again
MARGIN: Final = 0.01  # by which the canary's failure ratio may exceed production's


@dataclass(frozen=True, slots=True)
class LoadedCanary:
    served: ServedVersion
    record: Canary

    def takes(self, asked: bool | None, key: str | None) -> bool:
        """Whether it answers a request that asks for it (True), against it (False), or neither.

        An idempotency key is drawn alike in every process, so that a retry comes to the same.
        """
        if self.is_shadow or asked is False or self.served.stopped is not None:
            return False
        return asked is True or (self.record.mode == "share" and _draw(key) < self.record.share)

    @property
    def is_shadow(self) -> bool:
        """Whether it only computes beside production and never answers."""
        return self.record.mode == "shadow"

    def abort_reason(self, production: ServedVersion, alarmed: Callable[[int], bool]) -> str | None:
        """Why the canary must be aborted; None if it may go on.

        `alarmed` says whether the drift detector of a watched version id has an active alarm.
        """
        version = self.served.card.version
        if self.served.stopped is not None:
            return self.served.stopped
        if any(map(alarmed, self.served.watched_version_ids)):
            return f"the drift detector of version {version} has raised an alarm"
        failed, usual = self.served.counts.failed, production.counts.failed_ratio
        if failed >= MIN_FAILURES and self.served.counts.failed_ratio > usual + MARGIN:
            return (
                f"inference of version {version} failed {failed} times, "
                f"{self.served.counts.failed_ratio:.1%} of its "
                f"answers; production fails {usual:.1%}"
            )
        return None


@dataclass(frozen=True, slots=True)
class LoadedModel:
    production: ServedVersion
    previous: ServedVersion | None = None
    canary: LoadedCanary | None = None

    @property
    def all_versions(self) -> tuple[ServedVersion, ...]:
        """Every loaded version, including a shadow."""
        known = (self.production, self.previous, self.canary.served if self.canary else None)
        return tuple(served for served in known if served is not None)

    @property
    def answering(self) -> dict[int, ServedVersion]:
        """The versions that answer requests, by number, production first."""
        canary = self.canary.served if self.canary and not self.canary.is_shadow else None
        known = (self.production, self.previous, canary)
        return {served.card.version: served for served in known if served is not None}

    def find(self, canary: bool | None, key: str | None) -> ServedVersion:
        """The version that answers a request which names none; see `LoadedModels.find`."""
        takes = self.canary is not None and self.canary.takes(canary, key)
        served = self.canary.served if self.canary and takes else self.production
        if canary is not None or key is None or served.retries.knows(key):
            return served
        before = (each for each in self.answering.values() if each.retries.knows(key))
        return next((each for each in before if each.stopped is None), served)


class LoadedModels:
    """The loaded models. The event loop reads them, the store watcher's thread replaces them."""

    def __init__(self) -> None:
        self._models: dict[str, LoadedModel] = {}

    def find(
        self,
        model: str,
        version: str | None = None,
        *,
        canary: bool | None = None,
        key: str | None = None,
    ) -> ServedVersion:
        """The version that answers a request. Raises NotReady, ModelNotLoaded, VersionNotLoaded or
        VersionStopped.

        Without `version` this is the production version, or the canary if its mode and the
        request's `canary` say so, or the one that has just answered the idempotency `key`.
        """
        if not self._models:
            raise NotReady(
                "no model is loaded; publish one and promote it, or wait until it is loaded."
            )
        loaded = self._models.get(model)
        if loaded is None:
            raise ModelNotLoaded(model, known=self._models)
        if version is None:
            return _answering(loaded.find(canary, key))
        number = version.removesuffix(".0")  # TorchServe writes version 1 as 1.0
        is_number = number.isascii() and number.isdigit() and len(number) < 10
        served = loaded.answering.get(int(number)) if is_number else None
        if served is None:
            raise VersionNotLoaded(model, version, known=loaded.answering)
        return _answering(served)

    def production(self, model: str) -> int | None:
        loaded = self._models.get(model)
        return None if loaded is None else loaded.production.card.version

    def shadow_of(self, served: ServedVersion) -> ServedVersion | None:
        model = self._models.get(served.card.name)
        if model is None or model.canary is None or not model.canary.is_shadow:
            return None
        return model.canary.served if served is model.production else None

    def by_name(self) -> dict[str, LoadedModel]:
        return dict(self._models)

    def set_production(self, served: ServedVersion) -> list[ServedVersion]:
        """Make `served` the production version. Returns the versions no longer needed."""
        old = self._models.get(served.card.name)
        if old is None:
            return self._replace(served.card.name, LoadedModel(served))
        canary = old.canary if old.canary is not None and old.canary.served is not served else None
        return self._replace(served.card.name, LoadedModel(served, old.production, canary))

    def set_canary(self, model: str, canary: LoadedCanary | None) -> list[ServedVersion]:
        """Set or remove the canary of `model`. Returns the versions that are no longer needed."""
        return self._replace(model, replace(self._models[model], canary=canary))

    def _replace(self, model: str, new: LoadedModel) -> list[ServedVersion]:
        old, self._models[model] = self._models.get(model), new
        loaded = old.all_versions if old else ()
        return [served for served in loaded if served not in new.all_versions]


def _draw(key: str | None) -> float:
    """A number in [0, 1), by chance or from the key."""
    if key is None:
        return random.random()
    return int.from_bytes(blake2b(key.encode(), digest_size=6).digest(), "big") / 2**48


def _answering(served: ServedVersion) -> ServedVersion:
    if served.stopped is not None:
        raise VersionStopped(served.card.name, served.stopped)
    return served
