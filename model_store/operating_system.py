"""What Candor asks of the operating system. Servers and imports need Linux; the rest says what it
finds elsewhere.
"""

import os
import sys

from model_store.errors import LinuxRequired


def require_linux(what: str) -> None:
    """Raise LinuxRequired on any other system. `what` names the command.

    Only there does the kernel enforce the limits of memory on which every promise about hostile
    images and models rests, give a priority to each thread, and end the decoding processes with
    their server.
    """
    if sys.platform != "linux":
        raise LinuxRequired(what, sys.platform)


def usable_cores() -> int:
    """How many cores this process may use; all of them where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
