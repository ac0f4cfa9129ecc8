"""The lowest priority, for threads that must not slow down the others."""

import os
import threading
from typing import Final

LOWEST: Final = 19


def lower_priority() -> None:
    """Give the calling thread the lowest priority. On Linux each thread has a priority of its
    own.
    """
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)
