"""The switch: it follows the store's aliases and canaries, and changes the fleet accordingly.

A new version is loaded, verified and warmed up beside the old one, then swapped in by one assignment. The
version before stays loaded, for rollback and for requests that name it; the one before that ends when its
last request is answered. A bundle that is refused changes nothing but the log and the list of refusals, and
is looked at again only when its files have changed. What keeps the store from being read, or the ledger from taking a
new version, is one line in the log until it changes; it is tried again, less and less often.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy.exc import SQLAlchemyError

from model_store.errors import ModelStoreError
from model_store.store import Store
from serving.deployment.canary_controller import Loader, Trials
from serving.deployment.loaded_models import Fleet
from serving.errors import ModelUnusable
from serving.inference.served_version import ServedVersion

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S = 30.0  # between looks that fail
Stamp: TypeAlias = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a version is not taken up, and the state of its files when that was found."""

    version: int | None
    reason: str
    stamp: Stamp


class Switch:
    """Follows the store's aliases in a thread; `load` turns (model, version) into a version ready to answer."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        load: Loader,
        *,
        loop: asyncio.AbstractEventLoop,
        alarmed: Callable[[int], bool] = lambda _calibration_id: False,
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._load = load
        self._loop = loop
        self._trials = Trials(store, fleet, load, retire=self._retire, alarmed=alarmed)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.refused: dict[str, Refusal] = {}
        self._trouble: str | None = None  # of the last look, if it failed

    def start(self, poll_s: float) -> None:
        """Look at the store now and every `poll_s` seconds from now on."""
        self._thread = threading.Thread(target=self._follow, args=(poll_s,), name="candor-switch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; waits for a load that is under way."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def scan(self) -> None:
        """One look at the store: take up what is new, refuse what is bad."""
        for name in self._store.models():
            try:
                self._follow_alias(name)
                self._trials.follow(name)
            except (ModelStoreError, OSError) as error:
                # The alias itself cannot be read; there is no version to blame, and nothing else to wait for
                # than the next look.
                self._refuse(name, Refusal(None, str(error), ()))

    def _follow(self, poll_s: float) -> None:
        pause_s = poll_s
        while True:
            pause_s = poll_s if self.look() else max(poll_s, min(2 * pause_s, LONGEST_PAUSE_S))
            if self._stop.wait(pause_s):
                return

    def look(self) -> bool:
        """`scan` at the thread's edge: whatever happens, what serves goes on serving. Returns whether it went well."""
        try:
            self.scan()
        except Exception as error:  # noqa: BLE001 as said
            self._suffer(error)
            return False
        if self._trouble is not None:
            logger.info("the store can be followed again")
        self._trouble = None
        return True

    def _suffer(self, error: Exception) -> None:
        """Say what is wrong, once until it changes; with a trace where it is no outside trouble."""
        trouble = f"{type(error).__name__}: {error}"
        if trouble != self._trouble:
            outside = isinstance(error, (OSError, SQLAlchemyError))
            fields = {"reason": trouble.splitlines()[0][:500]}
            logger.error("look at the store failed", extra={"fields": fields}, exc_info=None if outside else error)
        self._trouble = trouble

    def _follow_alias(self, name: str) -> None:
        wanted = self._store.production(name)
        slot = self._fleet.slots().get(name)
        if wanted is None or (slot is not None and slot.production.card.version == wanted):
            self.refused.pop(name, None)
            return
        stamp = self._stamp(name, wanted)
        refusal = self.refused.get(name)
        if refusal is None or (refusal.version, refusal.stamp) != (wanted, stamp):
            self._take_up(name, wanted, stamp)

    def _take_up(self, name: str, version: int, stamp: Stamp) -> None:
        slot = self._fleet.slots().get(name)
        loaded = slot.versions.get(version) if slot else None
        try:
            served = loaded or self._load(name, version)
        except (ModelStoreError, ModelUnusable, OSError) as error:
            self._refuse(name, Refusal(version, str(error), stamp))
            return
        self.refused.pop(name, None)
        self._retire(self._fleet.install(served))
        served.note_production()
        logger.info("version in production", extra={"fields": {"model": name, "version": version}})

    def _retire(self, fallen: Iterable[ServedVersion]) -> None:
        for served in fallen:
            self._loop.call_soon_threadsafe(served.retire)

    def _refuse(self, name: str, refusal: Refusal) -> None:
        if self.refused.get(name) != refusal:
            fields = {"model": name, "version": refusal.version, "reason": refusal.reason}
            logger.error("bundle refused", extra={"fields": fields})
        self.refused[name] = refusal

    def _stamp(self, name: str, version: int) -> Stamp:
        """Name, time and size of every file of a version: what changes when somebody mends it."""
        folder = self._store.folder(name, version)
        files = sorted(path for path in folder.glob("*") if path.is_file())
        return tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files)
