"""Servers with several fronts, and connections to each of them."""

from typing import Final

from tests.builders.processes import children, wait_until
from tests.builders.servers import Server

CONNECTIONS: Final = (
    32  # of which each front gets some: 32 that avoid one of four are one run in 10,000
)


def front_pids(server: Server) -> list[int]:
    """The process ids of the fronts that run."""
    return children(server.process.pid, "serving.process.front")


def all_fronts(server: Server, count: int, *, without: int | None = None) -> list[int]:
    """The process ids of `count` fronts, once they run; `without` is that of one that must have
    ended.
    """
    return wait_until(
        lambda: len(found := front_pids(server)) == count and without not in found and found
    )
