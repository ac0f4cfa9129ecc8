"""What scoring reads and writes: a folder on a disk, or at an address (`s3://...`)."""

import os
import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from hosting.errors import ServingError
from model_store.addresses import names_user
from model_store.bundle.files import write_whole
from model_store.image.suffixes import IMAGE_SUFFIXES, SUFFIX_LIST
from model_store.installation import install_command
from model_store.store.remote_files import reason_of

T = TypeVar("T")


class ScoringError(ServingError, RuntimeError):
    """A folder cannot be scored, or not into this place."""


class AnyFolder:
    """Files by name. Raises ScoringError for an address that cannot be used."""

    def __init__(self, address: str) -> None:
        """Connects to nothing."""
        self._fs: Any = None
        self.address = address if "://" in address else str(Path(address).absolute())
        if "://" in address:
            self._fs, self._root = _open(address)

    def images(self) -> list[str]:
        """The sorted names of all images below, but hidden ones. Raises ScoringError if none."""
        if self._fs is None:
            found = sorted(_names_below(self.address))
        else:
            start = len(self._root.rstrip("/")) + 1
            paths: list[str] = self._reach(lambda: self._fs.find(self._root))
            found = sorted(path[start:] for path in paths if _is_image(path))
        if not found:
            raise ScoringError(f"{self.address} has no images; looked for {SUFFIX_LIST}")
        return found

    def read(self, name: str) -> bytes:
        if self._fs is None:
            return (Path(self.address) / name).read_bytes()
        content: bytes = self._reach(lambda: self._fs.cat_file(posixpath.join(self._root, name)))
        return content

    def write(self, name: str, data: bytes) -> None:
        """Replace a file, as a whole: nobody sees half of it. Makes the folder if need be."""
        if self._fs is None:
            Path(self.address).mkdir(parents=True, exist_ok=True)
            write_whole(Path(self.address) / name, data)
        else:
            self._reach(lambda: self._fs.pipe_file(posixpath.join(self._root, name), data))

    def names(self) -> set[str]:
        """The names of the files directly in it; empty if it does not exist."""
        if self._fs is None:
            root = Path(self.address)
            return {path.name for path in root.iterdir()} if root.is_dir() else set()
        self._fs.invalidate_cache()
        try:
            paths: list[str] = self._reach(lambda: self._fs.ls(self._root, detail=False))
        except FileNotFoundError:
            return set()
        return {posixpath.basename(path) for path in paths}

    def _reach(self, ask: Callable[[], T]) -> T:
        """Ask the file system. Raises FileNotFoundError, else ScoringError."""
        try:
            return ask()
        except FileNotFoundError:
            raise
        except Exception as error:
            raise ScoringError(f"{self.address} cannot be used now: {reason_of(error)}") from error


def _names_below(root: str) -> Iterator[str]:
    """The names of images below, unordered: strings, as a million paths need a gigabyte."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise ScoringError(
                f"{error.filename} cannot be listed ({error.strerror}), so images would be left out"
            )

    for folder, _, files in os.walk(root, onerror=refuse):
        inside = os.path.relpath(folder, root)
        yield from (
            name if inside == os.curdir else f"{inside}/{name}" for name in files if _is_image(name)
        )


def _is_image(path: str) -> bool:
    name = posixpath.basename(path)
    return posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def _open(address: str) -> tuple[Any, str]:
    """The file system and the path in it. The plan and all messages repeat the address."""
    protocol = address.partition("://")[0]
    if names_user(address) or "?" in address:
        raise ScoringError(
            f"the address of a folder must hold no user, password or query: {protocol} takes "
            "credentials in its own way"
        )
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError as error:
        raise ScoringError(
            f"{address} needs more packages ({error}): {install_command('remote')}"
        ) from error
    try:
        file_system, root = url_to_fs(address)
    except (ImportError, ValueError, OSError) as error:
        raise ScoringError(f"{address} cannot be opened: {error}") from error
    return file_system, root
