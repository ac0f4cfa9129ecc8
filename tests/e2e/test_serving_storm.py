"""A storm: many more connections than can be served, that ask again at once."""

import asyncio

import pytest

from benchmarks.serving.behavior import first_good_s
from benchmarks.serving.exchange import Request
from benchmarks.serving.load import Crowd, Tally
from model_store.store.store import Store
from tests.builders.bundles import png
from tests.builders.processes import wait_until
from tests.builders.servers import SERVE, Server, Start

pytestmark = pytest.mark.nightly

GROWTH_MB = 60
FEW_HELD = (
    "from serving.http import prediction; prediction.REFUSAL_HOLD_S = 0.2; "
    "prediction.REFUSAL_LIMIT = 100"
)


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


def storm_until_refused(server: Server, request: Request) -> Tally:
    """Rounds of 1.5 s until a request was refused and a connection closed."""
    total = Tally()

    def refused() -> bool:
        once = asyncio.run(storm(server.port, request.encode(), connections=256, seconds=1.5))
        total.statuses += once.statuses
        total.retry_after_s += once.retry_after_s
        total.closed += once.closed
        return total.statuses[429] > 0 and total.closed > 0

    wait_until(refused)
    return total


def test_a_storm_is_refused_honestly_and_leaves_nothing_behind(
    start: Start, slow_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some refusals are held, those beyond the limit lose their connection."""
    monkeypatch.setattr(Server, "code", f"{FEW_HELD}\n{SERVE}")
    server = start(slow_store, deadline_s="0.3")
    request = Request("/predictions/tiny", "image/png", png(size=(96, 96)))
    first = storm_until_refused(server, request)
    before_mb = server.memory_mb
    second = storm_until_refused(server, request)
    assert {429} <= set(first.statuses + second.statuses) <= {200, 429}
    assert second.retry_after_s.total() == second.statuses[429]
    assert all(wait.isdigit() and 1 <= int(wait) <= 60 for wait in second.retry_after_s)
    assert server.memory_mb - before_mb < GROWTH_MB
    recovered_s = first_good_s(server.port, request)
    assert recovered_s is not None
    assert recovered_s < 30
    assert '"trace"' not in server.log()
