"""A model's canary: a version that answers a part of the requests, or computes in the shadow, before it is promoted.

`STORE/<name>/canary.json` says which, how, and how it ended; starting the next one overwrites it.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from model_store.errors import CanaryError
from model_store.store import Store

FILE = "canary.json"
Mode: TypeAlias = Literal["share", "header", "shadow"]
End: TypeAlias = Literal["promoted", "aborted"]


class Canary(BaseModel):
    """A version on trial.

    Mode `share` gives it that share of the requests that name no version, `header` only those that ask for it with
    `X-Candor-Canary: true`; in mode `shadow` it computes beside production and never answers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: PositiveInt
    mode: Mode
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    started_at: datetime
    ended: End | None = None
    ended_at: datetime | None = None
    reason: str | None = None


def read_canary(store: Store, name: str) -> Canary | None:
    """The model's canary, running or ended; None if there never was one. Raises CanaryError for an unreadable file."""
    path = store.model(name) / FILE
    try:
        return Canary.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise CanaryError(f"{path} cannot be read ({error.error_count()} errors); start a canary anew") from error


def start_canary(store: Store, name: str, version: int, *, mode: Mode, share: float = 0.0) -> Canary:
    """Put a sound version on trial beside the one in production. Raises NotInStore, BundleError or CanaryError."""
    production = store.production(name)
    store.read(name, version)
    if production is None:
        raise CanaryError(f"'{name}' has no version in production to compare with; promote {version} instead")
    if production == version:
        raise CanaryError(f"version {version} of '{name}' is in production already; name another one")
    canary = Canary(version=version, mode=mode, share=share, started_at=datetime.now(UTC))
    _write(store, name, canary)
    return canary


def end_canary(store: Store, name: str, end: End, *, reason: str | None = None) -> Canary:
    """End the trial: `promoted` puts its version into production. Raises CanaryError where none is running."""
    canary = read_canary(store, name)
    if canary is None or canary.ended is not None:
        raise CanaryError(f"'{name}' has no canary running; `candor canary start {name} VERSION` starts one")
    if end == "promoted":
        store.promote(name, canary.version)
    ended = canary.model_copy(update={"ended": end, "ended_at": datetime.now(UTC), "reason": reason})
    _write(store, name, ended)
    return ended


def _write(store: Store, name: str, canary: Canary) -> None:
    store.replace_file(name, FILE, canary.model_dump_json(indent=2) + "\n")
