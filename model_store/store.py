"""A folder of bundles, `<name>/<version>/`, with an alias such as `production` in a file beside them."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from model_store.alias import (
    ALIAS_PATTERN,
    LIMIT_BYTES,
    PRODUCTION,
    Alias,
    new_alias,
    parse_alias,
    require_alias_name,
)
from model_store.bundle import Bundle, read_bundle
from model_store.card import NAME_PATTERN
from model_store.errors import (
    AliasError,
    CardError,
    FileError,
    InvalidName,
    ManifestError,
    NotInStore,
    VersionsExhausted,
)
from model_store.files import read_plain, sync_folder, write_whole
from model_store.manifest import MAX_VERSION

VERSION_PATTERN = r"[1-9][0-9]{0,8}"
RECORDS = ("canary.json",)  # files beside the versions that are no aliases


@dataclass(frozen=True)
class Store:
    """A store of models. The folder is made by the first `publish`.

    Attributes:
        root: the folder.
    """

    root: Path

    def models(self) -> list[str]:
        """Return the names of the models that have at least one version, sorted."""
        if not self.root.is_dir():
            return []
        names = (path.name for path in self.root.iterdir() if re.fullmatch(NAME_PATTERN, path.name))
        return sorted(name for name in names if self.versions(name))

    def versions(self, name: str) -> list[int]:
        """Return the published versions of a model in ascending order; an unknown model has none."""
        with suppress(FileNotFoundError, NotADirectoryError):
            names = (path.name for path in self.model(name).iterdir())
            return sorted(int(each) for each in names if re.fullmatch(VERSION_PATTERN, each, re.ASCII))
        return []

    def folder(self, name: str, version: int) -> Path:
        """Return the folder of one version, whether or not it exists."""
        return self.model(name) / str(version)

    def read(self, name: str, version: int | None = None, *, digest: str | None = None) -> Bundle:
        """Return a verified bundle, without a version the one in production.

        Args:
            digest: what the bundle's must be. That of every alias that points at the version is compared anyway.

        Raises:
            NotInStore: no such model or version, or none is in production.
            AliasError: `production` does not say which version it means.
            BundleError: it does not verify.
        """
        chosen = self.production(name) if version is None else version
        if chosen is None:
            found = self._found(name)
            raise NotInStore(
                f"{found}; none is in production: run `candor promote {name} VERSION`" if self.versions(name) else found
            )
        self.require(name, chosen)
        bundle = _verify(self.folder(name, chosen), name, chosen)
        named = {alias: each.digest for alias, each in self.aliases(name).items() if each.version == chosen}
        for source, expected in (named | ({"caller": digest} if digest else {})).items():
            if bundle.digest != expected:
                raise ManifestError(
                    bundle.folder,
                    f"its digest is {bundle.digest}, but {source} names {expected}. A version never changes: put its "
                    "files back, or publish what it holds now as the next version",
                )
        return bundle

    def publish(self, name: str, build: Callable[[Path, int], object]) -> int:
        """Publish the next version of a model atomically.

        Args:
            name: the model.
            build: called with an empty folder and the version number; writes the bundle there.

        Returns:
            The version number.

        Raises:
            BundleError: the bundle built does not verify. Nothing is published then.
            VersionsExhausted: the highest number is taken.
        """
        model = self.model(name)
        model.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=model))
        try:
            while True:
                version = max(self.versions(name), default=0) + 1
                if version > MAX_VERSION:
                    raise VersionsExhausted(f"'{name}' has a version {MAX_VERSION}, the highest number there is")
                build(draft, version)
                _verify(draft, name, version)
                if self._settle(draft, self.folder(name, version)):
                    return version
                _empty(draft)  # another process has just published this number: build the next
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def promote(self, name: str, version: int, *, by: str | None = None, why: str | None = None) -> Alias:
        """Point `production` at a version, as `set_alias` does."""
        return self.set_alias(name, PRODUCTION, version, by=by, why=why)

    def set_alias(self, name: str, alias: str, version: int, *, by: str | None = None, why: str | None = None) -> Alias:
        """Point an alias at a version and the digest of its bundle, after verifying it; atomic.

        Args:
            by: who does this, by default the current user.
            why: the reason, for those who look later.

        Raises:
            NotInStore, BundleError: the version does not exist or does not verify. The alias is unchanged then.
            AliasError: that is no name for an alias.
        """
        require_alias_name(alias)
        bundle = self.read(name, version)
        chosen = new_alias(version=version, digest=bundle.digest, by=by, why=why)
        self.replace_file(name, alias, chosen.as_text())
        return chosen

    def alias(self, name: str, alias: str) -> Alias | None:
        """Return where an alias points; None if it is not set. Raises AliasError."""
        path = self.model(name) / require_alias_name(alias)
        try:
            return parse_alias(name, alias, read_plain(path, limit_bytes=LIMIT_BYTES))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            again = f"set it again with `candor promote {name} VERSION`"
            raise AliasError(f"the alias '{alias}' of '{name}' is refused: {error.strerror}; {again}") from error

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
        with suppress(FileNotFoundError, NotADirectoryError):
            files = (path for path in self.model(name).iterdir() if not path.is_dir() or path.is_symlink())
            return sorted(path.name for path in files if re.fullmatch(ALIAS_PATTERN, path.name))
        return []

    def production(self, name: str) -> int | None:
        """Return the version that `production` points at, or None. Raises AliasError if it cannot be read."""
        found = self.alias(name, PRODUCTION)
        return None if found is None else found.version

    def replace_file(self, name: str, file_name: str, text: str) -> None:
        """Write a small file beside a model's versions, atomically."""
        write_whole(self.model(name) / file_name, text.encode())

    def model(self, name: str) -> Path:
        """Return the folder of a model. Raises InvalidName."""
        if not re.fullmatch(NAME_PATTERN, name):
            raise InvalidName(name)
        return self.root / name

    def stamp(self, name: str, version: int) -> tuple[tuple[str, int, int], ...]:
        """Return name, modification time and size of each file of a version, which change when somebody repairs it."""
        return tuple(_stamps(self.folder(name, version)))

    def require(self, name: str, version: int) -> Path:
        """Return the folder of a version that exists and is no link. Raises NotInStore or FileError."""
        if version not in self.versions(name):
            raise NotInStore(f"there is no version {version} of '{name}': {self._found(name)}")
        for path in (self.model(name), self.folder(name, version)):
            if path.is_symlink():
                raise FileError(
                    self.folder(name, version),
                    f"{path} is a symbolic link, and what it leads to may lie outside of the store: move it there",
                )
        return self.folder(name, version)

    def _found(self, name: str) -> str:
        versions = self.versions(name)
        if versions:
            listed = ", ".join(map(str, versions))
            return f"the store {self.root} has version{'s' if len(versions) > 1 else ''} {listed} of '{name}'"
        if not self.root.is_dir():
            return f"there is no store {self.root}: `candor export` makes it, and --store names another"
        has = (
            f"it has {', '.join(self.models())}" if self.models() else "it is empty: `candor export` publishes into it"
        )
        return f"the store {self.root} has no model '{name}'; {has}"

    @staticmethod
    def _settle(draft: Path, final: Path) -> bool:
        """Rename a finished draft to its final folder; return False if that exists."""
        draft.chmod(0o755)
        for path in draft.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(draft)
        try:
            draft.rename(final)  # fails if the folder exists and is not empty
        except OSError:
            if final.exists():
                return False
            raise
        sync_folder(final.parent)
        return True


def _verify(folder: Path, name: str, version: int) -> Bundle:
    return check_owner(read_bundle(folder), name, version)


def check_owner(bundle: Bundle, name: str, version: int) -> Bundle:
    """Return a bundle whose card is of this model and version. Raises CardError."""
    if (bundle.card.name, bundle.card.version) != (name, version):
        raise CardError(bundle.folder, f"its card belongs to {bundle.card.name}/{bundle.card.version}")
    return bundle


def _stamps(folder: Path) -> Iterator[tuple[str, int, int]]:
    for path in sorted(folder.glob("*")):
        with suppress(FileNotFoundError):
            found = path.lstat()
            yield path.name, found.st_mtime_ns, found.st_size


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
