"""A model's canary: a version that answers some requests, or is a shadow, before its promotion."""

from model_store.errors import CanaryError
from model_store.store.event import Mode, StoreEvent, new_event
from model_store.store.history import Change
from model_store.store.state import PRODUCTION, Canary, End, ModelState
from model_store.store.store import Store


def read_canary(store: Store, name: str) -> Canary | None:
    """Return the model's canary, running or ended, or None. Raises HistoryError."""
    return store.state(name).canary


def running_canary(store: Store, name: str) -> Canary | None:
    """Return the model's canary if it has not ended. Raises HistoryError."""
    return store.state(name).running


def start_canary(
    store: Store,
    name: str,
    version: int,
    *,
    mode: Mode,
    share: float = 0.0,
    by: str | None = None,
    why: str | None = None,
) -> Canary:
    """Start a canary beside production. Raises NotInStore, BundleError or CanaryError."""
    digest = store.read(name, version).digest

    def decide(state: ModelState) -> StoreEvent:
        state.require_not_retired(name, version)
        if state.production is None:
            raise CanaryError(
                f"'{name}' has no version in production to compare with; promote {version} instead"
            )
        if state.production == version:
            raise CanaryError(
                f"version {version} of '{name}' is in production already; name another one"
            )
        tried = {"version": version, "digest": digest, "mode": mode, "share": share}
        return new_event("canary started", by=by, why=why, **tried)

    return _of(store.change(name, decide))


def change_canary(
    store: Store,
    name: str,
    *,
    mode: Mode,
    share: float = 0.0,
    by: str | None = None,
    why: str | None = None,
) -> Canary:
    """Change the running canary's share or mode. Raises CanaryError or BundleError."""

    def decide(state: ModelState) -> StoreEvent:
        version = _running(state, name).version
        store.read(name, version)
        tried = {"version": version, "mode": mode, "share": share}
        return new_event("canary changed", by=by, why=why, **tried)

    return _of(store.change(name, decide))


def end_canary(
    store: Store,
    name: str,
    end: End,
    *,
    reason: str | None = None,
    by: str | None = None,
    canary: Canary | None = None,
) -> Canary:
    """End the canary; `promoted` puts its version into production, for `reason`.

    It is promoted only if its bundle is the one that was tried. Raises CanaryError if none runs, or
    another one than `canary`.
    """

    def ending(state: ModelState) -> int:
        return _running(state, name, meant=canary).version

    def abort(state: ModelState) -> StoreEvent:
        return new_event("canary aborted", version=ending(state), by=by, why=reason)

    if end == "aborted":
        return _of(store.change(name, abort))
    return _of(store.point(name, PRODUCTION, ending, by=by, why=reason))


def promote_version(
    store: Store, name: str, version: int, *, by: str | None = None, why: str | None = None
) -> Canary | None:
    """Put a version into production; return its canary if that has ended by this.

    Raises NotInStore, BundleError or VersionRetired.
    """
    done = store.point(name, PRODUCTION, lambda _: version, by=by, why=why)
    ended = done.before.running is not None and done.after.running is None
    return done.after.canary if ended else None


def _running(state: ModelState, name: str, *, meant: Canary | None = None) -> Canary:
    if state.running is None:
        raise CanaryError(
            f"'{name}' has no canary running; `candor canary start {name} VERSION` starts one"
        )
    if meant is not None and meant.started_at != state.running.started_at:
        raise CanaryError(f"another canary of '{name}' was started meanwhile")
    return state.running


def _of(done: Change) -> Canary:
    """The canary after a change of it."""
    if done.after.canary is None:
        raise CanaryError("there is no canary")
    return done.after.canary
