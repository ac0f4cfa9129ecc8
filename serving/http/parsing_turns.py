"""Connections whose input is much work for the parser take turns, so that they cannot hold up the
event loop: together they get TURN_S of each of its turns. Requests that they begin are work for the
loop's next turn, so fewer connections get a turn while that takes longer than LOOP_TURN_S.
"""

import asyncio
import time
from collections import deque
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.flow_control import FlowControl

TURN_S: Final = 0.002
LOOP_TURN_S: Final = 0.005
MOST: Final = 64


class Parsing(Protocol):
    """Something with input that it has not parsed yet."""

    def parse(self) -> None:
        """Parse a little of it, and call `ParsingTurns.wait` again if there is more."""


class HeldFlow(FlowControl):
    """uvicorn's flow control, which reads nothing while it is held, whoever resumes it. It ends the
    connection of a client that reads nothing of its answers for `unread_s`.
    """

    held = False

    def __init__(self, transport: asyncio.Transport, unread_s: float) -> None:
        super().__init__(transport)
        self._unread_s = unread_s
        self._unread: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        abort = self._transport.abort
        self._unread = asyncio.get_running_loop().call_later(self._unread_s, abort)

    def resume_writing(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
        super().resume_writing()

    def hold(self, held: bool) -> None:
        """Read nothing from now on, or go on."""
        if held != self.held:
            self.held = held
            if not self.read_paused:
                (self._transport.pause_reading if held else self._transport.resume_reading)()

    def pause_reading(self) -> None:
        if self.held:
            self.read_paused = True
        else:
            super().pause_reading()

    def resume_reading(self) -> None:
        if self.held:
            self.read_paused = False
        else:
            super().resume_reading()


class ParsingTurns:
    """The connections of one event loop that wait to be parsed, in the order of arrival."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Parsing] = deque()
        self._scheduled = False
        self._most = MOST  # connections that are parsed in a turn

    def wait(self, connection: Parsing) -> None:
        """Call `parse` of `connection` when its turn has come. It must not wait already."""
        self._waiting.append(connection)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._scheduled = False
        begun_s = time.monotonic()
        for _ in range(min(self._most, len(self._waiting))):
            self._waiting.popleft().parse()
            if time.monotonic() - begun_s > TURN_S:
                break
        self._loop.call_soon(self._weigh, begun_s)  # after what these have begun
        if self._waiting:
            self._schedule()

    def _weigh(self, begun_s: float) -> None:
        is_slow = time.monotonic() - begun_s > LOOP_TURN_S
        self._most = max(self._most // 2, 1) if is_slow else min(self._most + 1, MOST)


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, ParsingTurns] = WeakKeyDictionary()


def parsing_turns(loop: asyncio.AbstractEventLoop) -> ParsingTurns:
    if loop not in _turns:
        _turns[loop] = ParsingTurns(loop)
    return _turns[loop]
