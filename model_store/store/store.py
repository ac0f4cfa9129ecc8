"""A store: bundles in `<name>/<version>/`, the history of what was done with them beside them."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Literal

from calibration.wording import call, parameter
from model_store.bundle.bundle import Bundle, read_bundle
from model_store.bundle.card import NAME_PATTERN
from model_store.bundle.manifest import SIGNATURE_FILE
from model_store.bundle.signature import SignatureError, require_signature
from model_store.errors import (
    AliasError,
    CardError,
    HistoryError,
    InvalidName,
    ManifestError,
    NotInStore,
    StoreBusy,
)
from model_store.store.event import ALIAS_PATTERN, StoreEvent, new_event
from model_store.store.history import Change, Decide, change, read_state
from model_store.store.state import PRODUCTION, Alias, ModelState
from model_store.store.storage import LocalStorage, Stamp, Storage

VERSION_PATTERN = r"[1-9][0-9]{0,8}"


@dataclass(frozen=True)
class Store:
    """A store of models. The folder is made by the first `publish`.

    Attributes:
        root: the folder; of a store at an address, the folder for copies of what was read there.
        address: such as `s3://bucket/models`, if it is not a folder. `open_store` tells them apart.
        key: PEM of a public key. If there is one, `read` refuses what its owner has not signed.
    """

    root: Path
    address: str | None = None
    key: bytes | None = None

    @cached_property
    def storage(self) -> Storage:
        """Where the files are. Raises StoreAddressInvalid."""
        if self.address is None:
            return LocalStorage(self.root)
        # Not above, because a folder needs none of its packages.
        from model_store.store.remote_storage import RemoteStorage

        return RemoteStorage(self.address, self.root)

    def models(self) -> list[str]:
        """Return the names of the models that have at least one version, sorted."""
        names = (name for name in self.storage.models() if re.fullmatch(NAME_PATTERN, name))
        return sorted(name for name in names if self.versions(name))

    def versions(self, name: str) -> list[int]:
        """Return a model's published versions in ascending order; unknown models have none."""
        return self._numbers(name, begun=False)

    def folder(self, name: str, version: int) -> Path:
        """Return the folder of one version, whether or not it exists."""
        return self.model(name) / str(version)

    def location(self, name: str, version: int) -> str:
        """Return where a version is, for people."""
        return f"{self.storage.address}/{name}/{version}"

    def read(
        self,
        name: str,
        version: int | None = None,
        *,
        digest: str | None = None,
        signed: bool = True,
    ) -> Bundle:
        """Return a verified bundle, without a version the one in production.

        Args:
            digest: what the bundle's must be. What the history says of it is compared anyway.
            signed: False also reads what is not signed, if the store has a key: to sign it, or to
                read its card.

        Raises:
            NotInStore: no such model or version, or none is in production.
            HistoryError: nothing says which version is in production, or what the bundle was.
            BundleError: it does not verify.
        """
        state = self.state(name)
        chosen = state.production if version is None else version
        if chosen is None:
            raise NotInStore(self._contents(name) + self._unpromoted(name))
        bundle = _verify(self.require(name, chosen), name, chosen)
        for event in state.events:
            if event.version == chosen and event.digest is not None:
                _require_digest(bundle, event.digest, f"the history ({event.action})")
        if digest is not None:
            _require_digest(bundle, digest, "the caller")
        if self.key is not None and signed:
            require_signature(bundle, self.signature(name, chosen), self.key)
        return bundle

    def signature(self, name: str, version: int) -> bytes | None:
        """Return what `candor models sign` wrote beside a version; None if it is not signed."""
        try:
            return self.storage.read(require_name(name), f"{version}/{SIGNATURE_FILE}")
        except OSError as error:
            raise SignatureError(
                self.require(name, version), f"{SIGNATURE_FILE}: {error.strerror}"
            ) from error

    def write_signature(
        self, name: str, version: int, data: bytes, *, by: str | None = None
    ) -> None:
        """Write a signature beside a version."""
        self.require(name, version)
        self.storage.write(name, f"{version}/{SIGNATURE_FILE}", data)
        signed = new_event("signed", version=version, by=by)
        self.change(name, lambda _: signed)

    def publish(
        self,
        name: str,
        build: Callable[[Path, int], object],
        *,
        by: str | None = None,
        why: str | None = None,
    ) -> int:
        """Publish the next version of a model atomically.

        Args:
            build: called with an empty folder and the version number; writes the bundle there.
            by: who does this, by default the current user.
            why: the reason, for those who look later.

        Returns the version number. Raises BundleError if the bundle built does not verify, and
        HistoryError for a history that was changed.
        """
        known = {event.version or 0 for event in self.state(name).events}
        with self.storage.draft(name) as draft:
            while True:
                version = max({0, *known, *self._numbers(name, begun=True)}) + 1
                build(draft, version)
                digest = _verify(draft, name, version).digest
                done = new_event("published", version=version, digest=digest, by=by, why=why)
                if self.storage.settle(draft, name, version):
                    break
                _empty(draft)  # another process has just published this number: build the next
        # It is published, also if the disk has no room for the line that says when.
        with suppress(OSError, HistoryError, StoreBusy):
            self.change(name, lambda _: done)
        return version

    def state(self, name: str) -> ModelState:
        """Return what the history of a model says: aliases, canary, what was taken out.

        Raises HistoryError.
        """
        return read_state(self.storage, require_name(name))

    def change(self, name: str, decide: Decide) -> Change:
        """Add what `decide` says of the state to the history, or nothing. Raises HistoryError."""
        return change(self.storage, require_name(name), decide)

    def promote(
        self, name: str, version: int, *, by: str | None = None, why: str | None = None
    ) -> Alias:
        """Point `production` at a version, as `set_alias` does. This ends a canary of it."""
        return self.set_alias(name, PRODUCTION, version, by=by, why=why)

    def set_alias(
        self,
        name: str,
        alias: str,
        version: int,
        *,
        by: str | None = None,
        why: str | None = None,
    ) -> Alias:
        """Point an alias at a version and the digest of its bundle, after verifying it; atomic.

        Raises:
            NotInStore, BundleError: the version does not exist or does not verify. The alias is
                unchanged then.
            VersionRetired: it was taken out.
            AliasError: that is no name for an alias.
            HistoryError: the history was changed, or `why` is too long.
        """
        done = self.point(name, alias, lambda _: version, by=by, why=why)
        return done.after.aliases[alias]

    def point(
        self,
        name: str,
        alias: str,
        choose: Callable[[ModelState], int],
        *,
        action: Literal["set", "rolled back"] = "set",
        by: str | None = None,
        why: str | None = None,
    ) -> Change:
        """Point an alias at the version that `choose` names in this state, as `set_alias` does."""
        require_alias_name(alias)
        read = cache(partial(self.read, name))

        def decide(state: ModelState) -> StoreEvent:
            version = choose(state)
            digest = read(version).digest
            state.require_not_retired(name, version)
            was = state.aliases.get(alias)
            before = None if was is None else was.version
            target: dict[str, Any] = {"version": version, "digest": digest, "before": before}
            return new_event(action, alias=alias, by=by, why=why, **target)

        return self.change(name, decide)

    def remove_alias(
        self, name: str, alias: str, *, by: str | None = None, why: str | None = None
    ) -> Alias:
        """Remove an alias; return where it pointed. Raises AliasError, for `production` too."""
        if alias == PRODUCTION:
            raise AliasError(
                "'production' cannot be removed: promote another version, or stop the server"
            )

        def decide(state: ModelState) -> StoreEvent:
            was = state.aliases.get(alias)
            if was is None:
                has = ", ".join(state.aliases) or "none"
                raise AliasError(f"'{name}' has no alias '{alias}'; it has {has}")
            return new_event("removed", alias=alias, before=was.version, by=by, why=why)

        return self.change(name, decide).before.aliases[alias]

    def alias(self, name: str, alias: str) -> Alias | None:
        """Return where an alias points; None if it is not set. Raises AliasError, HistoryError."""
        return self.aliases(name).get(require_alias_name(alias))

    def aliases(self, name: str) -> dict[str, Alias]:
        """Return every alias by its name, sorted. Raises HistoryError."""
        return self.state(name).aliases

    def production(self, name: str) -> int | None:
        """Return the version in production, or None. Raises HistoryError."""
        return self.state(name).production

    def model(self, name: str) -> Path:
        """Return the folder of a model. Raises InvalidName."""
        return self.root / require_name(name)

    def stamp(self, name: str, version: int) -> Stamp:
        """Return a value that changes when somebody repairs the files of a version."""
        return self.storage.stamp(require_name(name), version)

    def require(self, name: str, version: int) -> Path:
        """Return the folder of a version. Raises NotInStore, or FileError for a link."""
        if version not in self.versions(name):
            raise NotInStore(f"there is no version {version} of '{name}': {self._contents(name)}")
        return self.storage.fetch(name, version)

    def _numbers(self, name: str, *, begun: bool) -> list[int]:
        """The versions in ascending order, if `begun` also those that are being published."""
        entries = self.storage.entries(require_name(name))
        names = (entry.name for entry in entries if entry.is_whole or begun)
        return sorted(int(each) for each in names if re.fullmatch(VERSION_PATTERN, each, re.ASCII))

    def _unpromoted(self, name: str) -> str:
        versions = self.versions(name)
        promote = call("promote", name, *versions[-1:])
        return f"; none is in production: run `{promote}`" if versions else ""

    def _contents(self, name: str) -> str:
        """Say what there is of a model, or else in the store."""
        where, versions = self.storage.address, self.versions(name)
        if versions:
            some = f"version{'s' if len(versions) > 1 else ''} {', '.join(map(str, versions))}"
            return f"the store {where} has {some} of '{name}'"
        if not self.storage.exists():
            another = parameter("store")
            return f"there is no store {where}: `candor export` makes it, and {another} names one"
        models = ", ".join(self.models())
        has = f"it has {models}" if models else "it is empty: `candor export` publishes into it"
        return f"the store {where} has no model '{name}'; {has}"


