"""A folder of bundles, `<name>/<version>/`. The alias `production` of a model is a file with a version number."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from model_store.bundle import Bundle, read_bundle
from model_store.card import NAME_PATTERN
from model_store.errors import CardError, InvalidName, NotInStore

ALIAS = "production"


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
            return sorted(int(path.name) for path in self.model(name).iterdir() if path.name.isdecimal())
        return []

    def folder(self, name: str, version: int) -> Path:
        """Return the folder of one version, whether or not it exists."""
        return self.model(name) / str(version)

    def read(self, name: str, version: int | None = None) -> Bundle:
        """Return a verified bundle, without a version the one in production.

        Raises:
            NotInStore: no such model or version, or none is in production.
            BundleError: it does not verify.
        """
        chosen = self.production(name) if version is None else version
        if chosen is None:
            found = self._found(name)
            raise NotInStore(
                f"{found}; none is in production: run `candor promote {name} VERSION`" if self.versions(name) else found
            )
        self._require(name, chosen)
        return _verify(self.folder(name, chosen), name, chosen)

    def publish(self, name: str, build: Callable[[Path, int], object]) -> int:
        """Publish the next version of a model atomically.

        Args:
            name: the model.
            build: called with an empty folder and the version number; writes the bundle there.

        Returns:
            The version number.

        Raises:
            BundleError: the bundle built does not verify. Nothing is published then.
        """
        model = self.model(name)
        model.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=model))
        try:
            while True:
                version = max(self.versions(name), default=0) + 1
                build(draft, version)
                _verify(draft, name, version)
                if self._settle(draft, self.folder(name, version)):
                    return version
                _empty(draft)  # another process has just published this number: build the next
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def promote(self, name: str, version: int) -> None:
        """Point `production` at a version, after verifying it; atomic.

        Raises:
            NotInStore, BundleError: the version does not exist or does not verify. The alias is unchanged then.
        """
        self._require(name, version)
        _verify(self.folder(name, version), name, version)
        self.replace_file(name, ALIAS, f"{version}\n")

    def production(self, name: str) -> int | None:
        """Return the version that `production` points at, or None."""
        with suppress(FileNotFoundError, NotADirectoryError, ValueError):
            return int((self.model(name) / ALIAS).read_text(encoding="ascii"))
        return None

    def replace_file(self, name: str, file_name: str, text: str) -> None:
        """Write a small file beside a model's versions, atomically."""
        descriptor, path = tempfile.mkstemp(prefix=".part-", dir=self.model(name))
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(path).chmod(0o644)
        Path(path).replace(self.model(name) / file_name)

    def model(self, name: str) -> Path:
        """Return the folder of a model. Raises InvalidName."""
        if not re.fullmatch(NAME_PATTERN, name):
            raise InvalidName(name)
        return self.root / name

    def _require(self, name: str, version: int) -> None:
        if version not in self.versions(name):
            raise NotInStore(f"there is no version {version} of '{name}': {self._found(name)}")

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
        try:
            draft.rename(final)  # fails if the folder exists and is not empty
        except OSError:
            if final.exists():
                return False
            raise
        return True


def _verify(folder: Path, name: str, version: int) -> Bundle:
    bundle = read_bundle(folder)
    if (bundle.card.name, bundle.card.version) != (name, version):
        raise CardError(folder, f"its card belongs to {bundle.card.name}/{bundle.card.version}")
    return bundle


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
