"""A store at an address that fsspec knows, such as `s3://bucket/models`; what is read is kept on this machine.

S3 has conditional writes, so two writers never overwrite each other there. Other file systems compare first and write
then, so two writers at the same moment may; whoever writes last wins.

A version exists once its manifest does, which is written last. If the store cannot be reached, what was read before is
read again, so a server starts without it.
"""

import hashlib
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from model_store.errors import BundleError, FileError, StoreAddressInvalid, StoreUnreachable
from model_store.files import FileTooLarge, write_whole
from model_store.installation import install_command
from model_store.manifest import LIMIT_BYTES, MANIFEST_FILE, SIGNATURE_FILE, digest_of, read_files, read_manifest
from model_store.storage import SMALL_FILE_BYTES, Entry, Stamp

CLAIM = ".claim"
LISTING_S = 0.5  # for which a listing is used again: one look at the store asks once
RETRIES = 2
KEPT_COPIES = 10  # of each model
S3 = ("s3", "s3a")
CONFLICTS = ("PreconditionFailed", "ConditionalRequestConflict", "412")  # S3: somebody else was faster
S3_CONFIG = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": RETRIES, "mode": "standard"}}
Listing = dict[str, dict[str, tuple[object, ...]]]  # model -> path below it -> what changes with its content
T = TypeVar("T")

_log = logging.getLogger(__name__)


