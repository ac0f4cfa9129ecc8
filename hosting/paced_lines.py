"""Lines of a log that clients cause: so many a second, and one that counts the others."""

import asyncio
import logging
import math
import time
from typing import Any, Final

LINES: Final = 10  # a second


class PacedLines:
    """Lines with one message. Use it on the event loop."""

    def __init__(self, logger: logging.Logger, message: str) -> None:
        self._logger, self._message = logger, message
        self._begun_s, self._written = -math.inf, 0
        self._held, self._last = 0, dict[str, Any]()
        _paced.append(self)

    def write(self, fields: dict[str, Any]) -> None:
        """Write a line, or count it in one that follows within a second."""
        wait_s = self._begun_s + 1 - time.monotonic()
        if wait_s <= 0:
            self._begin()
        if self._written < LINES:
            self._log(fields)
            return
        self._last = fields
        self._held += 1
        if self._held == 1:
            asyncio.get_running_loop().call_later(wait_s, self._begin)

    def flush(self) -> None:
        """Write the line that counts others now, because the server ends."""
        self._begin()
        self._begun_s = -math.inf

    def _begin(self) -> None:
        self._begun_s, self._written = time.monotonic(), 0
        if self._held:
            self._log(self._last | {"count": self._held})
            self._held = 0

    def _log(self, fields: dict[str, Any]) -> None:
        self._written += 1
        self._logger.info(self._message, extra={"fields": fields})


_paced: Final = list[PacedLines]()


def flush_lines() -> None:
    """Write what lines of this process still count, before it ends."""
    for lines in _paced:
        lines.flush()
