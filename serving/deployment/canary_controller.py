"""Follows the store's canaries: takes them up, watches them, aborts the bad ones."""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from model_store.canary import Canary, end_canary, read_canary
from model_store.errors import ModelStoreError
from model_store.store import Store
from serving.deployment.canary import Trial
from serving.deployment.loaded_models import Fleet, Slot
from serving.errors import ModelUnusable
from serving.inference.served_version import ServedVersion

logger = logging.getLogger(__name__)


class Loader(Protocol):
    """Makes a version ready to answer; in the `background` it has one thread, of the lowest priority."""

    def __call__(self, model: str, version: int, *, background: bool = False) -> ServedVersion: ...


class Trials:
    """The switch's half that looks after canaries; used from its thread alone.

    `alarmed` says of a calibration id whether its drift detector has raised its alarm.
    """

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        load: Loader,
        *,
        retire: Callable[[Iterable[ServedVersion]], None],
        alarmed: Callable[[int], bool],
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._load = load
        self._retire = retire
        self._alarmed = alarmed
        # A store that is mounted read-only cannot keep the abort; this process does.
        self._aborted: dict[str, datetime] = {}

    def follow(self, name: str) -> None:
        """One look at a model's canary. Raises CanaryError for a file that cannot be read."""
        slot = self._fleet.slots().get(name)
        if slot is None:
            return
        canary = read_canary(self._store, name)
        if canary is None or not self._running(name, canary, slot):
            if slot.trial is not None:
                self._end(name, slot.trial.canary)
        elif slot.trial is None or slot.trial.canary != canary:
            self._begin(name, canary, slot)
        else:
            reason = slot.trial.verdict(slot.production, self._alarmed)
            if reason is not None:
                self._abort(name, canary, reason)

    def _running(self, name: str, canary: Canary, slot: Slot) -> bool:
        in_production = canary.version == slot.production.card.version
        return canary.ended is None and not in_production and self._aborted.get(name) != canary.started_at

    def _begin(self, name: str, canary: Canary, slot: Slot) -> None:
        try:
            served = self._take(name, canary, slot)
        except (ModelStoreError, ModelUnusable, OSError) as error:
            self._abort(name, canary, f"it cannot be loaded: {error}")
            return
        self._retire(self._fleet.try_out(name, Trial(served, canary)))
        logger.info("canary started", extra={"fields": _fields(name, canary)})

    def _take(self, name: str, canary: Canary, slot: Slot) -> ServedVersion:
        """The version to try; one for the shadow is loaded for itself, as it is to leave the others their cores."""
        if canary.mode == "shadow":
            served = self._load(name, canary.version, background=True)
            served.note_shadow()
            return served
        return slot.versions.get(canary.version) or self._load(name, canary.version)

    def _end(self, name: str, canary: Canary) -> None:
        self._retire(self._fleet.try_out(name, None))
        logger.info("canary ended", extra={"fields": _fields(name, canary)})

    def _abort(self, name: str, canary: Canary, reason: str) -> None:
        self._aborted[name] = canary.started_at
        self._retire(self._fleet.try_out(name, None))
        logger.error("canary aborted", extra={"fields": _fields(name, canary) | {"reason": reason}})
        try:
            end_canary(self._store, name, "aborted", reason=reason)
        except (OSError, ModelStoreError) as error:
            logger.warning("the abort could not be written to the store", extra={"fields": {"reason": str(error)}})


def _fields(name: str, canary: Canary) -> dict[str, object]:
    return {"model": name, "version": canary.version, "mode": canary.mode, "share": canary.share}
