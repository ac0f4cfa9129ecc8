"""Answers that the monitor does not have yet, safe from the SIGKILL that ends workers.

A worker appends to its own file before it answers, and empties the file when all of it is
delivered. A file whose worker has ended is unlocked; another worker delivers and removes it. Rows
are those of `candor predictions`, so a file can also be sent by hand. Beyond its limit of bytes,
and on a full disk, answers are lost, and counted.
"""

import fcntl
import json
import os
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

LIMIT_BYTES = 64 * 2**20  # some 300,000 answers of a model with a few classes
CHUNK_BYTES = 256 * 1024  # of rows in one request: some thousand, each of at most 100 KB
SUFFIX = ".ndjson"


class OutboxFile:
    """A file of rows, locked by this process. One thread may append while another reads."""

    def __init__(self, path: Path, descriptor: int, *, limit_bytes: int = LIMIT_BYTES) -> None:
        """`descriptor` is of the file, open for reading and appending, and locked."""
        self.path = path
        self._descriptor, self._limit_bytes = descriptor, limit_bytes
        self._delivered_bytes = 0
        self._lock = threading.Lock()

    def append(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Add rows; returns whether they are in the file, all of them or none."""
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        with self._lock, suppress(OSError):  # a full disk, on which nothing was written
            end = os.fstat(self._descriptor).st_size
            if end + len(data) > self._limit_bytes:
                return False
            if os.write(self._descriptor, data) == len(data):
                return True
            os.ftruncate(self._descriptor, end)
        return False

    def rows(self) -> tuple[list[dict[str, Any]], int]:
        """Return the oldest undelivered rows, at most CHUNK_BYTES, and their size in bytes.

        A last line that was cut off when its worker was killed is no row.
        """
        with self._lock:
            data = os.pread(self._descriptor, CHUNK_BYTES, self._delivered_bytes)
        whole = data[: data.rfind(b"\n") + 1] or data
        rows = map(_parsed, whole.splitlines())
        return [row for row in rows if row is not None], len(whole)

    def deliver(self, size_bytes: int) -> None:
        """Forget the oldest rows, of so many bytes; the file is emptied with its last one."""
        with self._lock:
            self._delivered_bytes += size_bytes
            if self._delivered_bytes >= os.fstat(self._descriptor).st_size:
                os.ftruncate(self._descriptor, 0)
                self._delivered_bytes = 0

    def close(self) -> None:
        """Unlock the file; another process may deliver it then."""
        os.close(self._descriptor)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.close()


def new_file(folder: Path, *, limit_bytes: int = LIMIT_BYTES) -> OutboxFile:
    """Return an empty file in `folder`, which is made if it is missing. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
    # Before it is locked, nobody must take it for a file without a worker.
    draft = path.with_suffix(".new")
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(draft, flags, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    draft.rename(path)
    return OutboxFile(path, descriptor, limit_bytes=limit_bytes)


def left_behind(folder: Path) -> Iterator[OutboxFile]:
    """Take the files whose workers have ended, one after the other. Close or remove each."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError:  # somebody else has just removed it
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone = os.fstat(descriptor).st_nlink == 0
        except OSError:
            gone = True
        if gone:
            os.close(descriptor)
        else:
            yield OutboxFile(path, descriptor)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
