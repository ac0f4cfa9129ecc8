"""Files of the store: written whole or not at all; only plain, not too large ones are read. What
their records have in common.
"""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError


class ClosedRecord(BaseModel):
    """Does not change, and has no other fields than these."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OpenRecord(BaseModel):
    """Does not change; ignores unknown fields, which later Candors may add to this format."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


def first_problem(error: ValidationError) -> str:
    """Return the first thing that is wrong, behind the place where it is."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]


class UnsafeFile(OSError):
    """Not a plain file: a symbolic link, a folder, a pipe or a device."""


class FileTooLarge(UnsafeFile):
    """More bytes than are read."""


def read_plain(path: Path, *, limit_bytes: int) -> bytes:
    """Return the content of a plain file. Raises UnsafeFile, and OSError if it cannot be read.

    A link is never followed, and a pipe never waited for.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # the name contains a null byte
        raise UnsafeFile(0, str(error), str(path)) from error
    except OSError as error:
        if path.is_symlink():
            raise UnsafeFile(0, "it is a symbolic link", str(path)) from error
        raise
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnsafeFile(0, "it is not a plain file", str(path))
        if status.st_size > limit_bytes:
            raise FileTooLarge(
                0, f"it has {status.st_size:,} bytes, at most {limit_bytes:,} are read", str(path)
            )
        return file.read(status.st_size)


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file; readers see the old content or the new. Durable on return."""
    descriptor, part = tempfile.mkstemp(prefix=".part-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(part).chmod(0o644)
        Path(part).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(part).unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some network file systems refuse
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
