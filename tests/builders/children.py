"""The processes that a server has started."""

from contextlib import suppress
from pathlib import Path


def children(pid: int, module: str) -> list[int]:
    """The ids of the children of process `pid` that run `module`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and module.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found
