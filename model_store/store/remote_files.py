"""Files at an address that fsspec knows; written, if asked, only if nobody else has.

On S3 such a condition is part of the write. Other file systems keep only that of a new file.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from model_store.addresses import names_user, shown_address
from model_store.bundle.files import FileTooLarge, write_whole
from model_store.bundle.manifest import MANIFEST_FILE
from model_store.errors import StoreAddressInvalid, StoreUnreachable
from model_store.installation import install_command

RETRIES = 2
S3 = ("s3", "s3a")
READ_ONLY = ("http", "https")
# What S3 says if somebody else was faster.
CONFLICTS = ("PreconditionFailed", "ConditionalRequestConflict", "412")
S3_CONFIG = {
    "connect_timeout": 5,
    "read_timeout": 30,
    "retries": {"max_attempts": RETRIES, "mode": "standard"},
}
# Model -> path below it -> what changes with its content.
Listing = dict[str, dict[str, tuple[object, ...]]]
T = TypeVar("T")


class RemoteFiles:
    """The files below one address. Paths are relative to it; all methods raise StoreUnreachable."""

    def __init__(self, address: str) -> None:
        """Raises StoreAddressInvalid for an address that fsspec does not know."""
        self.address = shown_address(address)
        self._protocol, self._fs, self._root = _open(address)

    def listing(self) -> Listing:
        """All files, asked with one request per thousand."""
        self._fs.invalidate_cache()
        return _listing(self._reach(lambda: self._fs.find(self._root, detail=True)), self._root)

    def read(self, path: str, *, limit_bytes: int) -> bytes | None:
        """The content of a file as it is now; None if there is none. Raises FileTooLarge."""
        try:
            size = self._reach(lambda: self._fs.size(self._path(path)))
            if size is not None and size > limit_bytes:
                raise FileTooLarge(
                    0, f"it has {size:,} bytes, at most {limit_bytes:,} are read", path
                )
            data: bytes = self._reach(lambda: self._fs.cat_file(self._path(path)))
        except FileNotFoundError:
            return None
        return data

    def write(self, path: str, data: bytes) -> None:
        """Write a file whole, whatever it held."""
        self._write(path, data)

    def create(self, path: str, data: bytes) -> bool:
        """Write a new file whole. Return False if there is one."""
        return self._write(path, data, mode="create")

    def replace(self, path: str, data: bytes, *, tag: str | None) -> bool:
        """Write a file whole. Return False if it no longer has this tag, which only S3 tells."""
        if self._protocol not in S3:
            return self._write(path, data)
        return self._write(path, data, **({"mode": "create"} if tag is None else {"IfMatch": tag}))

    def tag(self, path: str) -> str | None:
        """What S3 calls the content of a file; None if there is none."""
        if self._protocol not in S3:
            return None
        try:
            self._fs.invalidate_cache()
            return str(self._reach(lambda: self._fs.info(self._path(path)))["ETag"])
        except FileNotFoundError:
            return None

    def modified_s(self, path: str) -> float:
        """When a file was written, in seconds since 1970; 0 if there is none."""
        try:
            return float(self._reach(lambda: self._fs.modified(self._path(path))).timestamp())
        except FileNotFoundError:
            return 0.0

    def remove(self, path: str) -> None:
        place = self._path(path)
        self._reach(lambda: self._fs.rm_file(place) if self._fs.exists(place) else None)

    def remove_folder(self, path: str) -> None:
        """Remove everything below a path. Raises FileNotFoundError."""
        self._reach(lambda: self._fs.rm(self._path(path), recursive=True))

    def _write(self, path: str, data: bytes, **condition: str) -> bool:
        try:
            self._reach(lambda: self._fs.pipe_file(self._path(path), data, **condition))
        except _ConditionFailed:
            return False
        return True

    def _reach(self, ask: Callable[[], T]) -> T:
        """Ask. Raises FileNotFoundError, _ConditionFailed, or else StoreUnreachable."""
        try:
            return ask()
        except FileNotFoundError:
            raise
        except Exception as error:
            if isinstance(error, FileExistsError) or _s3_code(error) in CONFLICTS:
                raise _ConditionFailed from error
            raise StoreUnreachable(
                f"the store {self.address} cannot be used now: {reason_of(error)}"
            ) from error

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"


class _ConditionFailed(Exception):
    """Somebody else has written meanwhile."""


def _open(address: str) -> tuple[str, Any, str]:
    """The protocol, the file system and the path in it. Raises StoreAddressInvalid."""
    protocol = address.partition("://")[0]
    if names_user(address):
        raise StoreAddressInvalid(
            f"the address of the store must hold no user or password: {protocol} takes "
            "credentials in its own way"
        )
    if protocol in READ_ONLY:
        raise StoreAddressInvalid(
            f"no store can be at {shown_address(address)}: {protocol} can neither list nor write "
            "files; docs/how-to/store.md says which addresses can"
        )
    extra = "s3" if protocol in S3 else "remote"
    try:
        import fsspec

        options = {"config_kwargs": S3_CONFIG} if protocol in S3 else {}
        system = fsspec.filesystem(protocol, skip_instance_cache=protocol in S3, **options)
    except ImportError as error:
        raise StoreAddressInvalid(
            f"a store at {protocol}:// needs more packages ({error})",
            install=install_command(extra),
        ) from error
    except ValueError as error:
        raise StoreAddressInvalid(
            f"no store can be at {shown_address(address)}: {error}"
        ) from error
    except OSError as error:  # some connect at once
        raise StoreUnreachable(
            f"the store {shown_address(address)} cannot be used now: {reason_of(error)}"
        ) from error
    if protocol in S3:
        system.retries = RETRIES
    root = system._strip_protocol(address).rstrip("/")
    if not root.strip("/"):
        raise StoreAddressInvalid(
            f"{shown_address(address)} names no place: write it as {protocol}://bucket/models"
        )
    return protocol, system, root


def _listing(details: dict[str, dict[str, Any]], root: str) -> Listing:
    listing: Listing = {}
    for path, detail in details.items():
        model, _, below = path.removeprefix(root).lstrip("/").partition("/")
        if below and detail.get("type") != "directory":
            changed = detail.get("LastModified") or detail.get("mtime") or detail.get("created")
            tag = (detail.get("ETag"), detail.get("size"), str(changed))
            listing.setdefault(model, {})[below] = tag
    return listing


def _s3_code(error: BaseException | None) -> str | None:
    """The code of S3's answer from which an error arose; None if it arose from something else."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code"))
        error = error.__cause__ or error.__context__
    return None


