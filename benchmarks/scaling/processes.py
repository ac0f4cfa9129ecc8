"""Processor time of processes, from /proc."""

import os
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Engine, text

PARENT, TIMES = (
    1,
    slice(11, 15),
)  # fields of /proc/PID/stat after the name: the times of ended children are in the last


def postmaster(engine: Engine) -> int:
    """The process id of the PostgreSQL server on this machine: the parent of a connection's
    process.
    """
    with engine.connect() as connection:
        backend = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    return int(_fields(backend)[PARENT])


def tree_cpu_s(pid: int) -> float:
    """Processor seconds of a process, of its children, and of those that have ended."""
    total = 0.0
    for process in [pid, *_children(pid)]:
        with suppress(OSError, IndexError):
            total += sum(map(int, _fields(process)[TIMES])) / os.sysconf("SC_CLK_TCK")
    return total


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
