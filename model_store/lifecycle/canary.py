"""A model's canary: a version that answers some requests, or is a shadow, before its promotion.

`STORE/<name>/canary.json` says which version, in which mode, and how it ended. Starting the next
canary overwrites it.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, PositiveInt, ValidationError

from model_store.bundle.manifest import Digest
from model_store.bundle.records import ClosedRecord
from model_store.errors import CanaryError
from model_store.store.history import Action, append, new_event
from model_store.store.retirement import require_not_retired
from model_store.store.store import Store, require_name

FILE = "canary.json"
Mode: TypeAlias = Literal["share", "header", "shadow"]
End: TypeAlias = Literal["promoted", "aborted"]
_ENDED: dict[End, Action] = {"promoted": "canary promoted", "aborted": "canary aborted"}


class Canary(ClosedRecord):
    """A version that is tried beside production.

    Mode `share` gives it a share of the requests that name no version. Mode `header` gives it the
    requests that ask for it with `X-Candor-Canary: true`. In mode `shadow` it computes beside
    production and never answers.
    """

    version: PositiveInt
    digest: Digest
    mode: Mode
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    started_at: datetime
    ended: End | None = None
    ended_at: datetime | None = None
    reason: str | None = None

    @property
    def how(self) -> str:
        """What it is tried on, as the end of a sentence.

        >>> digest = f"sha256:{64 * '0'}"
        >>> at = datetime.now(UTC)
        >>> Canary(version=2, digest=digest, mode="share", share=0.05, started_at=at).how
        'answers 5 % of the requests'
        """
        if self.mode == "share":
            return f"answers {100 * self.share:g} % of the requests"
        if self.mode == "header":
            return "answers requests with X-Candor-Canary: true"
        return "computes beside production and is only recorded"


def read_canary(store: Store, name: str) -> Canary | None:
    """Return the model's canary, running or ended, or None. Raises CanaryError."""
    found = _read(store, name)
    return found and found[1]


def _read(store: Store, name: str) -> tuple[bytes, Canary] | None:
    path = f"{store.storage.address}/{require_name(name)}/{FILE}"
    try:
        data = store.storage.read(name, FILE)
        return None if data is None else (data, Canary.model_validate_json(data))
    except OSError as error:
        raise CanaryError(
            f"{path} cannot be read ({error.strerror}); start the canary again"
        ) from error
    except ValidationError as error:
        raise CanaryError(
            f"{path} cannot be read ({error.error_count()} errors); start the canary again"
        ) from error


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
    production = store.production(name)
    bundle = store.read(name, version)
    require_not_retired(store.storage, name, version)
    if production is None:
        raise CanaryError(
            f"'{name}' has no version in production to compare with; promote {version} instead"
        )
    if production == version:
        raise CanaryError(
            f"version {version} of '{name}' is in production already; name another one"
        )
    canary = Canary(
        version=version, digest=bundle.digest, mode=mode, share=share, started_at=datetime.now(UTC)
    )
    _write(store, name, canary, "canary started", by=by, why=why, how=canary.how)
    return canary


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
    old, running = _running(store, name)
    store.read(name, running.version, digest=running.digest)
    changed = running.model_copy(update={"mode": mode, "share": share})
    _write(store, name, changed, "canary changed", old=old, by=by, why=why, how=changed.how)
    return changed


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
    meant, (old, canary) = canary, _running(store, name)
    if meant is not None and meant.started_at != canary.started_at:
        raise CanaryError(f"another canary of '{name}' was started meanwhile")
    if end == "promoted":
        store.read(name, canary.version, digest=canary.digest)
        store.promote(name, canary.version, by=by, why=reason)
    ended = canary.model_copy(
        update={"ended": end, "ended_at": datetime.now(UTC), "reason": reason}
    )
    _write(store, name, ended, _ENDED[end], old=old, by=by, why=reason)
    return ended


def running_canary(store: Store, name: str) -> Canary | None:
    """Return the model's canary if it has not ended. Raises CanaryError."""
    canary = read_canary(store, name)
    return canary if canary is not None and canary.ended is None else None


def _running(store: Store, name: str) -> tuple[bytes, Canary]:
    """The canary that runs, and its file."""
    found = _read(store, name)
    if found is None or found[1].ended is not None:
        raise CanaryError(
            f"'{name}' has no canary running; `candor canary start {name} VERSION` starts one"
        )
    return found


def promote_version(
    store: Store, name: str, version: int, *, by: str | None = None, why: str | None = None
) -> Canary | None:
    """Put a version into production; if its canary is running, end and return that.

    Otherwise the canary would begin again after a rollback. Raises NotInStore, BundleError or
    CanaryError.
    """
    canary = running_canary(store, name)
    if canary is not None and canary.version == version:
        return end_canary(store, name, "promoted", reason=why, by=by)
    store.promote(name, version, by=by, why=why)
    return None


def _write(
    store: Store,
    name: str,
    canary: Canary,
    action: Action,
    *,
    old: bytes | None = None,
    **fields: Any,
) -> None:
    """Write the file, in place of `old`, and a line of history, or neither.

    Raises HistoryError for long texts, and CanaryError if the file is no longer `old`.
    """
    event = new_event(action, version=canary.version, digest=canary.digest, **fields)
    data = (canary.model_dump_json(indent=2) + "\n").encode()
    if old is None:
        store.storage.write(require_name(name), FILE, data)
    elif not store.storage.swap(name, FILE, old, data):
        raise CanaryError(f"the canary of '{name}' was changed meanwhile; look at it again")
    append(store.storage, name, event)
