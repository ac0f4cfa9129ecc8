"""Connections that ask again as soon as they are refused."""

import asyncio

from benchmarks.serving.load import Crowd, Tally


class Always:
    """A window in which every answer counts."""

    def holds(self, _: float, *, good: bool) -> bool:
        """Always."""
        return True


async def storm(port: int, request: bytes, *, connections: int, seconds: float) -> Tally:
    """Run `connections` for `seconds`, and count every answer."""
    crowd = Crowd(port, [request])
    await asyncio.gather(*(crowd.join(number) for number in range(connections)))
    crowd.window = Always()
    await asyncio.sleep(seconds)
    crowd.end()
    return crowd.tally
