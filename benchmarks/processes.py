"""Processes of this machine, from /proc: descendants, processor time, resident memory."""

import os
from contextlib import suppress
from pathlib import Path

PARENT, BORN = 1, 19  # fields of /proc/PID/stat after the name
TIMES = slice(11, 15)  # in user and system mode, of the process and of its children that ended


def status(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name. Raises OSError for a process that has ended."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(pid: int) -> dict[int, str]:
    """The process ids of a process and its descendants, with when each was born: ids are reused."""
    children: dict[int, list[int]] = {}
    born = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            fields = status(int(entry.name))
            children.setdefault(int(fields[PARENT]), []).append(int(entry.name))
            born[int(entry.name)] = fields[BORN]
    members = [pid]
    for member in members:
        members += children.get(member, [])
    return {member: born[member] for member in members if member in born}


def cpu_s(pid: int) -> float:
    """Processor seconds of a process and its descendants, those that have ended included."""
    total = 0
    for member in tree(pid):
        with suppress(OSError, IndexError):
            total += sum(map(int, status(member)[TIMES]))
    return total / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory of a process and its descendants, MB; pages that they share count in each."""
    pages = 0
    for member in tree(pid):
        with suppress(OSError, IndexError):
            pages += int(Path(f"/proc/{member}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
