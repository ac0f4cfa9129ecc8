"""The spool: a bounded file on this machine that holds answers while the ledger is away.

Each line is a frame: CRC-32 of the rest, number of rows, JSON. A frame is on the disk when `append`
returns. The file has its full size from the start, with zeros after the last frame, so a disk that
fills up later does not affect it. A frame that a crash left half written is cut off: its caller
never got a confirmation.
"""

import fcntl
import json
import logging
import os
import shutil
import zlib
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from monitoring.errors import LedgerError, SpoolFull
from monitoring.ledger.predictions import PredictionRow

_log = logging.getLogger(__name__)


class CardKey(NamedTuple):
    """Identifies a version in every ledger, whatever its id there."""

    model: str
    version: int
    card_sha256: str


@dataclass(frozen=True)
class Frame:
    """Answers that were spooled together. `cards` maps their watched version ids to cards."""

    cards: dict[int, CardKey]
    rows: Sequence[PredictionRow]

    def as_line(self) -> bytes:
        """Return the frame as one line of ASCII, with the newline."""
        rows = [
            [value.hex() if isinstance(value, bytes) else value for value in row]
            for row in self.rows
        ]
        text = json.dumps({"cards": self.cards, "rows": rows}, separators=(",", ":"))
        rest = b"%d %s" % (len(rows), text.encode("ascii"))
        return b"%08x %s\n" % (zlib.crc32(rest), rest)

    @classmethod
    def from_line(cls, line: bytes) -> "Frame":
        found: dict[str, Any] = json.loads(line.split(b" ", 2)[2])
        rows = [
            PredictionRow._make((bytes.fromhex(key), *rest[:4], bytes.fromhex(rest[4]), *rest[5:]))
            for key, *rest in found["rows"]
        ]
        return cls({int(number): CardKey(*card) for number, card in found["cards"].items()}, rows)


class _Place(NamedTuple):
    """Where an intact frame is in the file, with its newline."""

    offset: int
    length: int
    rows: int


class Spool:
    """The frames in `path`, oldest first, for one thread. With `limit_bytes` 0 it gives frames but
    takes none.

    The file is created if it does not exist, its folder is not. Raises LedgerError if it cannot get
    its full size.
    """

    def __init__(self, path: Path, *, limit_bytes: int) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self.rows = 0
        self._places: deque[_Place] = deque()
        self._end = 0  # of the last frame; zeros follow
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LedgerError(
                f"The spool {path} cannot be opened ({error.strerror}); {_ELSEWHERE}."
            ) from error
        try:
            self._own()
            self._recover()
            self._reserve()
            _sync_folder(path.parent)
        except OSError as error:
            os.close(self._file)
            reason = f"cannot have its {limit_bytes:,} bytes ({error.strerror})"
            raise LedgerError(
                f"The spool {path} {reason}; {_ELSEWHERE}, or a smaller limit."
            ) from error
        except LedgerError:
            os.close(self._file)
            raise

    @property
    def size_bytes(self) -> int:
        """Bytes of the limit in use."""
        return self._end

    def append(self, frame: Frame) -> None:
        """Add a frame, durable on return. Raises SpoolFull or OSError; then nothing was added."""
        line = frame.as_line()
        if self._end + len(line) > self.limit_bytes:
            raise SpoolFull(str(self.path), self.limit_bytes)
        try:
            _write(self._file, line, self._end)
            getattr(os, "fdatasync", os.fsync)(self._file)  # macOS has the second alone
        except OSError:
            with suppress(OSError):
                self._reserve()  # no part of the line may be found later
            raise
        self._places.append(_Place(self._end, len(line), len(frame.rows)))
        self._end += len(line)
        self.rows += len(frame.rows)

    def read(self, *, rows: int) -> list[Frame]:
        """Return the oldest frames, of at most `rows` rows together, but at least one."""
        frames: list[Frame] = []
        total = 0
        for place in self._places:
            if frames and total + place.rows > rows:
                break
            frames.append(Frame.from_line(os.pread(self._file, place.length, place.offset)))
            total += place.rows
        return frames

    def drop(self, frames: int) -> None:
        """Drop the oldest frames, which are in the ledger. The last one empties the file."""
        for _ in range(frames):
            self.rows -= self._places.popleft().rows
        if not self._places:
            self._end = 0
            try:
                self._reserve()
            except OSError as error:  # a later append may find the disk full and raises then
                _log.warning("the spool %s cannot reserve its space: %s", self.path, error.strerror)

    def set_aside(self, frame: Frame, reason: Exception) -> None:
        """Move a frame that the ledger refuses for good to a second file, for a person."""
        beside = self.path.with_name(self.path.name + ".refused")
        with beside.open("ab") as file:
            file.write(frame.as_line())
            file.flush()
            os.fsync(file.fileno())
        _log.error(
            "%d spooled answers are refused by the ledger and kept in %s: %s",
            len(frame.rows),
            beside,
            reason,
        )

    def close(self) -> None:
        """Close the file; remove it if it takes no frames and holds none."""
        if not self._places and not self.limit_bytes:
            self.path.unlink(missing_ok=True)
        os.close(self._file)

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _own(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LedgerError(
                f"The spool {self.path} belongs to another process; {_ELSEWHERE} of its own."
            ) from error

    def _recover(self) -> None:
        """Find the frames that an earlier process left."""
        lines = self.path.read_bytes().rstrip(b"\0").splitlines(keepends=True)
        counts = [_count(line) for line in lines]
        intact = max(
            (number + 1 for number, rows in enumerate(counts) if rows is not None), default=0
        )
        if torn := sum(map(len, lines[intact:])):
            _log.warning(
                "the spool %s ended in %d bytes half written, whose answers were never sent",
                self.path,
                torn,
            )
        if damaged := counts[:intact].count(None):
            copy = shutil.copyfile(self.path, self.path.with_name(self.path.name + ".damaged"))
            _log.error(
                "%d lines of the spool %s are damaged and left out; %s is a copy",
                damaged,
                self.path,
                copy,
            )
        for line, rows in zip(lines[:intact], counts, strict=False):
            if rows is not None:
                self._places.append(_Place(self._end, len(line), rows))
                self.rows += rows
            self._end += len(line)

    def _reserve(self) -> None:
        """Fill the file with zeros from the last frame to the limit, allocated on the disk."""
        os.ftruncate(self._file, self._end)
        size = self.limit_bytes - self._end
        if size > 0 and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file, 0, self.limit_bytes)
        elif size > 0:  # macOS
            _write(self._file, bytes(size), self._end)


_ELSEWHERE = "give the server a CANDOR_SPOOL"


def _count(line: bytes) -> int | None:
    """Return the number of rows of an intact line, None for a damaged one."""
    checksum, space, rest = line.rstrip(b"\n").partition(b" ")
    if not (line.endswith(b"\n") and space and checksum == b"%08x" % zlib.crc32(rest)):
        return None
    return int(rest.partition(b" ")[0])


def _write(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _sync_folder(folder: Path) -> None:
    """Make the names in this folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
