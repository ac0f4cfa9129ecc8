"""Follows the canaries in the store: loads them, watches them and aborts bad ones."""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from hosting.errors import ModelUnusable
from model_store.errors import ModelStoreError
from model_store.store.canary import end_canary
from model_store.store.state import Canary
from model_store.store.store import Store
from monitoring.errors import BundleReplaced
from serving.deployment.loaded_models import LoadedCanary, LoadedModel, LoadedModels
from serving.inference.served_version import ServedVersion

logger = logging.getLogger(__name__)

# Of a version that cannot be served.
LOAD_ERRORS = (ModelStoreError, ModelUnusable, BundleReplaced, OSError)


class Loader(Protocol):
    """Loads a version; in the `background` it gets one thread of the lowest priority."""

    def __call__(self, model: str, version: int, *, background: bool = False) -> ServedVersion: ...


class CanaryController:
    """Starts and ends canaries. Runs in the store watcher's thread.

    `alarmed` says whether the drift detector of a watched version id has an active alarm.
    """

    def __init__(
        self,
        store: Store,
        models: LoadedModels,
        load: Loader,
        *,
        retire: Callable[[Iterable[ServedVersion]], None],
        alarmed: Callable[[int], bool],
    ) -> None:
        self._store = store
        self._models = models
        self._load = load
        self._retire = retire
        self._alarmed = alarmed
        # A store that is mounted read-only cannot record the abort, so this process remembers it.
        self._aborted: dict[str, datetime] = {}

    def follow(self, name: str, canary: Canary | None) -> None:
        """Bring one model's canary in line with the store's, running or ended."""
        loaded = self._models.by_name().get(name)
        if loaded is None:
            return
        if canary is None or not self._is_running(name, canary, loaded):
            if loaded.canary is not None:
                self._end(name, loaded.canary.record)
        elif loaded.canary is None or loaded.canary.record != canary:
            self._begin(name, canary, loaded)
        else:
            reason = loaded.canary.abort_reason(loaded.production, self._alarmed)
            if reason is not None:
                self._abort(name, canary, reason)

    def _is_running(self, name: str, canary: Canary, loaded: LoadedModel) -> bool:
        in_production = canary.version == loaded.production.card.version
        return (
            canary.ended is None
            and not in_production
            and self._aborted.get(name) != canary.started_at
        )

    def _begin(self, name: str, canary: Canary, loaded: LoadedModel) -> None:
        try:
            served = self._load_version(name, canary, loaded)
        except LOAD_ERRORS as error:
            self._abort(name, canary, f"it cannot be loaded: {error}")
            return
        self._retire(self._models.set_canary(name, LoadedCanary(served, canary)))
        logger.info("canary started", extra={"fields": _fields(name, canary)})

    def _load_version(self, name: str, canary: Canary, loaded: LoadedModel) -> ServedVersion:
        """The canary's version; a shadow is loaded for itself, at the lowest priority."""
        loading = loaded.answering.get(canary.version)
        digest = loading.digest if loading else self._store.read(name, canary.version).digest
        if canary.digest not in (None, digest):
            raise ModelUnusable(
                f"its digest is {digest}, but the canary was started with {canary.digest}; a "
                "version never changes."
            )
        if canary.mode == "shadow":
            served = self._load(name, canary.version, background=True)
            served.record_shadow()
            return served
        return loaded.answering.get(canary.version) or self._load(name, canary.version)

    def _end(self, name: str, canary: Canary) -> None:
        self._retire(self._models.set_canary(name, None))
        logger.info("canary ended", extra={"fields": _fields(name, canary)})

    def _abort(self, name: str, canary: Canary, reason: str) -> None:
        self._aborted[name] = canary.started_at
        self._retire(self._models.set_canary(name, None))
        logger.error("canary aborted", extra={"fields": _fields(name, canary) | {"reason": reason}})
        try:
            end_canary(self._store, name, "aborted", reason=reason, canary=canary)
        except (OSError, ModelStoreError) as error:
            logger.warning(
                "the abort could not be written to the store",
                extra={"fields": {"reason": str(error)}},
            )


def _fields(name: str, canary: Canary) -> dict[str, object]:
    return {"model": name, "version": canary.version, "mode": canary.mode, "share": canary.share}
