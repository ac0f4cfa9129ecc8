"""`candor promote --wait`: what each server really serves after a promotion."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import httpx

from model_store.addresses import shown_address
from serving.client import Client, RetryPolicy, ServerRefused

LOOK_S = 0.5
ANSWER_S = 5.0


@dataclass(frozen=True)
class Served:
    """The version that a server has in production, None for none, and what is wrong with it."""

    url: str
    version: int | None
    problem: str | None = None

    def __str__(self) -> str:
        version = f"serves version {self.version}" if self.version else "does not serve the model"
        return f"{self.url} {version}{f': {self.problem}' if self.problem else ''}"


def wait_for(
    urls: Iterable[str], model: str, version: int, *, token: str | None, limit_s: float
) -> list[Served]:
    """Ask each server until it serves `version`, for at most `limit_s` in all."""
    end_s = time.monotonic() + limit_s
    found = []
    for url in urls:
        with Client(url, token=token, timeout_s=ANSWER_S, retry=RetryPolicy(attempts=1)) as client:
            while (served := _ask(client, shown_address(url), model)).version != version:
                if time.monotonic() + LOOK_S > end_s:
                    break
                time.sleep(LOOK_S)
        found.append(served)
    return found


def _ask(client: Client, url: str, model: str) -> Served:
    try:
        listing = client.models()
        versions = {each["name"]: each["production"] for each in listing["models"]}
        refused = listing["refused"].get(model)
    except (httpx.HTTPError, ServerRefused) as error:
        return Served(url, None, f"it cannot be asked: {error}")
    except (ValueError, KeyError, TypeError, AttributeError):
        return Served(url, None, "this is no `candor serve`")
    problem = refused and f"it refuses version {refused['version']}: {refused['reason']}"
    return Served(url, versions.get(model), problem)
