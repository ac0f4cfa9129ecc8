"""What Candor asks of the kernel, and what it does itself where the kernel does not.

Linux bounds the memory of a process, takes rights from it, and ends it with its parent. Elsewhere
(macOS) a thread of the parent looks at the memory of each child and kills it, and a child ends once
a pipe of its parent's does. That is weaker: between two looks a child may take more, and code that
takes it over keeps the rights of its user.
"""

import os
import resource
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import subprocess

ENFORCES = sys.platform == "linux"  # the only switch; tests turn it off
WEAKER: Final = (
    "this system does not enforce limits on other processes, so Candor watches those that read "
    "images and models itself: their bounds are weaker (docs/limits.md#operating-systems)"
)
LOOK_S: Final = 0.02


class ChildWatch:
    """Bounds a child's memory, ends it with this process: give it `child_end`, call `follow`."""

    def __init__(self) -> None:
        """Raises OSError."""
        self.child_end, self._own_end = os.pipe()
        self.killed = False  # because it took too much memory
        self._limit_bytes: int | None = None
        self._limiting = threading.Lock()  # a limit is not that of memory taken after it
        self._wanted = threading.Event()

    def follow(self, child: "subprocess.Popen[bytes]") -> None:
        """Look after the child that has been started."""
        import psutil  # only here: Linux does without

        os.close(self.child_end)
        self._child, self._process = child, psutil.Process(child.pid)
        threading.Thread(target=self._look, name="candor-watch", daemon=True).start()

    @property
    def memory_bytes(self) -> int:
        """The child's resident memory; 0 once it has ended."""
        import psutil

        try:
            return int(self._process.memory_info().rss)
        except psutil.Error:
            return 0

    def limit(self, size_bytes: int | None) -> None:
        """Kill the child once it has more resident memory than this; None: never."""
        with self._limiting:
            self._limit_bytes = size_bytes
        self._wanted.set() if size_bytes is not None else self._wanted.clear()

    def close(self) -> None:
        if self._own_end >= 0:
            os.close(self._own_end)
            self._own_end = -1
        self._wanted.set()

    def _look(self) -> None:
        while self._own_end >= 0 and self._child.poll() is None:
            self._wanted.wait()
            self._look_once()
            time.sleep(LOOK_S)

    def _look_once(self) -> None:
        with self._limiting:
            limit = self._limit_bytes
            if limit is not None and self.memory_bytes > limit:
                self.killed = True
                self._child.kill()


def bound_memory(memory_bytes: int, pipe: int | None) -> None:
    """In a child: limit its address space, or end with `pipe` where the kernel enforces nothing."""
    global ENFORCES
    ENFORCES = pipe is None
    if pipe is None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    else:
        end_with(pipe)


def end_with(pipe: int) -> None:
    """In a child: end once the parent's end of `pipe` is closed, however the parent ends."""

    def follow() -> None:
        os.read(pipe, 1)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
