"""When the ledger is tried again, and what is said about it."""

import threading
from collections.abc import Iterator

import pytest
from prometheus_client import Gauge

from monitoring.recording.fallback import FIRST_PAUSE_S, LONGEST_PAUSE_S, Outage
from tests.builders.processes import PATIENCE_S

AWAY = OSError("away")


class Bench:
    """An outage whose probes fail until `back`."""

    def __init__(self) -> None:
        self.back = False
        self.tried, self.over = threading.Event(), threading.Event()
        self.gauge = Gauge("away", "", registry=None)
        self.outage = Outage(self.probe, self.gauge, over=self.over.set)

    def probe(self) -> None:
        self.tried.set()
        if not self.back:
            raise AWAY


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    bench.outage._pause_s = 0.001
    yield bench
    bench.outage.close()


def test_the_ledger_is_tried_less_and_less_often(bench: Bench) -> None:
    pauses: list[float] = []

    class Over(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0.0)
            return len(pauses) > 5

    bench.outage._pause_s = FIRST_PAUSE_S
    bench.outage._try_again(Over())
    assert pauses == [1, 2, 4, 5, 5, 5]
    assert LONGEST_PAUSE_S == 5


def test_an_outage_is_one_line_and_its_end_another(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        bench.back = False
        bench.over.clear()
        for _ in range(3):
            bench.outage.begin(AWAY, left_alone=True)
        assert (bench.outage.lasts, bench.outage.left_alone) == (True, True)
        assert bench.gauge._value.get() == 1
        bench.back = True
        assert bench.over.wait(PATIENCE_S)
        assert (bench.outage.lasts, bench.outage.left_alone) == (False, False)
        assert bench.gauge._value.get() == 0
    assert [message.split(",")[0] for message in caplog.messages] == [
        "the ledger failed",
        "the ledger is back",
    ] * 2


def test_a_probe_that_returns_late_does_not_end_the_next_outage(bench: Bench) -> None:
    late: list[threading.Thread] = []

    def probe() -> None:
        late.append(threading.current_thread())
        bench.outage.reached()
        bench.outage.begin(AWAY, left_alone=True)  # tried again after FIRST_PAUSE_S
        bench.outage._probe = bench.probe

    bench.outage._probe = probe
    bench.outage.begin(AWAY, left_alone=True)
    assert bench.over.wait(PATIENCE_S)
    late[0].join(PATIENCE_S)
    assert (bench.outage.lasts, bench.outage.left_alone) == (True, True)
    assert bench.gauge._value.get() == 1


def test_an_outage_that_begins_while_one_ends_is_shown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = threading.Thread(target=bench.outage.begin, args=(AWAY,), kwargs={"left_alone": True})
    set_gauge = bench.gauge.set

    def interrupted(value: float) -> None:
        if value == 0 and not begin.ident:
            begin.start()
            begin.join(0.2)  # as long as it takes where nothing holds it up
        set_gauge(value)

    monkeypatch.setattr(bench.gauge, "set", interrupted)
    bench.outage.begin(AWAY, left_alone=True)
    bench.outage.reached()
    begin.join(PATIENCE_S)
    assert bench.outage.lasts
    assert bench.gauge._value.get() == 1
