"""Memory that the server and one decoding process share, for the bytes of an image.

Through a socket, both sides would copy a large image in small parts and wait for each other after
each of them.
"""

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from serving.decoding.encoded import Encoded

# A larger image goes through the socket. What one image filled stays in memory for the next, so it
# is not much.
SIZE_BYTES: Final = 32 * 2**20


class SharedBody:
    """SIZE_BYTES of memory for one image at a time, which only the server writes.

    Its size is sealed: a process that an image has taken over could otherwise cut off what the
    server writes next.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    def write(self, data: Encoded) -> bool:
        """Put an image there. False: it is too large."""
        if len(data) > SIZE_BYTES:
            return False
        self._memory[: len(data)] = data
        return True

    def close(self) -> None:
        """Give up the server's part; the process keeps its own until it ends."""
        self._memory.close()


@contextmanager
def shared_body() -> Iterator[tuple[SharedBody, int] | None]:
    """New memory and the number of its file, which a process that is started meanwhile may inherit.

    None where the system has no such memory.
    """
    try:
        file = os.memfd_create("candor-body", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except (AttributeError, OSError):  # not Linux, or not allowed
        yield None
        return
    try:
        os.ftruncate(file, SIZE_BYTES)
        fcntl.fcntl(
            file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        )
        yield SharedBody(mmap.mmap(file, SIZE_BYTES)), file
    finally:
        os.close(file)


def open_shared(file: int) -> mmap.mmap:
    """The same memory in the decoding process, to read. Raises OSError."""
    return mmap.mmap(file, SIZE_BYTES, prot=mmap.PROT_READ)
