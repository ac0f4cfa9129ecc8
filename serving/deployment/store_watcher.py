"""Follows the histories in the model store: loads what is in production, and canaries.

A new version is loaded, verified and warmed up beside the old one, then swapped in by one
assignment. The previous version stays loaded, for rollbacks and for requests that name it. The
version before that is retired when its last request is answered.

A refused bundle changes nothing but the log and the list of refusals, and is checked again only
after its files change. If the store cannot be read or the ledger cannot register a version, the
watcher logs that once and retries, less and less often.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy.exc import SQLAlchemyError

from hosting.errors import ModelUnusable
from model_store.bundle.card import Card
from model_store.errors import ModelStoreError
from model_store.store.state import PRODUCTION, Alias
from model_store.store.store import Store
from serving.deployment.canary import LOAD_ERRORS, CanaryController, Loader
from serving.deployment.loaded_models import LoadedModels
from serving.inference.metrics import ServingMetrics
from serving.inference.served_version import ServedVersion

logger = logging.getLogger(__name__)

MAX_PAUSE_S = 30.0  # between failed scans
LONGEST_LOAD_S = 10.0  # that a stop waits for
FileStamp: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a version (None: the history is unreadable) was refused, and the files' state then."""

    version: int | None
    reason: str
    stamp: FileStamp


