"""Threads that may only have what the others leave."""

import os
import threading
from typing import Final

LOWEST: Final = 19


def lower_priority() -> None:
    """Let every other thread go before the calling one, from now on; on Linux a priority is a thread's own."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)
