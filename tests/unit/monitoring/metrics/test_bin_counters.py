import threading

from prometheus_client import CollectorRegistry

from monitoring.ledger.visible_versions import VISIBLE_VERSIONS
from monitoring.metrics.bin_counters import BinCounter, BinCounters

ANSWERS = BinCounter("answers", "Answers.")
SUMS = BinCounter("sums", "Their confidence.")
UP, DOWN = (BinCounter("moves", "Moves.", (("to", to),)) for to in ("up", "down"))


def test_series_are_born_at_zero_and_add_up() -> None:
    registry, counters = CollectorRegistry(), BinCounters((ANSWERS, UP, DOWN))
    registry.register(counters)
    assert counters.create("m", "1") == []
    where = {"model": "m", "version": "1", "bin": "03"}
    assert registry.get_sample_value("answers_total", where) == 0
    counters.add("m", "1", [(3, {ANSWERS: 2.5}), (3, {ANSWERS: 1, DOWN: 1})])
    counters.create("m", "1")  # again: nothing is lost
    assert registry.get_sample_value("answers_total", where) == 3.5
    assert registry.get_sample_value("moves_total", where | {"to": "down"}) == 1
    assert registry.get_sample_value("moves_total", where | {"to": "up"}) == 0
    assert len(list(registry.collect())) == 2


def test_of_a_model_only_so_many_versions_are_shown_and_the_busy_ones_stay() -> None:
    counters = BinCounters((ANSWERS,))
    counters.create("other", "1")
    for version in range(VISIBLE_VERSIONS):
        assert counters.create("m", str(version)) == []
    counters.add("m", "0", [(0, {ANSWERS: 1})])
    assert counters.create("m", "new") == [("m", "1")]
    (family,) = counters.collect()
    shown = {(sample.labels["model"], sample.labels["version"]) for sample in family.samples}
    assert len(shown) == VISIBLE_VERSIONS + 1
    assert {("m", "0"), ("m", "new"), ("other", "1")} <= shown
    assert ("m", "1") not in shown


def test_a_reader_never_sees_half_a_transaction() -> None:
    counters, stop = BinCounters((ANSWERS, SUMS)), threading.Event()
    counters.create("m", "1")

    def write() -> None:
        while not stop.is_set():
            counters.add("m", "1", [(number, {ANSWERS: 1, SUMS: 0.5}) for number in range(15)])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            answers, sums = counters.collect()
            assert [sample.value for sample in sums.samples] == [sample.value / 2 for sample in answers.samples]
            assert len({sample.value for sample in answers.samples}) == 1
    finally:
        stop.set()
        writer.join()
