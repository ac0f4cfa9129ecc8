"""What happens to a version later: rollback, retirement, removal when nothing refers to it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from model_store.errors import AliasError
from model_store.store.catalog import published_at
from model_store.store.event import StoreEvent, new_event
from model_store.store.state import PRODUCTION, Alias, ModelState
from model_store.store.store import Store

LEFTOVER_S = 86_400.0  # no process builds a version for a day


@dataclass(frozen=True)
class Removal:
    """A version that nothing refers to, or what a process that died has left behind.

    Attributes:
        version: its number; None for a leftover.
        name: of the leftover.
        reason: why it may go.
    """

    model: str
    reason: str
    version: int | None = None
    name: str | None = None


def rollback_target(store: Store, name: str, alias: str = PRODUCTION) -> int:
    """Return where `roll_back` would go. Raises HistoryError, AliasError for nowhere."""
    return _target(store.state(name), name, alias)


def roll_back(
    store: Store,
    name: str,
    alias: str = PRODUCTION,
    *,
    by: str | None = None,
    why: str | None = None,
) -> Alias:
    """Point an alias at what it pointed at before. Raises as `Store.set_alias` does."""

    def target(state: ModelState) -> int:
        return _target(state, name, alias)

    done = store.point(name, alias, target, action="rolled back", by=by, why=why)
    return done.after.aliases[alias]


def _target(state: ModelState, name: str, alias: str) -> int:
    target = state.earlier(alias)
    if target is None:
        raise AliasError(
            f"the history of '{name}' has nothing before the current '{alias}', so there is "
            f"nothing to go back to; `candor models alias {name} {alias} VERSION` sets it"
        )
    return target


def retire(
    store: Store, name: str, version: int, *, by: str | None = None, why: str | None = None
) -> bool:
    """Take a version out, so that nothing may point at it; return whether that is new.

    Raises NotInStore, and VersionRetired if something points at it now.
    """
    store.require(name, version)

    def decide(state: ModelState) -> StoreEvent | None:
        state.require_unused(name, version)
        if version in state.retired:
            return None
        return new_event("retired", version=version, by=by, why=why)

    return store.change(name, decide).event is not None


def restore(
    store: Store, name: str, version: int, *, by: str | None = None, why: str | None = None
) -> bool:
    """Bring back a version that was taken out; return whether that changed anything."""
    store.require(name, version)

    def decide(state: ModelState) -> StoreEvent | None:
        if version not in state.retired:
            return None
        return new_event("restored", version=version, by=by, why=why)

    return store.change(name, decide).event is not None


def removable(
    store: Store,
    name: str,
    *,
    answering: Collection[int],
    keep: int = 3,
    older_than_days: float = 90.0,
) -> list[Removal]:
    """Return what of a model may be removed.

    Kept is what an alias points at and what a rollback of it would bring back, a running canary,
    every version in `answering`, the newest `keep` (at least one, so that no number is used twice),
    and what is younger than `older_than_days` and not retired.

    Raises HistoryError if it cannot be known what is referred to.
    """
    versions, state = store.versions(name), store.state(name)
    kept = set(versions[-max(1, keep) :]) | set(answering) | _referred(state)
    before = datetime.now(UTC) - timedelta(days=older_than_days)
    removals = []
    for version in versions:
        made = published_at(store, name, version)
        retired = version in state.retired
        if version in kept or (not retired and made is not None and made >= before):
            continue
        age = "damaged" if made is None else f"made on {made:%Y-%m-%d}"
        reason = "retired" if retired else f"{age}, and nothing refers to it"
        removals.append(Removal(name, reason, version))
    leftovers = store.storage.leftovers(name, older_than_s=LEFTOVER_S)
    died = "left behind by a process that died"
    return [*removals, *(Removal(name, died, name=leftover) for leftover in leftovers)]


def collect(store: Store, removal: Removal, *, by: str | None = None) -> None:
    """Remove what `removable` found. Raises VersionRetired if something points at it by now.

    A version is taken out first, so that nothing can point at it while it is removed.
    """
    storage, name, version = store.storage, removal.model, removal.version
    if version is None:
        storage.clear(name, removal.name or "")
        return

    def decide(state: ModelState) -> StoreEvent | None:
        state.require_unused(name, version)
        taken_out = state.retired.get(version)
        if taken_out is not None and taken_out.action == "collected":
            return None  # by a process that died before it removed the files
        return new_event("collected", version=version, by=by, why=removal.reason)

    store.change(name, decide)
    storage.remove(name, version)


def _referred(state: ModelState) -> set[int | None]:
    """Return the versions that an alias, its rollback or a running canary refers to."""
    referred = {alias.version for alias in state.aliases.values()}
    running = {state.running.version} if state.running else set[int]()
    return referred | running | {state.earlier(alias) for alias in state.aliases}
