"""A store: bundles in `<name>/<version>/`, aliases such as `production` beside them."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from model_store.bundle.bundle import Bundle, read_bundle
from model_store.bundle.card import NAME_PATTERN
from model_store.bundle.files import UnsafeFile
from model_store.bundle.manifest import MAX_VERSION, SIGNATURE_FILE
from model_store.bundle.signature import SignatureError, require_signature
from model_store.errors import (
    AliasError,
    CardError,
    InvalidName,
    ManifestError,
    NotInStore,
    VersionsExhausted,
)
from model_store.store.alias import (
    ALIAS_PATTERN,
    PRODUCTION,
    Alias,
    new_alias,
    parse_alias,
    require_alias_name,
)
from model_store.store.history import HISTORY_FILE, append, event_of, new_event, published_digest
from model_store.store.retirement import RETIRED_FILE, require_not_retired
from model_store.store.samples import SAMPLES_FILE
from model_store.store.storage import LocalStorage, Stamp, Storage

VERSION_PATTERN = r"[1-9][0-9]{0,8}"
RECORDS = (
    "canary.json",
    HISTORY_FILE,
    RETIRED_FILE,
    SAMPLES_FILE,
)  # files beside the versions that are no aliases


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
        from model_store.store.remote_storage import (
            RemoteStorage,  # a folder needs none of its packages
        )

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
            digest: what the bundle's must be. That of every alias that points at the version is
                compared anyway.
            signed: False also reads what is not signed, if the store has a key: to sign it, or to
                read its card.

        Raises:
            NotInStore: no such model or version, or none is in production.
            AliasError: `production` does not say which version it means.
            BundleError: it does not verify.
        """
        chosen = self.production(name) if version is None else version
        if chosen is None:
            found = self._found(name)
            raise NotInStore(
                f"{found}; none is in production: run `candor promote {name} VERSION`"
                if self.versions(name)
                else found
            )
        bundle = _verify(self.require(name, chosen), name, chosen)
        named = {
            alias: each.digest
            for alias, each in self.aliases(name).items()
            if each.version == chosen
        }
        for source, expected in (named | ({"the caller": digest} if digest else {})).items():
            _require_digest(bundle, expected, source)
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
        append(self.storage, name, new_event("signed", version=version, by=by))

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
            name: the model.
            build: called with an empty folder and the version number; writes the bundle there.
            by: who does this, by default the current user.
            why: the reason, for those who look later.

        Returns:
            The version number.

        Raises:
            BundleError: the bundle built does not verify. Nothing is published then.
            VersionsExhausted: the highest number is taken.
        """
        with self.storage.draft(require_name(name)) as draft:
            while True:
                version = max(self._numbers(name, begun=True), default=0) + 1
                if version > MAX_VERSION:
                    raise VersionsExhausted(
                        f"'{name}' has a version {MAX_VERSION}, the highest number there is"
                    )
                build(draft, version)
                digest = _verify(draft, name, version).digest
                if self.storage.settle(draft, name, version):
                    break
                _empty(draft)  # another process has just published this number: build the next
        with suppress(
            OSError
        ):  # the version is published; `candor models verify` says that its record is missing
            append(
                self.storage,
                name,
                new_event("published", version=version, digest=digest, by=by, why=why),
            )
        return version

    def promote(
        self, name: str, version: int, *, by: str | None = None, why: str | None = None
    ) -> Alias:
        """Point `production` at a version, as `set_alias` does."""
        return self.set_alias(name, PRODUCTION, version, by=by, why=why)

    def set_alias(
        self,
        name: str,
        alias: str,
        version: int,
        *,
        by: str | None = None,
        why: str | None = None,
        action: Literal["set", "rolled back"] = "set",
    ) -> Alias:
        """Point an alias at a version and the digest of its bundle, after verifying it; atomic.

        Args:
            by: who does this, by default the current user.
            why: the reason, for those who look later.
            action: what the history says was done.

        Raises:
            NotInStore, BundleError: the version does not exist or does not verify. The alias is
                unchanged then.
            VersionRetired: it was taken out.
            AliasError: that is no name for an alias.
        """
        require_alias_name(alias)
        bundle = self.read(name, version)
        known = published_digest(self.storage, name, version)
        if known is not None:
            _require_digest(bundle, known, "the history")
        while True:
            old, was = self.recorded(name, alias)
            require_not_retired(self.storage, name, version)
            chosen = new_alias(
                version=version,
                digest=bundle.digest,
                by=by,
                why=why,
                before=None if was is None else was.version,
                action=action,
            )
            if self.storage.swap(name, alias, old, chosen.as_text().encode()):
                break
        self._require_still_there(name, alias, chosen, old)
        append(self.storage, name, event_of(alias, chosen))
        return chosen

    def remove_alias(
        self, name: str, alias: str, *, by: str | None = None, why: str | None = None
    ) -> Alias:
        """Remove an alias; return where it pointed. Raises AliasError, for `production` too."""
        if alias == PRODUCTION:
            raise AliasError(
                "'production' cannot be removed: promote another version, or stop the server"
            )
        while True:
            old, was = self.recorded(name, alias)
            if was is None:
                raise AliasError(
                    f"'{name}' has no alias '{alias}'; it has "
                    f"{', '.join(self.alias_names(name)) or 'none'}"
                )
            event = new_event("removed", alias=alias, before=was.version, by=by, why=why)
            if self.storage.swap(name, alias, old, None):
                append(self.storage, name, event)
                return was

    def alias(self, name: str, alias: str) -> Alias | None:
        """Return where an alias points; None if it is not set. Raises AliasError."""
        try:
            data = self.storage.read(require_name(name), require_alias_name(alias))
        except OSError as error:
            again = f"set it again with `candor promote {name} VERSION`"
            raise AliasError(
                f"the alias '{alias}' of '{name}' is refused: {error.strerror}; {again}"
            ) from error
        return None if data is None else parse_alias(name, alias, data)

    def aliases(self, name: str) -> dict[str, Alias]:
        """Return every alias that can be read, by its name."""
        found = {}
        for alias in self.alias_names(name):
            with suppress(AliasError):
                if chosen := self.alias(name, alias):
                    found[alias] = chosen
        return found

    def alias_names(self, name: str) -> list[str]:
        """Return the names of a model's aliases, sorted, also of those that cannot be read."""
        files = (
            entry.name for entry in self.storage.entries(require_name(name)) if not entry.is_folder
        )
        return [each for each in files if re.fullmatch(ALIAS_PATTERN, each)]

    def production(self, name: str) -> int | None:
        """Return the version in production, or None. Raises AliasError if it cannot be read."""
        found = self.alias(name, PRODUCTION)
        return None if found is None else found.version

    def replace_file(self, name: str, file_name: str, text: str) -> None:
        """Write a small file beside a model's versions, atomically."""
        self.storage.write(require_name(name), file_name, text.encode())

    def model(self, name: str) -> Path:
        """Return the folder of a model. Raises InvalidName."""
        return self.root / require_name(name)

    def stamp(self, name: str, version: int) -> Stamp:
        """Return a value that changes when somebody repairs the files of a version."""
        return self.storage.stamp(require_name(name), version)

    def require(self, name: str, version: int) -> Path:
        """Return the folder of a version. Raises NotInStore, or FileError for a link."""
        if version not in self.versions(name):
            raise NotInStore(f"there is no version {version} of '{name}': {self._found(name)}")
        return self.storage.fetch(name, version)

    def _numbers(self, name: str, *, begun: bool) -> list[int]:
        """The versions in ascending order, if `begun` also those that are being published."""
        entries = self.storage.entries(require_name(name))
        names = (entry.name for entry in entries if entry.is_whole or begun)
        return sorted(int(each) for each in names if re.fullmatch(VERSION_PATTERN, each, re.ASCII))

    def note_alias(self, name: str, alias: str) -> None:
        """Complete the history if the process that set an alias died before it could."""
        with suppress(OSError):  # a store that is mounted read-only
            self.recorded(name, alias)

    def recorded(self, name: str, alias: str) -> tuple[bytes | None, Alias | None]:
        """Return an alias's content and meaning, after adding it to the history if needed."""
        try:
            old = self.storage.read(name, alias)
        except UnsafeFile:
            old = None
        try:
            was = None if old is None else parse_alias(name, alias, old)
        except AliasError:
            was = None
        if was is not None:
            append(self.storage, name, event_of(alias, was))
        return old, was

    def _require_still_there(self, name: str, alias: str, chosen: Alias, old: bytes | None) -> None:
        """Take an alias back if its version was retired or collected while it was set."""
        try:
            require_not_retired(self.storage, name, chosen.version)
            self.require(name, chosen.version)
        except Exception:
            self.storage.swap(name, alias, chosen.as_text().encode(), old)
            raise

    def _found(self, name: str) -> str:
        versions = self.versions(name)
        where = self.storage.address
        if versions:
            listed = ", ".join(map(str, versions))
            return (
                f"the store {where} has version{'s' if len(versions) > 1 else ''} {listed} of "
                f"'{name}'"
            )
        if not self.storage.exists():
            return f"there is no store {where}: `candor export` makes it, and --store names another"
        has = (
            f"it has {', '.join(self.models())}"
            if self.models()
            else "it is empty: `candor export` publishes into it"
        )
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


def check_owner(bundle: Bundle, name: str, version: int) -> Bundle:
    """Return a bundle whose card is of this model and version. Raises CardError."""
    if (bundle.card.name, bundle.card.version) != (name, version):
        raise CardError(
            bundle.folder, f"its card belongs to {bundle.card.name}/{bundle.card.version}"
        )
    return bundle


def _verify(folder: Path, name: str, version: int) -> Bundle:
    return check_owner(read_bundle(folder), name, version)


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
