"""How many connections get a turn: as many as the event loop has time for what they begin."""

import asyncio

import pytest

from serving.http import reading
from serving.http.reading import LOOP_TURN_S, MOST, ParsingTurns


class Clock:
    """Moved by hand."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


class Pipelining:
    """A connection on which each answer is followed by the next request, `work_s` for the loop."""

    parsed = 0  # of all connections

    def __init__(self, turns: ParsingTurns, clock: Clock, work_s: float) -> None:
        self._turns, self._clock, self._work_s = turns, clock, work_s

    def parse(self) -> None:
        Pipelining.parsed += 1
        asyncio.get_running_loop().call_soon(self._answer)

    def _answer(self) -> None:
        self._clock.now_s += self._work_s
        self._turns.wait(self)


@pytest.mark.parametrize(("work_s", "most"), [(0.001, 2 * LOOP_TURN_S / 0.001), (1e-6, MOST)])
def test_connections_get_turns_as_the_loop_has_time(
    work_s: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(reading, "time", clock)

    async def parsed_in_turns() -> list[int]:
        turns, counts = ParsingTurns(asyncio.get_running_loop()), []
        for _ in range(100):
            turns.wait(Pipelining(turns, clock, work_s))
        for _ in range(50):
            before = Pipelining.parsed
            await asyncio.sleep(0)
            counts.append(Pipelining.parsed - before)
        return counts[20:]

    counts = asyncio.run(parsed_in_turns())
    assert max(counts) <= most
    assert sum(counts) > 0.2 * most * len(counts)