class StoreWatcher:
    """Scans the store in a thread of its own. `load` makes a version ready to answer."""

    def __init__(
        self,
        store: Store,
        models: LoadedModels,
        load: Loader,
        *,
        loop: asyncio.AbstractEventLoop,
        metrics: ServingMetrics,
        alarmed: Callable[[int], bool] = lambda _watched_version_id: False,
    ) -> None:
        self._store = store
        self._models = models
        self._load = load
        self._loop = loop
        self._metrics = metrics
        self._canaries = CanaryController(store, models, load, retire=self._retire, alarmed=alarmed)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.refused: dict[str, Refusal] = {}
        self.has_scanned = False  # everything in production was loaded or refused
        self._trouble: str | None = None  # why the last scan failed
        self._nothing_serves = False  # as of the last scan

    @property
    def doubts(self) -> dict[str, str]:
        """By model, why production's calibration does not hold on this machine."""
        found = {name: each.production.doubt for name, each in self._models.by_name().items()}
        return {name: doubt for name, doubt in found.items() if doubt is not None}

    def troubles(self, model: str) -> dict[int, str]:
        """By version, why this server refuses it or doubts its calibration."""
        loaded, refusal = self._models.by_name().get(model), self.refused.get(model)
        versions = loaded.all_versions if loaded else ()
        found = {each.card.version: each.doubt for each in versions}
        if refusal is not None and refusal.version is not None:
            found[refusal.version] = refusal.reason
        return {version: why for version, why in found.items() if why is not None}

    def start(self, poll_s: float) -> None:
        self._thread = threading.Thread(
            target=self._follow, args=(poll_s,), name="candor-watcher", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop scanning. Waits for a version that is being loaded, up to LONGEST_LOAD_S."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(LONGEST_LOAD_S)

    def scan(self) -> None:
        """Scan the store once: load new versions, refuse bad ones, and show what is wanted."""
        for name in sorted({*self._store.models(), *self._models.by_name()}):
            wanted = math.nan
            try:
                state = self._store.state(name)
                wanted = self._follow_alias(name, state.aliases.get(PRODUCTION))
                self._canaries.follow(name, state.canary)
            except (ModelStoreError, OSError) as error:
                # The history cannot be read, so there is no version to blame. The next scan tries
                # again.
                self._refuse(name, Refusal(None, str(error), ()))
            self._metrics.wanted.labels(name).set(wanted)
            self._metrics.served.labels(name).set(self._served(name))
            refusal = self.refused.get(name)
            self._metrics.refused.labels(name).set((refusal and refusal.version) or 0)
        self.has_scanned = True
        self._log_if_nothing_serves()
        if not self._store.storage.is_away:
            self._metrics.store_scanned.set(time.time())

    def _served(self, name: str) -> int:
        """The number of the version that answers for a model; 0 for none."""
        loaded = self._models.by_name().get(name)
        answers = loaded is not None and loaded.production.stopped is None
        return loaded.production.card.version if loaded and answers else 0

    def _log_if_nothing_serves(self) -> None:
        """Log once that there is nothing to serve; refused versions are logged themselves."""
        nothing = not self._models.by_name() and not self.refused
        if nothing and not self._nothing_serves:
            fields = {"store": str(self._store.root), "models": self._store.models()}
            logger.warning(
                "no model is in production, so this server is not ready", extra={"fields": fields}
            )
        self._nothing_serves = nothing

    def _follow(self, poll_s: float) -> None:
        pause_s = poll_s
        while True:
            pause_s = poll_s if self.try_scan() else max(poll_s, min(2 * pause_s, MAX_PAUSE_S))
            if self._stop.wait(pause_s):
                return

    def try_scan(self) -> bool:
        """Scan, but log errors instead of raising them. Returns whether the scan succeeded."""
        try:
            self.scan()
        except Exception as error:  # noqa: BLE001  the edge of the thread
            self._log_trouble(error)
            return False
        if self._trouble is not None:
            logger.info("the store can be scanned again")
        self._trouble = None
        return True

    def _log_trouble(self, error: Exception) -> None:
        """Log an error once until it changes; with a traceback if it is Candor's."""
        trouble = f"{type(error).__name__}: {error}"
        if trouble != self._trouble:
            outside = isinstance(error, (OSError, SQLAlchemyError))
            fields = {"reason": trouble.splitlines()[0][:500]}
            logger.error(
                "scan of the store failed",
                extra={"fields": fields},
                exc_info=None if outside else error,
            )
        self._trouble = trouble

    def _follow_alias(self, name: str, wanted: Alias | None) -> int:
        """Load or refuse what production names. Returns its number, 0 for none."""
        loaded = self._models.by_name().get(name)
        if wanted is None or (loaded is not None and _is(loaded.production, wanted)):
            if wanted is None and loaded is not None:
                self._refuse(name, Refusal(None, _removed(loaded.production.card), ()))
            elif wanted and loaded is not None and loaded.production.stopped is not None:
                self._refuse(name, Refusal(wanted.version, loaded.production.stopped, ()))
            else:
                self.refused.pop(name, None)
            return wanted.version if wanted else 0
        stamp = (wanted.digest, *self._store.stamp(name, wanted.version))
        refusal = self.refused.get(name)
        if refusal is None or (refusal.version, refusal.stamp) != (wanted.version, stamp):
            self._set_production(name, wanted, stamp)
        return wanted.version

    def _set_production(self, name: str, wanted: Alias, stamp: FileStamp) -> None:
        try:
            served = self._loaded(name, wanted) or self._load(name, wanted.version)
        except LOAD_ERRORS as error:
            self._refuse(name, Refusal(wanted.version, str(error), stamp))
            return
        self.refused.pop(name, None)
        self._retire(self._models.set_production(served))
        served.record_promotion()
        fields: dict[str, object] = {"model": name, "version": wanted.version}
        logger.info("version in production", extra={"fields": fields})
        if served.scope.blind:
            logger.warning(
                "no image can be doubtful: alpha is below the least p-value",
                extra={"fields": fields | {"scope_alpha": served.scope.alpha}},
            )
        if uncalibrated := served.card.uncalibrated:
            fields |= {"calibration": "none", "uncalibrated": uncalibrated}
            logger.warning("this version is not calibrated", extra={"fields": fields})

    def _loaded(self, name: str, wanted: Alias) -> ServedVersion | None:
        """The version if loaded. Raises ModelUnusable if another bundle has its number."""
        model = self._models.by_name().get(name)
        served = model.answering.get(wanted.version) if model else None
        if served is not None and not _is(served, wanted):
            raise ModelUnusable(
                f"bundle {name}/{wanted.version} is refused: it is loaded with digest "
                f"{served.digest}, but production names {wanted.digest}. A version never changes: "
                "publish what it holds now as the next version."
            )
        return served

    def _retire(self, retired: Iterable[ServedVersion]) -> None:
        for served in retired:
            self._loop.call_soon_threadsafe(served.retire)

    def _refuse(self, name: str, refusal: Refusal) -> None:
        if self.refused.get(name) != refusal:
            fields = {"model": name, "version": refusal.version, "reason": refusal.reason}
            logger.error("bundle refused", extra={"fields": fields})
        self.refused[name] = refusal


def _removed(card: Card) -> str:
    return (
        f"the store no longer says which version of {card.name} is in production; version "
        f"{card.version} goes on answering here, and no server starts with it: run `candor promote "
        f"{card.name} {card.version}`"
    )


def _is(served: ServedVersion, wanted: Alias) -> bool:
    return (served.card.version, served.digest) == (wanted.version, wanted.digest)
