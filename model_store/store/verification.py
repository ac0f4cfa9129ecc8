"""Whether a store is whole: each version, alias and canary, and what lies beside them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from model_store.bundle.bundle import Bundle
from model_store.bundle.card import NAME_PATTERN
from model_store.errors import (
    BundleError,
    HistoryError,
    ModelStoreError,
    NotInStore,
    SamplesInvalid,
)
from model_store.store.history import HISTORY_FILE
from model_store.store.samples import SAMPLES_FILE, read_samples
from model_store.store.state import Alias, ModelState
from model_store.store.store import VERSION_PATTERN, Store

Kind = Literal["version", "alias", "canary", "record", "stray"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, and why it is refused; `problem` is None if it is whole.

    Attributes:
        kind: of the thing: a version, an alias, the canary, a record such as the history, or none
            of these.
        item: its number or name.
        bundle: the verified bundle of a version.
    """

    model: str
    kind: Kind
    item: str
    digest: str | None = None
    problem: str | None = None
    bundle: Bundle | None = None


def verify(store: Store, name: str | None = None, version: int | None = None) -> Iterator[Finding]:
    """Look at one version of a model, at all of a model, or at the whole store.

    Raises NotInStore for a model or version that the store does not have.
    """
    if name is not None and version is not None:
        yield _version(store, name, version)
        return
    if name is not None and not store.versions(name):
        store.require(name, 1)  # says which models there are
    names = [name] if name is not None else store.models()
    for each in names:
        yield from (_version(store, each, number) for number in store.versions(each))
        yield from _history(store, each)
        yield from _samples(store, each)
        yield from _strays(store, each)
    if name is None:
        yield from _foreign(store)


def _version(store: Store, name: str, version: int) -> Finding:
    try:
        bundle = store.read(name, version)
    except NotInStore:
        raise
    except (ModelStoreError, OSError) as error:
        reason = error.reason if isinstance(error, BundleError) else str(error)
        return Finding(name, "version", str(version), problem=reason)
    return Finding(name, "version", str(version), bundle.digest, bundle=bundle)


def _history(store: Store, name: str) -> Iterator[Finding]:
    """What the history says: aliases and canary; or why it cannot be read."""
    try:
        state = store.state(name)
    except HistoryError as error:
        yield Finding(name, "record", HISTORY_FILE, problem=str(error))
        return
    yield from (_alias(store, name, *each) for each in state.aliases.items())
    yield from _canary(store, name, state)


def _alias(store: Store, name: str, alias: str, chosen: Alias) -> Finding:
    gone = chosen.version not in store.versions(name)
    problem = f"it points at version {chosen.version}, which the store does not have"
    return Finding(name, "alias", alias, chosen.digest, problem if gone else None)


def _canary(store: Store, name: str, state: ModelState) -> Iterator[Finding]:
    canary, problem = state.canary, None
    if canary is None:
        return
    if canary.ended is None:
        try:
            store.read(name, canary.version)
        except (BundleError, NotInStore) as error:
            problem = str(error)
    yield Finding(name, "canary", str(canary.version), canary.digest, problem)


def _samples(store: Store, name: str) -> Iterator[Finding]:
    try:
        read_samples(store.storage, name)
    except SamplesInvalid as error:
        yield Finding(name, "record", SAMPLES_FILE, problem=str(error))


def _strays(store: Store, name: str) -> Iterator[Finding]:
    for entry in store.storage.entries(name):
        known = entry.name.startswith(".") or entry.name in (HISTORY_FILE, SAMPLES_FILE)
        if not known and not re.fullmatch(VERSION_PATTERN, entry.name, re.ASCII):
            problem = "it is no version (written 1, 2, ...); nothing reads it"
            yield Finding(name, "stray", entry.name, problem=problem)


def _foreign(store: Store) -> Iterator[Finding]:
    for name in store.storage.models():
        if not name.startswith(".") and not re.fullmatch(NAME_PATTERN, name):
            yield Finding(name, "stray", name, problem="it is no name of a model; nothing reads it")
