"""The health checks of a process, which need no token."""

from functools import partial
from typing import Final, Literal

from msgspec import Struct
from starlette.requests import Request

from monitoring.http.endpoint import Endpoint


class Alive(Struct, frozen=True):
    """The process runs."""

    status: Literal["alive"] = "alive"


class LifeRoute:
    async def healthz(self, _: Request) -> Alive:
        return Alive()


health_check = partial(Endpoint, method="GET", tag="health", scope=None)
HEALTHZ: Final = health_check(
    path="/healthz", handler=LifeRoute.healthz, summary="Whether the process lives."
)