class RemoteStorage:
    """Implements `storage.Storage`. `cache` is the folder on this machine."""

    def __init__(self, address: str, cache: Path) -> None:
        """Raises StoreAddressInvalid for an address that fsspec does not know. Connects to nothing."""
        self._address = address
        self._protocol, self._fs, self._root = _open(address)
        self._bundles = cache / "bundles"
        self._mirror = cache / hashlib.sha256(address.encode()).hexdigest()[:16]
        self._lock = threading.Lock()
        self._listing: Listing = {}
        self._listed_s = float("-inf")
        self._contents: dict[tuple[str, str], tuple[tuple[object, ...], bytes]] = {}
        self._away = False

    @property
    def address(self) -> str:
        return self._address

    def exists(self) -> bool:
        return bool(self._list())

    def models(self) -> list[str]:
        return sorted(self._list())

    def entries(self, model: str) -> list[Entry]:
        paths = self._list().get(model, {})
        folders = {path.split("/")[0] for path in paths if "/" in path}
        files = {path for path in paths if "/" not in path}
        found = [Entry(name, is_folder=True, is_whole=f"{name}/{MANIFEST_FILE}" in paths) for name in folders]
        return sorted([*found, *(Entry(name, is_folder=False) for name in files)], key=lambda entry: entry.name)

    def read(self, model: str, name: str) -> bytes | None:
        tag = self._list().get(model, {}).get(name)
        if tag is None:
            return None
        if self._away:
            return _mirrored(self._mirror / model / name)
        known = self._contents.get((model, name))
        if known is not None and known[0] == tag:
            return known[1]
        data = self._get(f"{model}/{name}", limit_bytes=SMALL_FILE_BYTES)
        if data is not None:
            self._contents[model, name] = (tag, data)
            self._keep(model, name, data)
        return data

    def write(self, model: str, name: str, data: bytes) -> None:
        self._put(f"{model}/{name}", data)

    def swap(self, model: str, name: str, old: bytes | None, new: bytes | None) -> bool:
        path = self._path(f"{model}/{name}")
        self._forget()
        tag = self._tag(path)
        if self._get(f"{model}/{name}", limit_bytes=SMALL_FILE_BYTES) != old:
            return False
        if new is None:
            self._reach(lambda: self._fs.rm_file(path) if self._fs.exists(path) else None)
            self._forget()
            return True
        return self._put(f"{model}/{name}", new, **self._condition(tag))

    @contextmanager
    def draft(self, model: str) -> Iterator[Path]:
        self._bundles.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".draft-{model}-", dir=self._bundles) as folder:
            yield Path(folder)

    def settle(self, draft: Path, model: str, version: int) -> bool:
        if not self._put(f"{model}/{version}/{CLAIM}", b"claimed\n", mode="create"):
            return False
        try:
            for path in sorted(draft.iterdir(), key=lambda path: path.name == MANIFEST_FILE):
                self._put(f"{model}/{version}/{path.name}", path.read_bytes())
        except BaseException:
            with suppress(StoreUnreachable):
                self.remove(model, version)
            raise
        return True

    def fetch(self, model: str, version: int) -> Path:
        if self._away:
            return self._fetched(model, version)
        data = self._get(f"{model}/{version}/{MANIFEST_FILE}", limit_bytes=LIMIT_BYTES)
        if data is None:
            raise FileError(Path(model, str(version)), f"{MANIFEST_FILE} is gone")
        folder = self._bundles / digest_of(data).removeprefix("sha256:") / model / str(version)
        if not _is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            self._download(data, folder, f"{model}/{version}")
            self._prune(model)
        self._keep(model, f"{version}.digest", digest_of(data).encode())
        return folder

    def stamp(self, model: str, version: int) -> Stamp:
        paths = self._list().get(model, {})
        return tuple((path, tag) for path, tag in sorted(paths.items()) if path.startswith(f"{version}/"))

    def remove(self, model: str, version: int) -> None:
        folder = self._path(f"{model}/{version}")
        manifest = f"{folder}/{MANIFEST_FILE}"
        self._reach(lambda: self._fs.rm_file(manifest) if self._fs.exists(manifest) else None)
        self._reach(lambda: self._fs.rm(folder, recursive=True))
        self._forget()

    def leftovers(self, model: str, *, older_than_s: float) -> list[str]:
        begun = [entry.name for entry in self.entries(model) if entry.is_folder and not entry.is_whole]
        before_s = time.time() - older_than_s
        claims = ((name, self._path(f"{model}/{name}/{CLAIM}")) for name in begun)
        return [name for name, claim in claims if self._made_s(claim) < before_s]

    def clear(self, model: str, name: str) -> None:
        self._reach(lambda: self._fs.rm(self._path(f"{model}/{name}"), recursive=True))
        self._forget()

    def _made_s(self, path: str) -> float:
        try:
            return float(self._reach(lambda: self._fs.modified(path)).timestamp())
        except FileNotFoundError:
            return 0.0

    def _list(self) -> Listing:
        """What is in the store, asked with one request per thousand files; while it is away, what was read before."""
        with self._lock:
            if time.monotonic() - self._listed_s < LISTING_S:
                return self._listing
            try:
                self._fs.invalidate_cache()
                found = self._reach(lambda: self._fs.find(self._root, detail=True))
            except StoreUnreachable as error:
                self._listing = self._mirrored_listing()
                if not self._listing:
                    raise
                if not self._away:
                    _log.error(
                        "the store is away, so what was read before is used", extra={"fields": {"reason": str(error)}}
                    )
                self._away = True
            else:
                if self._away:
                    _log.info("the store is back")
                self._away = False
                self._listing = _listing(found, self._root)
            self._listed_s = time.monotonic()
            return self._listing

    def _forget(self) -> None:
        self._listed_s = float("-inf")

    def _get(self, path: str, *, limit_bytes: int) -> bytes | None:
        """The content of a file as it is now; None if there is none. Raises FileTooLarge."""
        try:
            size = self._reach(lambda: self._fs.size(self._path(path)))
            if size is not None and size > limit_bytes:
                raise FileTooLarge(0, f"it has {size:,} bytes, at most {limit_bytes:,} are read", path)
            data: bytes = self._reach(lambda: self._fs.cat_file(self._path(path)))
        except FileNotFoundError:
            return None
        return data

    def _put(self, path: str, data: bytes, **options: Any) -> bool:
        """Write a file whole. With a condition: return whether that held."""
        try:
            self._reach(lambda: self._fs.pipe_file(self._path(path), data, **options))
        except _ConditionFailed:
            return False
        finally:
            self._forget()
        return True

    def _tag(self, path: str) -> str | None:
        """What S3 calls the content of a file; None if there is none."""
        if self._protocol not in S3:
            return None
        try:
            self._fs.invalidate_cache()
            return str(self._reach(lambda: self._fs.info(path))["ETag"])
        except FileNotFoundError:
            return None

    def _condition(self, tag: str | None) -> dict[str, str]:
        if self._protocol not in S3:
            return {}
        return {"mode": "create"} if tag is None else {"IfMatch": tag}

    def _reach(self, ask: Callable[[], T]) -> T:
        """Ask the store. Raises FileNotFoundError, _ConditionFailed, or StoreUnreachable for everything else."""
        try:
            return ask()
        except FileNotFoundError:
            raise
        except Exception as error:
            if isinstance(error, FileExistsError) or _s3_code(error) in CONFLICTS:
                raise _ConditionFailed from error
            raise StoreUnreachable(f"the store {self._address} cannot be used now: {_reason(error)}") from error

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _download(self, manifest: bytes, folder: Path, path: str) -> None:
        """Put a verified copy of a version into a folder, whole or not at all."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=folder.parent) as temporary:
            part = Path(temporary) / folder.parent.name / folder.name  # so that errors name the bundle
            part.mkdir(parents=True)
            write_whole(part / MANIFEST_FILE, manifest)
            described = read_manifest(part)
            for name, entry in described.files.items():
                data = self._get(f"{path}/{name}", limit_bytes=entry.size_bytes)
                if data is None:
                    raise FileError(part, f"{name!r} is gone")
                write_whole(part / name, data)
            self._refuse_unnamed(part, path, known=described.files.keys() | {MANIFEST_FILE, SIGNATURE_FILE, CLAIM})
            read_files(part, described)
            with suppress(FileExistsError, OSError):  # another process was faster
                part.rename(folder)

    def _prune(self, model: str) -> None:
        """Keep the copies that were made last: more versions are never loaded at a time."""
        copies = sorted(self._bundles.glob(f"*/{model}/*"), key=lambda folder: folder.stat().st_mtime)
        for folder in copies[:-KEPT_COPIES]:
            shutil.rmtree(folder.parent.parent, ignore_errors=True)

    def _refuse_unnamed(self, part: Path, path: str, *, known: set[str]) -> None:
        """A file that the manifest does not name is refused, as in a folder."""
        model, version = path.split("/")
        names = (
            each.removeprefix(f"{version}/") for each in self._list().get(model, {}) if each.startswith(f"{version}/")
        )
        for name in names:
            if name not in known and not name.startswith("."):
                raise FileError(part, f"it holds {name!r}, which {MANIFEST_FILE} does not name: move it away")

    def _fetched(self, model: str, version: int) -> Path:
        digest = _mirrored(self._mirror / model / f"{version}.digest")
        if digest is None:
            raise StoreUnreachable(f"the store {self._address} is away, and {model} {version} was never read before")
        return self._bundles / digest.decode().removeprefix("sha256:") / model / str(version)

    def _keep(self, model: str, name: str, data: bytes) -> None:
        """Remember a small file for when the store is away; a cache that cannot be written costs only that."""
        path = self._mirror / model / name
        with suppress(OSError):
            if _mirrored(path) != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, data)

    def _mirrored_listing(self) -> Listing:
        found: Listing = {}
        for path in (path for path in self._mirror.rglob("*") if path.is_file() and not path.name.startswith(".")):
            model, _, name = path.relative_to(self._mirror).as_posix().partition("/")
            below = f"{name.removesuffix('.digest')}/{MANIFEST_FILE}" if name.endswith(".digest") else name
            found.setdefault(model, {})[below] = ("mirrored",)
        return found


class _ConditionFailed(Exception):
    """Somebody else has written meanwhile."""


def _open(address: str) -> tuple[str, Any, str]:
    """The protocol, the file system and the path in it. Raises StoreAddressInvalid."""
    protocol, _, rest = address.partition("://")
    if "@" in rest.split("/")[0]:
        raise StoreAddressInvalid(
            f"the address of the store must hold no user or password: {protocol} takes credentials in its own way"
        )
    extra = "s3" if protocol in S3 else "remote"
    try:
        import fsspec

        options = {"config_kwargs": S3_CONFIG} if protocol in S3 else {}
        system = fsspec.filesystem(protocol, skip_instance_cache=protocol in S3, **options)
    except ImportError as error:
        raise StoreAddressInvalid(
            f"a store at {protocol}:// needs more packages ({error}): {install_command(extra)}"
        ) from error
    except ValueError as error:
        raise StoreAddressInvalid(f"no store can be at {address}: {error}") from error
    if protocol in S3:
        system.retries = RETRIES
    root = system._strip_protocol(address).rstrip("/")
    if not root.strip("/"):
        raise StoreAddressInvalid(f"{address} names no place: write it as {protocol}://bucket/models")
    return protocol, system, root


def _listing(found: dict[str, dict[str, Any]], root: str) -> Listing:
    listing: Listing = {}
    for path, detail in found.items():
        model, _, below = path.removeprefix(root).lstrip("/").partition("/")
        if below and detail.get("type") != "directory":
            changed = detail.get("LastModified") or detail.get("mtime") or detail.get("created")
            listing.setdefault(model, {})[below] = (detail.get("ETag"), detail.get("size"), str(changed))
    return listing


def _is_whole(folder: Path) -> bool:
    """Whether a copy is there and as it was published."""
    try:
        read_files(folder, read_manifest(folder))
    except (OSError, BundleError):
        return False
    return True


def _mirrored(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _s3_code(error: BaseException | None) -> str | None:
    """The code of S3's answer from which an error arose; None if it arose from something else."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code"))
        error = error.__cause__ or error.__context__
    return None


def _reason(error: BaseException) -> str:
    """One line that says what went wrong, also for errors whose text is empty."""
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__
