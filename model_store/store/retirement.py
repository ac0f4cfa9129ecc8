"""Versions that nobody may promote any more: `retired.json` says by whom, when and why."""

from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from model_store.bundle.records import ClosedRecord
from model_store.errors import HistoryError, VersionRetired
from model_store.store.alias import Who, Why, made_now
from model_store.store.storage import Storage

RETIRED_FILE = "retired.json"


class Retirement(ClosedRecord):
    """Who took a version out, when and why."""

    at: datetime
    by: Who
    why: Why | None = None


_RETIRED = TypeAdapter(dict[int, Retirement])


def retirements(storage: Storage, model: str) -> dict[int, Retirement]:
    """Return the versions that were taken out. Raises HistoryError if that cannot be read."""
    return _parsed(model, _read(storage, model))


def require_not_retired(storage: Storage, model: str, version: int) -> None:
    """Raise VersionRetired if a version was taken out."""
    taken_out = retirements(storage, model).get(version)
    if taken_out is not None:
        because = f": {taken_out.why}" if taken_out.why else ""
        raise VersionRetired(
            f"version {version} of '{model}' was retired on {taken_out.at:%Y-%m-%d} by "
            f"{taken_out.by}{because}; `candor models retire {model} {version} --undo` brings it "
            "back"
        )


def write_retirement(
    storage: Storage,
    model: str,
    version: int,
    *,
    retired: bool,
    by: str | None = None,
    why: str | None = None,
) -> bool:
    """Take a version out or bring it back; return whether that is new. Raises HistoryError."""
    while True:
        old = _read(storage, model)
        versions = _parsed(model, old)
        if (version in versions) == retired:
            return False
        if retired:
            versions[version] = made_now(Retirement, HistoryError, by=by, why=why)
        else:
            del versions[version]
        new = _RETIRED.dump_json(dict(sorted(versions.items())), indent=2, exclude_none=True)
        if storage.swap(model, RETIRED_FILE, old, new + b"\n"):
            return True


def _read(storage: Storage, model: str) -> bytes | None:
    try:
        return storage.read(model, RETIRED_FILE)
    except OSError as error:
        raise HistoryError(
            f"{RETIRED_FILE} of '{model}' cannot be read: {error.strerror}"
        ) from error


def _parsed(model: str, data: bytes | None) -> dict[int, Retirement]:
    try:
        return {} if data is None else _RETIRED.validate_json(data)
    except ValidationError as error:
        raise HistoryError(
            f"{RETIRED_FILE} of '{model}' cannot be read, so nothing shows which versions were "
            "taken out: restore it, or remove it to bring back all"
        ) from error
