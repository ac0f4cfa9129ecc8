import threading

from prometheus_client import CollectorRegistry

from monitoring.ledger.versions import VISIBLE_VERSIONS
from monitoring.metrics.counters import (
    ZERO_READS,
    BinCounter,
    BinCounters,
    Series,
    read_by_prometheus,
)

ANSWERS = BinCounter("answers", "Answers.")
SUMS = BinCounter("sums", "Their confidence.")
UP, DOWN = (BinCounter("moves", "Moves.", (("to", to),)) for to in ("up", "down"))


def test_series_are_born_at_zero_and_add_up() -> None:
    registry, counters = CollectorRegistry(), BinCounters((ANSWERS, UP, DOWN))
    registry.register(counters)
    assert counters.create(Series("m", "1")) == []
    where = {"model": "m", "version": "1", "finding": "", "bin": "03"}
    assert registry.get_sample_value("answers_total", where) == 0
    counters.add(Series("m", "1"), [(3, {ANSWERS: 2.5}), (3, {ANSWERS: 1, DOWN: 1})])
    counters.create(Series("m", "1"))  # again: nothing is lost
    assert registry.get_sample_value("answers_total", where) == 3.5
    assert registry.get_sample_value("moves_total", where | {"to": "down"}) == 1
    assert registry.get_sample_value("moves_total", where | {"to": "up"}) == 0
    assert len(list(registry.collect())) == 2


def total(counters: BinCounters, *, prometheus: bool, connection: int = 1) -> float:
    if prometheus:
        with read_by_prometheus(connection):
            return total(counters, prometheus=False)
    (family,) = counters.collect()
    return sum(sample.value for sample in family.samples)


def test_prometheus_reads_the_zero_before_the_counts_and_nobody_else_has_to() -> None:
    counters = BinCounters((ANSWERS,))
    counters.create(Series("m", "1"))
    counters.add(Series("m", "1"), [(3, {ANSWERS: 577})])  # before anybody read
    assert [total(counters, prometheus=False) for _ in range(2)] == [577, 577]
    assert [total(counters, prometheus=True) for _ in range(3)] == [0, 577, 577]
    counters.create(Series("m", "1"))  # again
    # a new version: its own zero, while the other goes on
    counters.add(Series("m", "2"), [(3, {ANSWERS: 3})])
    assert [total(counters, prometheus=True) for _ in range(2)] == [577, 580]


def test_a_zero_that_prometheus_did_not_wait_for_is_shown_again() -> None:
    """Prometheus closes a connection whose answer came too late."""
    counters = BinCounters((ANSWERS,))
    counters.add(Series("m", "1"), [(3, {ANSWERS: 577})])
    connections = (1, 2, 2, 3)
    assert [
        total(counters, prometheus=True, connection=connection) for connection in connections
    ] == [0, 0, 577, 577]


def test_counts_are_shown_where_no_connection_lasts() -> None:
    counters = BinCounters((ANSWERS,))
    counters.add(Series("m", "1"), [(3, {ANSWERS: 577})])
    seen = [total(counters, prometheus=True, connection=number) for number in range(ZERO_READS + 2)]
    assert seen == [0] * ZERO_READS + [577] * 2


def test_several_prometheus_servers_have_time_to_read_the_zero() -> None:
    now_s = [100.0]
    counters = BinCounters((ANSWERS,), zero_s=60, clock_s=lambda: now_s[0])
    counters.add(Series("m", "1"), [(3, {ANSWERS: 5})])
    seen = []
    for now_s[0] in (100.0, 107.0, 159.9, 160.0, 167.0):
        seen.append(total(counters, prometheus=True))
    assert seen == [0, 0, 0, 5, 5]


def test_a_version_that_comes_back_is_read_at_zero_again() -> None:
    counters = BinCounters((ANSWERS,))
    counters.add(Series("m", "old"), [(0, {ANSWERS: 1})])
    assert [total(counters, prometheus=True) for _ in range(2)] == [0, 1]
    for version in range(VISIBLE_VERSIONS):
        counters.create(Series("m", str(version)))
    counters.add(Series("m", "old"), [(0, {ANSWERS: 2})])
    assert [total(counters, prometheus=True) for _ in range(2)] == [0, 2]


def test_of_a_model_only_so_many_versions_are_shown_and_the_busy_ones_stay() -> None:
    counters = BinCounters((ANSWERS,))
    counters.create(Series("other", "1"))
    for version in range(VISIBLE_VERSIONS):
        assert counters.create(Series("m", str(version))) == []
    counters.add(Series("m", "0"), [(0, {ANSWERS: 1})])
    assert counters.create(Series("m", "new")) == [Series("m", "1")]
    (family,) = counters.collect()
    shown = {(sample.labels["model"], sample.labels["version"]) for sample in family.samples}
    assert len(shown) == VISIBLE_VERSIONS + 1
    assert {("m", "0"), ("m", "new"), ("other", "1")} <= shown
    assert ("m", "1") not in shown


def test_a_reader_never_sees_half_a_transaction() -> None:
    counters, stop = BinCounters((ANSWERS, SUMS)), threading.Event()
    counters.create(Series("m", "1"))

    def write() -> None:
        while not stop.is_set():
            counters.add(
                Series("m", "1"), [(number, {ANSWERS: 1, SUMS: 0.5}) for number in range(15)]
            )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            answers, sums = counters.collect()
            assert [sample.value for sample in sums.samples] == [
                sample.value / 2 for sample in answers.samples
            ]
            assert len({sample.value for sample in answers.samples}) == 1
    finally:
        stop.set()
        writer.join()
