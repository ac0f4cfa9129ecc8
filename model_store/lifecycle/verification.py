"""Whether a store is whole: each version, alias and canary, and what lies beside them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from model_store.bundle.bundle import Bundle
from model_store.bundle.card import NAME_PATTERN
from model_store.errors import (
    AliasError,
    BundleError,
    CanaryError,
    HistoryError,
    ModelStoreError,
    NotInStore,
    SamplesInvalid,
)
from model_store.lifecycle.canary import FILE as CANARY_FILE
from model_store.lifecycle.canary import read_canary
from model_store.store.alias import ALIAS_PATTERN
from model_store.store.history import HISTORY_FILE, published_digest, read_events
from model_store.store.retirement import RETIRED_FILE, retirements
from model_store.store.samples import SAMPLES_FILE, read_samples
from model_store.store.store import RECORDS, VERSION_PATTERN, Store

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
        yield from (_alias(store, each, alias) for alias in store.alias_names(each))
        yield from _canary(store, each)
        yield from _records(store, each)
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
    published = published_digest(store.storage, name, version)
    changed = published not in (None, bundle.digest)
    problem = f"it was published with digest {published}" if changed else None
    return Finding(name, "version", str(version), bundle.digest, problem, bundle)


def _alias(store: Store, name: str, alias: str) -> Finding:
    try:
        chosen = store.alias(name, alias)
    except AliasError as error:
        return Finding(name, "alias", alias, problem=str(error))
    if chosen is None:  # removed meanwhile
        return Finding(name, "alias", alias)
    if chosen.version in store.versions(name):
        return Finding(name, "alias", alias, chosen.digest)
    problem = f"it points at version {chosen.version}, which the store does not have"
    return Finding(name, "alias", alias, chosen.digest, problem)


def _canary(store: Store, name: str) -> Iterator[Finding]:
    try:
        canary = read_canary(store, name)
        if canary is None:
            return
        if canary.ended is None:
            store.read(name, canary.version, digest=canary.digest)
    except (CanaryError, BundleError, NotInStore) as error:
        yield Finding(name, "canary", CANARY_FILE, problem=str(error))
        return
    yield Finding(name, "canary", str(canary.version), canary.digest)


def _records(store: Store, name: str) -> Iterator[Finding]:
    """The history, the list of retired versions, and the samples, if they cannot be read."""
    for file, read in (
        (HISTORY_FILE, read_events),
        (RETIRED_FILE, retirements),
        (SAMPLES_FILE, read_samples),
    ):
        try:
            read(store.storage, name)
        except (HistoryError, SamplesInvalid) as error:
            yield Finding(name, "record", file, problem=str(error))


def _strays(store: Store, name: str) -> Iterator[Finding]:
    for entry in store.storage.entries(name):
        named = re.fullmatch(rf"{VERSION_PATTERN}|{ALIAS_PATTERN}", entry.name, re.ASCII)
        if not (named or entry.name.startswith(".") or entry.name in RECORDS):
            problem = "it is no version (written 1, 2, ...) and no alias; nothing reads it"
            yield Finding(name, "stray", entry.name, problem=problem)


def _foreign(store: Store) -> Iterator[Finding]:
    for name in store.storage.models():
        if not name.startswith(".") and not re.fullmatch(NAME_PATTERN, name):
            yield Finding(name, "stray", name, problem="it is no name of a model; nothing reads it")
