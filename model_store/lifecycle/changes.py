"""What happens to a version later: rollback, retirement, removal when nothing refers to it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from model_store.errors import AliasError, VersionRetired
from model_store.lifecycle.canary import running_canary
from model_store.store.alias import PRODUCTION, Alias
from model_store.store.aliases import recorded
from model_store.store.catalog import published_at
from model_store.store.history import earlier_version, read_events, record
from model_store.store.retirement import retirements, write_retirement
from model_store.store.store import Store, require_name

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
    recorded(store.storage, require_name(name), alias)
    target = earlier_version(read_events(store.storage, name), alias)
    if target is None:
        raise AliasError(
            f"the history of '{name}' has nothing before the current '{alias}', so there is "
            f"nothing to go back to; `candor models alias {name} {alias} VERSION` sets it"
        )
    return target


def roll_back(
    store: Store,
    name: str,
    alias: str = PRODUCTION,
    *,
    by: str | None = None,
    why: str | None = None,
) -> Alias:
    """Point an alias at what it pointed at before. Raises as `Store.set_alias` does."""
    return store.set_alias(
        name, alias, rollback_target(store, name, alias), by=by, why=why, action="rolled back"
    )


def retire(
    store: Store, name: str, version: int, *, by: str | None = None, why: str | None = None
) -> bool:
    """Take a version out, so that nothing may point at it; return whether that is new.

    Raises NotInStore, and VersionRetired if something points at it now.
    """
    store.require(name, version)
    _require_unused(store, name, version)
    if not _retire_unused(store, name, version, by=by, why=why):
        return False
    record(store.storage, name, "retired", version=version, by=by, why=why)
    return True


def restore(
    store: Store, name: str, version: int, *, by: str | None = None, why: str | None = None
) -> bool:
    """Bring back a version that was taken out; return whether that changed anything."""
    store.require(name, version)
    changed = write_retirement(store.storage, name, version, retired=False)
    if changed:
        record(store.storage, name, "restored", version=version, by=by, why=why)
    return changed


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

    Raises AliasError, CanaryError or HistoryError if it cannot be known what is referred to.
    """
    versions, retired = store.versions(name), retirements(store.storage, name)
    kept = set(versions[-max(1, keep) :]) | set(answering) | _referred(store, name)
    before = datetime.now(UTC) - timedelta(days=older_than_days)
    removals = []
    for version in versions:
        made = published_at(store, name, version)
        if version in kept or (version not in retired and made is not None and made >= before):
            continue
        age = "damaged" if made is None else f"made on {made:%Y-%m-%d}"
        reason = "retired" if version in retired else f"{age}, and nothing refers to it"
        removals.append(Removal(name, reason, version))
    leftovers = store.storage.leftovers(name, older_than_s=LEFTOVER_S)
    died = "left behind by a process that died"
    return [*removals, *(Removal(name, died, name=leftover) for leftover in leftovers)]


def collect(store: Store, removal: Removal, *, by: str | None = None) -> None:
    """Remove what `removable` found. Raises VersionRetired if something points at it by now."""
    storage, name, version = store.storage, removal.model, removal.version
    if version is None:
        storage.clear(name, removal.name or "")
        return
    _retire_unused(store, name, version, by=by, why="removed by gc")
    storage.remove(name, version)
    record(storage, name, "collected", version=version, by=by, why=removal.reason)


def _retire_unused(
    store: Store, name: str, version: int, *, by: str | None, why: str | None
) -> bool:
    """Take a version out, and back if it is in use; return whether that changed anything.

    It may have been promoted since the caller looked. Raises VersionRetired.
    """
    changed = write_retirement(store.storage, name, version, retired=True, by=by, why=why)
    try:
        _require_unused(store, name, version)
    except VersionRetired:
        write_retirement(store.storage, name, version, retired=False)
        raise
    return changed


def _referred(store: Store, name: str) -> set[int]:
    """Return the versions that an alias, its rollback or a running canary refers to."""
    events, canary = read_events(store.storage, name), running_canary(store, name)
    referred = {None if canary is None else canary.version}
    for alias in store.alias_names(name):
        target = store.alias(name, alias)
        referred |= {None if target is None else target.version, earlier_version(events, alias)}
    return {version for version in referred if version is not None}


def _require_unused(store: Store, name: str, version: int) -> None:
    aliases = store.aliases(name).items()
    users = [f"the alias '{alias}'" for alias, target in aliases if target.version == version]
    canary = running_canary(store, name)
    if canary is not None and canary.version == version:
        users.append("its canary")
    if users:
        raise VersionRetired(
            f"version {version} of '{name}' cannot be taken out: {' and '.join(users)} points at "
            "it; promote another version, or end the canary, first"
        )
