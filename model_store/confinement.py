"""Takes rights from a process that is about to read hostile bytes, and hides one with secrets.

The bytes may take the process over. It then has its memory, the pipes that it holds, and no more:
no file, socket or program can be opened, no capability is left, and no other process can be read or
signaled. Linux enforces this in layers, each of which `candor doctor` names where it is missing;
elsewhere (kernel.py) only new files and programs are refused.

Source: Landlock, https://docs.kernel.org/userspace-api/landlock.html
"""

import ctypes
import os
import resource
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from model_store import kernel

if TYPE_CHECKING:
    import subprocess

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # system calls, on every architecture alike
_VERSION: Final = 1  # asks for Landlock's version, in place of a set of rules
# Rights to files, to TCP, and to signals and abstract sockets, from a version of Landlock on.
_FILE_RIGHTS: Final = {1: 0x1FFF, 2: 0x2000, 3: 0x4000, 5: 0x8000}
_NETWORK_VERSION, _NETWORK_RIGHTS = 4, 0x3
SCOPE_VERSION, _SCOPES = 6, 0x3
_CAPABILITY_VERSION: Final = 0x20080522


def bare_environment() -> dict[str, str]:
    """What a confined process inherits: the one variable without which Python may not start."""
    name = "LD_LIBRARY_PATH"
    return {name: os.environ[name]} if name in os.environ else {}


def close_pipes(process: "subprocess.Popen[bytes]") -> None:
    """Close this side of a process's pipes. What a process that died did not read is no error."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()


def hide() -> None:
    """Keep other processes of this user from reading the memory and environment of this one.

    It also has no core dumps then, and debuggers need root.
    """
    if kernel.ENFORCES:
        _call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)


def confine(*, threads: bool) -> None:
    """Give up every right for good. Call it after the last import, with a single thread.

    `threads`: whether the process may still start threads. Raises OSError.
    """
    hide()
    if kernel.ENFORCES:
        _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if version := landlock_version():
            _deny_all(version)
    # What a file's number must be below: what is open stays open, and nothing new can be.
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, lowest_free))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not threads:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    if kernel.ENFORCES:
        _call("capset", struct.pack("<Ii", _CAPABILITY_VERSION, 0), bytes(24))


def landlock_version() -> int:
    """The version of the kernel's Landlock; 0 where it is missing, off or not allowed."""
    try:
        return _call("syscall", _CREATE_RULESET, 0, 0, _VERSION) if kernel.ENFORCES else 0
    except OSError:
        return 0


def _deny_all(version: int) -> None:
    """Restrict this process by a set of rules that allows nothing."""
    handled = struct.pack(
        "<QQQ",
        sum(rights for since, rights in _FILE_RIGHTS.items() if since <= version),
        _NETWORK_RIGHTS if version >= _NETWORK_VERSION else 0,
        _SCOPES if version >= SCOPE_VERSION else 0,
    )
    rules = _call("syscall", _CREATE_RULESET, handled, len(handled), 0)
    try:
        _call("syscall", _RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _call(function: str, *arguments: int | bytes) -> int:
    """Call a function of the C library. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    longs = [each if isinstance(each, bytes) else ctypes.c_long(each) for each in arguments]
    result = int(getattr(library, function)(*longs))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{function}: {os.strerror(error)}")
    return result