def open_store(address: str | Path, *, cache: Path, key: bytes | None = None) -> Store:
    """Return the store in a folder, or at an address such as `s3://bucket/models`.

    Args:
        cache: folder on this machine for copies of what was read at an address.
        key: PEM of the public key whose owner must have signed what is read.

    Raises NotInStore if the folder is a file.
    """
    text = str(address)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    if "://" not in text and Path(text).is_file():
        raise NotInStore(f"{text} is a file, and a store is a folder; name the folder.")
    return Store(cache, text, key) if "://" in text else Store(Path(text), key=key)


def require_name(name: str) -> str:
    """Return the name of a model. Raises InvalidName if it cannot be one."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise InvalidName(name)
    return name


def require_alias_name(alias: str) -> str:
    """Return the name of an alias. Raises AliasError if it cannot be one."""
    if not re.fullmatch(ALIAS_PATTERN, alias):
        raise AliasError(
            f"{alias[:80]!r} is not a name for an alias: use 1 to 32 of a-z, 0-9, '_', '-', "
            "starting with a letter"
        )
    return alias


def _verify(folder: Path, name: str, version: int) -> Bundle:
    """Return a verified bundle of this model and version. Raises BundleError."""
    bundle = read_bundle(folder)
    if (bundle.card.name, bundle.card.version) != (name, version):
        raise CardError(folder, f"its card belongs to {bundle.card.name}/{bundle.card.version}")
    return bundle


def _require_digest(bundle: Bundle, expected: str, source: str) -> None:
    if bundle.digest != expected:
        raise ManifestError(
            bundle.folder,
            f"its digest is {bundle.digest}, but {source} names {expected}. A version never "
            "changes: put its files back, or publish what it holds now as the next version",
        )


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
