"""A store at an address such as `s3://bucket/models`, with copies on this machine.

S3 has conditional writes, so two writers never overwrite each other there. Other file systems
compare first and write then, so two writers at the same moment may; whoever writes last wins.

A version exists once its manifest does, which is written last. If the store cannot be reached, what
was read before is read again, so a server starts without it.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from model_store.bundle.files import write_whole
from model_store.bundle.manifest import (
    LIMIT_BYTES,
    MANIFEST_FILE,
    SIGNATURE_FILE,
    Manifest,
    digest_of,
    read_files,
    read_manifest,
)
from model_store.errors import BundleError, FileError, StoreUnreachable
from model_store.store.remote_files import Listing, Mirror, RemoteFiles
from model_store.store.storage import SMALL_FILE_BYTES, Entry, Stamp

CLAIM = ".claim"
LISTING_S = 0.5  # for which a listing is used again: one look at the store asks once
KEPT_COPIES = 10  # of each model

_log = logging.getLogger(__name__)


class RemoteStorage:
    """Implements `storage.Storage`. `cache` is the folder on this machine."""

    def __init__(self, address: str, cache: Path) -> None:
        """Raises StoreAddressInvalid for an address that fsspec does not know."""
        self._files = RemoteFiles(address)
        self._bundles = cache / "bundles"
        self._mirror = Mirror(cache / hashlib.sha256(address.encode()).hexdigest()[:16])
        self._lock = threading.Lock()
        self._listing: Listing = {}
        self._listed_s = float("-inf")
        self._contents: dict[tuple[str, str], tuple[tuple[object, ...], bytes]] = {}
        self.is_away = False

    @property
    def address(self) -> str:
        return self._files.address

    def exists(self) -> bool:
        return bool(self._list())

    def models(self) -> list[str]:
        return sorted(self._list())

    def entries(self, model: str) -> list[Entry]:
        paths = self._list().get(model, {})
        folders = {path.split("/")[0] for path in paths if "/" in path}
        files = {path for path in paths if "/" not in path}
        entries = [Entry(name, True, f"{name}/{MANIFEST_FILE}" in paths) for name in folders]
        entries += [Entry(name, False) for name in files]
        return sorted(entries, key=lambda entry: entry.name)

    def read(self, model: str, name: str) -> bytes | None:
        tag = self._list().get(model, {}).get(name)
        if tag is None:
            return None
        if self.is_away:
            return self._mirror.read(model, name)
        kept = self._contents.get((model, name))
        if kept is not None and kept[0] == tag:
            return kept[1]
        data = self._files.read(f"{model}/{name}", limit_bytes=SMALL_FILE_BYTES)
        if data is not None:
            self._contents[model, name] = (tag, data)
            self._mirror.keep(model, name, data)
        return data

    def write(self, model: str, name: str, data: bytes) -> None:
        with self._changing():
            self._files.write(f"{model}/{name}", data)

    def swap(self, model: str, name: str, old: bytes | None, new: bytes | None) -> bool:
        path = f"{model}/{name}"
        with self._changing():
            tag = self._files.tag(path)
            if self._files.read(path, limit_bytes=SMALL_FILE_BYTES) != old:
                return False
            if new is not None:
                return self._files.replace(path, new, tag=tag)
            self._files.remove(path)
            return True

    @contextmanager
    def draft(self, model: str) -> Iterator[Path]:
        self._bundles.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".draft-{model}-", dir=self._bundles) as folder:
            yield Path(folder)

    def settle(self, draft: Path, model: str, version: int) -> bool:
        with self._changing():
            if not self._files.create(f"{model}/{version}/{CLAIM}", b"claimed\n"):
                return False
            try:
                for path in sorted(draft.iterdir(), key=lambda path: path.name == MANIFEST_FILE):
                    self._files.write(f"{model}/{version}/{path.name}", path.read_bytes())
            except BaseException:
                with suppress(StoreUnreachable):
                    self.remove(model, version)
                raise
            return True

    def fetch(self, model: str, version: int) -> Path:
        if self.is_away:
            return self._fetched(model, version)
        data = self._files.read(f"{model}/{version}/{MANIFEST_FILE}", limit_bytes=LIMIT_BYTES)
        if data is None:
            raise FileError(Path(model, str(version)), f"{MANIFEST_FILE} is gone")
        folder = self._bundles / digest_of(data).removeprefix("sha256:") / model / str(version)
        if not _is_whole(folder):
            self._download(data, folder, f"{model}/{version}")
            self._prune(model)
        with suppress(OSError):
            os.utime(folder)
        self._mirror.keep_digest(model, version, digest_of(data))
        return folder

    def stamp(self, model: str, version: int) -> Stamp:
        paths = sorted(self._list().get(model, {}).items())
        return tuple(pair for pair in paths if pair[0].startswith(f"{version}/"))

    def remove(self, model: str, version: int) -> None:
        folder = f"{model}/{version}"
        with self._changing():
            self._files.remove(f"{folder}/{MANIFEST_FILE}")
            self._files.remove_folder(folder)

    def leftovers(self, model: str, *, older_than_s: float) -> list[str]:
        before_s = time.time() - older_than_s
        return [
            entry.name
            for entry in self.entries(model)
            if entry.is_folder
            and not entry.is_whole
            and self._files.modified_s(f"{model}/{entry.name}/{CLAIM}") < before_s
        ]

    def clear(self, model: str, name: str) -> None:
        with self._changing():
            self._files.remove_folder(f"{model}/{name}")

    def _list(self) -> Listing:
        """What is in the store; while it is away, what was read before."""
        with self._lock:
            if time.monotonic() - self._listed_s < LISTING_S:
                return self._listing
            try:
                listing = self._files.listing()
            except StoreUnreachable as error:
                self._listing = self._mirror.listing()
                if not self._listing:
                    raise
                if not self.is_away:
                    fields = {"fields": {"reason": str(error)}}
                    _log.error("the store is away, so what was read before is used", extra=fields)
                self.is_away = True
            else:
                if self.is_away:
                    _log.info("the store is back")
                self.is_away = False
                self._listing = listing
            self._listed_s = time.monotonic()
            return self._listing

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """What was listed before a change, or an attempt at one, is not used after it."""
        try:
            yield
        finally:
            self._listed_s = float("-inf")

    def _download(self, manifest: bytes, folder: Path, path: str) -> None:
        """Put a verified copy of a version into a folder, whole or not at all."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=folder.parent) as temporary:
            part = Path(temporary, *folder.parts[-2:])  # so that errors name the bundle
            part.mkdir(parents=True)
            write_whole(part / MANIFEST_FILE, manifest)
            described = read_manifest(part)
            for name, entry in described.files.items():
                data = self._files.read(f"{path}/{name}", limit_bytes=entry.size_bytes)
                if data is None:
                    raise FileError(part, f"{name!r} is gone")
                write_whole(part / name, data)
            self._refuse_unnamed(part, path, described)
            read_files(part, described)
            try:
                part.rename(folder)
            except OSError:  # there is one: of a process that was faster, or a damaged one
                if not _is_whole(folder):
                    shutil.rmtree(folder, ignore_errors=True)
                    part.rename(folder)

    def _prune(self, model: str) -> None:
        """Keep the copies that were used last: more versions are never loaded at a time."""
        copies = self._bundles.glob(f"*/{model}/[!.]*")
        for folder in sorted(copies, key=_used_s)[:-KEPT_COPIES]:
            shutil.rmtree(folder.parent.parent, ignore_errors=True)

    def _refuse_unnamed(self, part: Path, path: str, manifest: Manifest) -> None:
        """A file that the manifest does not name is refused, as in a folder."""
        model, version = path.split("/")
        named = manifest.files.keys() | {MANIFEST_FILE, SIGNATURE_FILE, CLAIM}
        for each in self._list().get(model, {}):
            folder, _, name = each.partition("/")
            if folder == version and name not in named and not name.startswith("."):
                raise FileError(
                    part, f"it holds {name!r}, which {MANIFEST_FILE} does not name: move it away"
                )

    def _fetched(self, model: str, version: int) -> Path:
        digest = self._mirror.digest(model, version)
        if digest is None:
            raise StoreUnreachable(
                f"the store {self.address} is away, and {model} {version} was never read before"
            )
        return self._bundles / digest.removeprefix("sha256:") / model / str(version)


def _used_s(folder: Path) -> float:
    """When a copy was used last; 0 if another process has removed it."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _is_whole(folder: Path) -> bool:
    """Whether a copy is there and as it was published."""
    try:
        read_files(folder, read_manifest(folder))
    except (OSError, BundleError):
        return False
    return True
