"""Where Prometheus finds the metrics of replicas: `Directory`, an actor to which they report.

Replicas come and go, on any node and port. Each reports its address every BEAT_S seconds, and is
forgotten KEPT_S after its last report. If the directory is started again after its node was lost,
its list is whole only after KEPT_S; until then it gives none, so that Prometheus keeps the list
that it has.
"""

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any, Final

from msgspec import Struct
from starlette.requests import Request

from hosting.errors import NotReady
from monitoring.http.endpoint import Endpoint

logger = logging.getLogger(__name__)

NAME: Final = "candor-metric-targets"
NAMESPACE: Final = "candor"
BEAT_S: Final = 3.0
KEPT_S: Final = 10.0
ANSWER_S: Final = 5.0  # within which the directory answers, or counts as away


class Directory:
    """The addresses that were reported; Ray runs it as an actor."""

    def __init__(self, *, restarted: bool, now_s: float | None = None) -> None:
        """`restarted`: whether an earlier one was lost, and its list with it."""
        self._reported_s: dict[str, float] = {}
        self._whole_s = _now(now_s) + (KEPT_S if restarted else 0)

    def report(self, address: str, now_s: float | None = None) -> None:
        self._reported_s[address] = _now(now_s)

    def withdraw(self, address: str) -> None:
        self._reported_s.pop(address, None)

    def addresses(self, now_s: float | None = None) -> list[str] | None:
        """All addresses, sorted; None while some may be missing.

        >>> directory = Directory(restarted=True, now_s=0)
        >>> directory.report("10.0.0.2:41000", now_s=1)
        >>> [directory.addresses(now_s=at_s) for at_s in (2, 10.5, 12)]
        [None, ['10.0.0.2:41000'], []]
        """
        at_s = _now(now_s)
        self._reported_s = {
            address: seen_s
            for address, seen_s in self._reported_s.items()
            if at_s - seen_s <= KEPT_S
        }
        return sorted(self._reported_s) if at_s >= self._whole_s else None


class TargetGroup(Struct, frozen=True):
    """A list of targets, as Prometheus' HTTP service discovery reads it."""

    targets: list[str]
    labels: dict[str, str]


class TargetRoutes:
    async def get(self, _: Request) -> list[TargetGroup]:
        try:
            addresses = await asyncio.wait_for(asyncio.to_thread(_ask), 2 * ANSWER_S)
        except Exception as error:  # noqa: BLE001  # Ray's own, of many kinds; Prometheus keeps its list
            raise NotReady(
                f"the list of replicas cannot be read now ({type(error).__name__})."
            ) from None
        if addresses is None:
            raise NotReady("the list of replicas is being made again.")
        return [TargetGroup(targets=addresses, labels={})]


TARGETS: Final = Endpoint(
    method="GET",
    path="/metrics/targets",
    scope="read",
    handler=TargetRoutes.get,
    tag="metrics",
    summary="Where the metrics of each replica are, for Prometheus' HTTP service discovery.",
    refuses=(NotReady,),
)


async def keep_reporting(address: str) -> None:
    """Report a replica's address until cancelled, then withdraw it."""
    try:
        while True:
            await _tell("report", address)
            await asyncio.sleep(BEAT_S)
    finally:
        await _tell("withdraw", address)


def end_directory(ray: Any) -> None:
    with suppress(ValueError):
        ray.kill(ray.get_actor(NAME, namespace=NAMESPACE))


async def _tell(what: str, address: str) -> None:
    try:
        await asyncio.to_thread(_call, what, address)
    except Exception as error:  # noqa: BLE001  # Ray's own, of many kinds; the next report comes soon
        logger.warning(
            "the list of replicas cannot be reached", extra={"fields": {"error": repr(error)[:300]}}
        )


def _ask() -> list[str] | None:
    addresses: list[str] | None = _call("addresses")
    return addresses


def _call(method: str, *arguments: str) -> Any:
    import ray

    return ray.get(getattr(_directory(ray), method).remote(*arguments), timeout=ANSWER_S)


def _directory(ray: Any) -> Any:
    """The actor, which the first replica makes; Ray starts it again where its node is lost."""
    try:
        return ray.get_actor(NAME, namespace=NAMESPACE)
    except ValueError:
        options = {"name": NAME, "namespace": NAMESPACE, "get_if_exists": True}
        options |= {"lifetime": "detached", "num_cpus": 0, "max_restarts": -1}
        return ray.remote(DirectoryActor).options(**options).remote()


class DirectoryActor(Directory):
    """A Directory that asks Ray whether it was lost before."""

    def __init__(self) -> None:
        import ray

        super().__init__(restarted=ray.get_runtime_context().was_current_actor_reconstructed)


def _now(given_s: float | None) -> float:
    return time.monotonic() if given_s is None else given_s