def reason_of(error: BaseException) -> str:
    """One line that says what went wrong, also for errors whose text is empty."""
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__


DIGEST = ".digest"


class Mirror:
    """A folder with each model's small files and the digests of the fetched versions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, model: str, name: str) -> bytes | None:
        """A small file as it was read last; None if it never was."""
        return _content(self._folder / model / name)

    def digest(self, model: str, version: int) -> str | None:
        """The digest of a version as it was fetched last; None if it never was."""
        digest = self.read(model, f"{version}{DIGEST}")
        return None if digest is None else digest.decode()

    def keep(self, model: str, name: str, data: bytes) -> None:
        """Remember a small file; a folder that cannot be written costs only that."""
        path = self._folder / model / name
        with suppress(OSError):
            if _content(path) != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, data)

    def keep_digest(self, model: str, version: int, digest: str) -> None:
        """Remember which bundle a version is."""
        self.keep(model, f"{version}{DIGEST}", digest.encode())

    def listing(self) -> Listing:
        """What is known of the store: the fetched versions and the small files."""
        listing: Listing = {}
        files = (path for path in self._folder.rglob("*") if path.is_file())
        for path in files:
            model, _, name = path.relative_to(self._folder).as_posix().partition("/")
            if name.endswith(DIGEST):
                name = f"{name.removesuffix(DIGEST)}/{MANIFEST_FILE}"
            if not path.name.startswith("."):
                listing.setdefault(model, {})[name] = ("mirrored",)
        return listing


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
