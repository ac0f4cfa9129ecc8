"""manifest.json: size and SHA-256 of each file of a bundle, which its own digest identifies.

The manifest has one spelling only, so no bit of it can change unnoticed. Aliases, canaries and the
ledger name the digest, so a bundle cannot be replaced together with its manifest either.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, ValidationError

from model_store.bundle.card import NAME_PATTERN
from model_store.bundle.files import (
    ClosedRecord,
    FileTooLarge,
    first_problem,
    read_plain,
    write_whole,
)
from model_store.errors import FileError, ManifestError

MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "model.sig"  # of the manifest and all that it names
LIMIT_BYTES = 1 << 20
MAX_FILE_BYTES = 1 << 36
MAX_VERSION = 999_999_999
Digest: TypeAlias = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
FileName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class FileEntry(ClosedRecord, strict=True):
    """Size and hash of one file."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: int = Field(ge=0)

    @classmethod
    def of(cls, data: bytes) -> "FileEntry":
        """Describe these bytes."""
        return cls(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


class Manifest(ClosedRecord, strict=True):
    """What manifest.json says."""

    format_version: Literal[1] = 1
    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1, le=MAX_VERSION)
    files: dict[FileName, FileEntry] = Field(min_length=1)

    def as_bytes(self) -> bytes:
        """Return its one spelling: JSON, sorted keys, indented by two, ending in a line feed."""
        return (json.dumps(self.model_dump(), sort_keys=True, indent=2) + "\n").encode()

    @property
    def digest(self) -> str:
        """The digest of the bundle, as `sha256:` and 64 hexadecimal digits."""
        return digest_of(self.as_bytes())


def digest_of(data: bytes) -> str:
    """Return `sha256:` and the hash of these bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def describe(folder: Path) -> dict[str, FileEntry]:
    """Return size and hash of every file of a folder but the manifest. Raises FileError."""
    return {path.name: FileEntry.of(_content(folder, path.name)) for path in _visible(folder)}


def write_manifest(folder: Path, *, name: str, version: int) -> Manifest:
    """Describe every file in a folder, and write that beside them. Raises FileError."""
    try:
        manifest = Manifest(name=name, version=version, files=describe(folder))
    except ValidationError as error:
        raise FileError(
            folder, f"no manifest can name its files: {first_problem(error)}"
        ) from error
    write_whole(folder / MANIFEST_FILE, manifest.as_bytes())
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a bundle. Raises ManifestError."""
    try:
        data = read_plain(folder / MANIFEST_FILE, limit_bytes=LIMIT_BYTES)
    except FileNotFoundError as error:
        if not folder.is_dir():
            raise FileError(folder, "there is no such folder") from error
        raise ManifestError(
            folder,
            f"it has no {MANIFEST_FILE}, so nothing shows whether its files are those that were "
            "published: publish the model again",
        ) from error
    except OSError as error:
        raise ManifestError(folder, f"{MANIFEST_FILE} cannot be read ({error.strerror})") from error
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        problem = first_problem(error)
        advice = "; this Candor reads format 1" if problem.startswith("format_version:") else ""
        raise ManifestError(folder, f"{MANIFEST_FILE}: {problem}{advice}") from error
    if manifest.as_bytes() != data:
        raise ManifestError(
            folder, f"{MANIFEST_FILE} is not spelled as Candor writes it, so somebody changed it"
        )
    return manifest


def read_files(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Return the content of every file of a bundle, verified. Raises FileError.

    A file that the manifest does not name is refused, too, unless its name begins with a dot.
    """
    strays = sorted({path.name for path in _visible(folder)} - manifest.files.keys())
    if strays:
        raise FileError(
            folder, f"it holds {strays[0]!r}, which {MANIFEST_FILE} does not name: move it away"
        )
    with ThreadPoolExecutor() as pool:  # a server's start waits for reading and hashing
        contents = pool.map(lambda name: read_file(folder, manifest, name), manifest.files)
        return dict(zip(manifest.files, contents, strict=True))


def read_file(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Return the content of one file of a bundle, verified. Raises FileError."""
    entry = manifest.files.get(name)
    if entry is None:
        raise FileError(folder, f"{MANIFEST_FILE} lists no {name}")
    differs = (
        f"{name} is not the file that was published: its sha256 or size differs from "
        f"{MANIFEST_FILE}"
    )
    try:
        data = read_plain(folder / name, limit_bytes=entry.size_bytes)
    except FileTooLarge as error:
        raise FileError(folder, differs) from error
    except OSError as error:
        raise FileError(folder, f"{name!r} cannot be read ({error.strerror})") from error
    if FileEntry.of(data) != entry:
        raise FileError(folder, differs)
    return data


def _content(folder: Path, name: str) -> bytes:
    try:
        return read_plain(folder / name, limit_bytes=MAX_FILE_BYTES)
    except OSError as error:
        raise FileError(folder, f"{name!r} cannot be read ({error.strerror})") from error


def _visible(folder: Path) -> Iterator[Path]:
    apart = (MANIFEST_FILE, SIGNATURE_FILE)
    return (
        path
        for path in sorted(folder.iterdir())
        if not (path.name.startswith(".") or path.name in apart)
    )
