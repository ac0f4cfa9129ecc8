"""What was read of a store at an address, kept on this machine for when the store is away."""

from contextlib import suppress
from pathlib import Path

from model_store.bundle.files import write_whole
from model_store.bundle.manifest import MANIFEST_FILE
from model_store.store.remote_files import Listing

DIGEST = ".digest"


class Mirror:
    """A folder with the small files of each model, and the digest of each version that was
    fetched.
    """

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
        """What is known of the store: each version that was fetched, by its manifest, and the small
        files.
        """
        found: Listing = {}
        for path in (
            path
            for path in self._folder.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        ):
            model, _, name = path.relative_to(self._folder).as_posix().partition("/")
            below = (
                f"{name.removesuffix(DIGEST)}/{MANIFEST_FILE}" if name.endswith(DIGEST) else name
            )
            found.setdefault(model, {})[below] = ("mirrored",)
        return found


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
