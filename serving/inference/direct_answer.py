"""An answer whose receiver is called at once: in place of a future, which costs a turn of the event
loop for each.
"""

import logging
from collections.abc import Callable
from typing import Any, Protocol

logger = logging.getLogger(__name__)


class AnswerFuture(Protocol):
    """What a pending request needs of a future; asyncio's is one. Used on the event loop, except
    `cancelled`.
    """

    def done(self) -> bool:
        """Whether there is an answer or an error, or nobody waits any more."""

    def cancelled(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: Any, /) -> None:
        """Give the answer."""

    def set_exception(self, exception: Exception, /) -> None:
        """Give the error instead."""


class DirectAnswer:
    """Calls `receive(answer, error)` once, with one of the two; with neither if it is cancelled."""

    __slots__ = ("_cancelled", "receive")

    def __init__(self) -> None:
        """Set `receive` before anybody can answer."""
        self.receive: Callable[[Any, Exception | None], None] | None = None
        self._cancelled = False

    def done(self) -> bool:
        """See AnswerFuture."""
        return self.receive is None

    def cancelled(self) -> bool:
        """See AnswerFuture."""
        return self._cancelled

    def set_result(self, result: Any, /) -> None:
        """See AnswerFuture."""
        self._settle(result, None)

    def set_exception(self, exception: Exception, /) -> None:
        """See AnswerFuture."""
        self._settle(None, exception)

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._cancelled = True
        self._settle(None, None)

    def _settle(self, result: Any, error: Exception | None) -> None:
        receive, self.receive = self.receive, None
        if receive is None:
            return
        try:
            receive(result, error)
        except Exception:  # the edge of a request: those of its batch must get their answers
            logger.exception("an answer could not be delivered")
