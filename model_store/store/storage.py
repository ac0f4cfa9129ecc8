"""Where the files of a store are; here, a folder. All that a store does rests on these operations.

A store has a folder for each model. In it are the folders of its versions, and small files beside
them.
"""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from model_store.addresses import shown_address
from model_store.bundle.files import UnsafeFile, read_plain, sync_folder, write_whole
from model_store.errors import FileError, StoreBusy

SMALL_FILE_BYTES = 16 << 20
LOCK_FILE = ".lock"
LOCK_S = 30.0
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
Stamp: TypeAlias = tuple[object, ...]


@dataclass(frozen=True)
class Entry:
    """A name in a model's folder; of a version that is being written, `is_whole` is False."""

    name: str
    is_folder: bool
    is_whole: bool = True


class Storage(Protocol):
    """The operations."""

    @property
    def address(self) -> str:
        """Where it is, for messages."""

    @property
    def is_away(self) -> bool:
        """Whether it could not be reached when it was last asked."""

    def exists(self) -> bool:
        """Whether there is anything."""

    def models(self) -> list[str]:
        """The names of the folders, also of those that are no models."""

    def entries(self, model: str) -> list[Entry]:
        """What is in the folder of a model, sorted; nothing if there is none."""

    def read(self, model: str, name: str) -> bytes | None:
        """The content of a small file; None if there is none. Raises UnsafeFile."""

    def write(self, model: str, name: str, data: bytes) -> None:
        """Replace a small file whole, whatever it held."""

    def swap(self, model: str, name: str, old: bytes | None, new: bytes | None) -> bool:
        """Replace a small file if it holds `old` (None: is absent); return whether it did."""

    @contextmanager
    def draft(self, model: str) -> Iterator[Path]:
        """An empty folder on this machine, in which a version is built; it is gone afterwards."""

    def settle(self, draft: Path, model: str, version: int) -> bool:
        """Publish a draft, whole or not at all; return False if the version exists."""

    def fetch(self, model: str, version: int) -> Path:
        """A local folder with the version. Raises FileError if it must not be read."""

    def stamp(self, model: str, version: int) -> Stamp:
        """A value that changes when somebody changes the files of a version."""

    def remove(self, model: str, version: int) -> None:
        """Remove a version: afterwards it is there whole or not at all."""

    def leftovers(self, model: str, *, older_than_s: float) -> list[str]:
        """What processes that died have left behind."""

    def clear(self, model: str, name: str) -> None:
        """Remove a leftover."""


class LocalStorage:
    """A folder, also on a file system that several machines share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def address(self) -> str:
        return shown_address(str(self.root))

    @property
    def is_away(self) -> bool:
        return not self.exists()

    def exists(self) -> bool:
        return self.root.is_dir()

    def models(self) -> list[str]:
        if not self.exists():
            return []
        return sorted(path.name for path in self.root.iterdir() if path.is_dir())

    def entries(self, model: str) -> list[Entry]:
        try:
            with os.scandir(self.root / model) as files:
                entries = [Entry(file.name, file.is_dir()) for file in files]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(entries, key=lambda entry: entry.name)

    def read(self, model: str, name: str) -> bytes | None:
        try:
            return read_plain(self.root / model / name, limit_bytes=SMALL_FILE_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, model: str, name: str, data: bytes) -> None:
        write_whole(self.root / model / name, data)

    def swap(self, model: str, name: str, old: bytes | None, new: bytes | None) -> bool:
        with self._locked(model):
            try:
                current = self.read(model, name)
            except UnsafeFile:  # a link or a pipe says nothing that counts
                current = None
            if current != old:
                return False
            if new is not None:
                self.write(model, name, new)
            else:
                (self.root / model / name).unlink(missing_ok=True)
                sync_folder(self.root / model)
        return True

    @contextmanager
    def draft(self, model: str) -> Iterator[Path]:
        (self.root / model).mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".draft-", dir=self.root / model))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def settle(self, draft: Path, model: str, version: int) -> bool:
        final = self.root / model / str(version)
        draft.chmod(0o755)
        for path in draft.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(draft)
        try:
            draft.rename(final)  # fails if the folder exists and is not empty
        except OSError:
            if os.path.lexists(final):
                return False
            raise
        for folder in (final.parent, self.root):
            sync_folder(folder)
        return True

    def fetch(self, model: str, version: int) -> Path:
        folder = self.root / model / str(version)
        for path in (folder.parent, folder):
            if path.is_symlink():
                raise FileError(
                    folder,
                    f"{path} is a symbolic link, and what it leads to may lie outside of the "
                    "store: move it there",
                )
        return folder

    def stamp(self, model: str, version: int) -> Stamp:
        return tuple(_stamps(self.root / model / str(version)))

    def remove(self, model: str, version: int) -> None:
        gone = Path(tempfile.mkdtemp(prefix=".gone-", dir=self.root / model))
        (self.root / model / str(version)).rename(gone)
        sync_folder(self.root / model)
        shutil.rmtree(gone, ignore_errors=True)

    def leftovers(self, model: str, *, older_than_s: float) -> list[str]:
        before_s = time.time() - older_than_s
        names = (entry.name for entry in self.entries(model))
        parts = [name for name in names if name.startswith((".draft-", ".part-", ".gone-"))]
        return [name for name in parts if (self.root / model / name).lstat().st_mtime < before_s]

    def clear(self, model: str, name: str) -> None:
        path = self.root / model / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    @contextmanager
    def _locked(self, model: str) -> Iterator[None]:
        """Keep other writers out. Without locks in the file system, whoever writes last wins."""
        flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.root / model / LOCK_FILE, flags, 0o644)
        try:
            _lock(descriptor, self.root / model)
            yield
        finally:
            os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    until_s = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > until_s:
                raise StoreBusy(
                    f"another process has written to {folder} for {LOCK_S:g} s; try again"
                ) from error
            time.sleep(0.01)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return
        else:
            return


def _stamps(folder: Path) -> Iterator[tuple[str, int, int]]:
    for path in sorted(folder.glob("*")):
        with suppress(FileNotFoundError):
            status = path.lstat()
            yield path.name, status.st_mtime_ns, status.st_size
