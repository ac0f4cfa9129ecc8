"""What the server and a decoding process share: lines of JSON over a socket, and memory for an
image and then its pixels. Nothing is unpickled.

Through a socket, both sides would copy a large image in small parts and wait for each other after
each of them.
"""

import contextlib
import fcntl
import json
import mmap
import os
import tempfile
from typing import Any, Final

from model_store import kernel

# The kinds of messages. A process is ready once. A job ends as decoded, or as refused: with `last`,
# the process takes no other job.
READY, JOB, DECODED, REFUSED = "ready", "job", "decoded", "refused"
LINE_BYTES: Final = 2**16
FIRST_BYTES: Final = 2**20
KEPT_BYTES: Final = 32 * 2**20
# Of a share, beside the pixels: headers, the parser's own objects, what libraries reserve and do
# not use, and what was freed and is kept for the next image.
ROOM_BYTES: Final = 128 * 2**20


def line(kind: str, **fields: Any) -> bytes:
    return json.dumps({"kind": kind, **fields}).encode() + b"\n"


class SharedMemory:
    """Memory of which both sides map what they need.

    It cannot shrink: a process that an image has taken over could otherwise cut off what the server
    writes next.
    """

    def __init__(self, file: int) -> None:
        """`file`: of `shared_file`; it stays open until `close`."""
        self.file = file
        self._memory = mmap.mmap(file, FIRST_BYTES)

    def __len__(self) -> int:
        return len(self._memory)

    def reach(self, size_bytes: int) -> None:
        """Map at least `size_bytes`, which the file must have. Raises OSError or ValueError."""
        if size_bytes > len(self._memory):
            self._memory.close()
            self._memory = mmap.mmap(self.file, size_bytes)

    def grow(self, size_bytes: int) -> None:
        """`reach`, and give the file as much. Raises OSError."""
        if size_bytes > len(self._memory):
            os.ftruncate(self.file, size_bytes)
            self.reach(size_bytes)

    def write(self, data: bytes) -> None:
        self._memory[: len(data)] = data

    def read(self, size_bytes: int) -> bytes:
        """A copy of the first `size_bytes`. Raises ValueError if there are fewer."""
        if not 0 <= size_bytes <= len(self._memory):
            raise ValueError(f"{size_bytes} of {len(self._memory)} bytes")
        return self._memory[:size_bytes]

    def trim(self) -> None:
        """Give what is over KEPT_BYTES back to the system; until it is written again, it is 0."""
        if not self._memory.closed and len(self._memory) > KEPT_BYTES:
            # Not a file on disk, which stands in for such memory, nor where there is no such call.
            with contextlib.suppress(OSError, AttributeError):
                self._memory.madvise(mmap.MADV_REMOVE, KEPT_BYTES)

    def close(self) -> None:
        if not self._memory.closed:
            self._memory.close()
            os.close(self.file)


def shared_file() -> int:
    """A new file for SharedMemory, which a process that is started may inherit. Raises OSError."""
    try:
        if not kernel.ENFORCES:
            raise OSError("no memory without a file")
        file = os.memfd_create("candor-image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:  # not Linux, or not allowed
        with tempfile.TemporaryFile() as unnamed:
            file = os.dup(unnamed.fileno())
        os.ftruncate(file, FIRST_BYTES)
        return file
    os.ftruncate(file, FIRST_BYTES)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return file
