"""The counters by model, version and finding, most of them also by confidence bin: arrays behind
one lock.

So a scrape sees whole transactions, never an answer's n without its confidence. Reading the client
library's own counters costs ten times as much, and each version or finding has 165 of these series.
Shown are those registered or counted last, as many as `versions.within_bound` lets.

Prometheus' increase() starts at the first value that it has read. So it reads a version's counters
at zero first, whatever was counted since the process or the version began, and the counts from its
next read on. This also makes a restart visible when more is counted before the next read than the
old process had counted in all. A read that takes longer than Prometheus waits is lost with its
zero, and Prometheus then closes the connection. So a zero has arrived once a read follows on its
connection, or, behind proxies that keep none, after `ZERO_READS`.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from calibration.bins import BIN_COUNT
from monitoring.ledger.versions import within_bound

BIN_LABELS = tuple(f"{bin_number:02d}" for bin_number in range(BIN_COUNT))
ZERO_READS: Final = 10  # so many are hardly all lost
_CONNECTION: ContextVar[object] = ContextVar("connection", default=None)


@contextmanager
def read_by_prometheus(connection: object) -> Iterator[None]:
    """Within this block Prometheus reads, on `connection`, a hashable name of it.

    Any other reader sees the counts at once.
    """
    token = _CONNECTION.set(connection)
    try:
        yield
    finally:
        _CONNECTION.reset(token)


@dataclass(frozen=True, eq=False)
class BinCounter:
    """A counter: its name without `_total`, further labels, and whether it counts by bin."""

    name: str
    help: str
    labels: tuple[tuple[str, str], ...] = ()
    by_bin: bool = True


class Series(NamedTuple):
    """Whose series: a version, or a finding of it; `finding`: '' of exclusive classes."""

    model: str
    version: str
    finding: str = ""


@dataclass
class _ZeroReads:
    """How Prometheus has read a version at zero: since when, on which connections, how often."""

    first_s: float
    connections: set[object] = field(default_factory=set)
    reads: int = 0
    arrived: bool = False


class BinCounters(Collector):
    """The sums of all counters; `create` starts a version at zero.

    Prometheus reads a version's counts when the zero has arrived, and `zero_s` seconds have passed
    since it was first read: with several Prometheus servers, the time for each to read it.
    """

    def __init__(
        self,
        columns: Sequence[BinCounter],
        *,
        zero_s: float = 0.0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._columns = {column: number for number, column in enumerate(columns)}
        # (counters, bins); least recently used first
        self._sums: dict[Series, list[list[float]]] = {}
        # in the order of the sums, made once
        self._labels: dict[Series, list[list[dict[str, str]]]] = {}
        self._zeros: dict[Series, _ZeroReads] = {}
        self._zero_s, self._clock_s = zero_s, clock_s
        self._lock = threading.Lock()

    def create(self, series: Series) -> list[Series]:
        """Show a version's series, at zero if new; return those no longer shown."""
        with self._lock:
            self._touch(series)
            return self._forget_oldest(series.model)

    def add(
        self, series: Series, changes: Iterable[tuple[int, Mapping[BinCounter, float]]]
    ) -> None:
        """Add a transaction's (bin number, amount by counter), atomically for readers."""
        with self._lock:
            sums = self._touch(series)
            for bin_number, amounts in changes:
                for column, amount in amounts.items():
                    sums[self._columns[column]][bin_number] += amount

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples."""
        return self._families().values()

    def collect(self) -> Iterable[Metric]:
        """Return every counter of every version, as of between two transactions."""
        connection = _CONNECTION.get()
        with self._lock:
            held = {
                key
                for key in self._labels
                if connection is not None and self._is_held(key, connection)
            }
            shown = [
                (labels, _zeros(len(labels)) if key in held else list(map(list, self._sums[key])))
                for key, labels in self._labels.items()
            ]
        families = self._families()
        for column, number in self._columns.items():
            name, samples = f"{column.name}_total", families[column.name].samples
            for labels, sums in shown:
                samples += [
                    Sample(name, label, n)
                    for label, n in zip(labels[number], sums[number], strict=False)
                ]
        return families.values()

    def _families(self) -> dict[str, Metric]:
        return {
            column.name: Metric(column.name, column.help, "counter") for column in self._columns
        }

    def _is_held(self, key: Series, connection: object) -> bool:
        """Return whether Prometheus, which reads now, still has to see this version at zero."""
        now_s = self._clock_s()
        zeros = self._zeros.setdefault(key, _ZeroReads(now_s))
        zeros.arrived |= connection in zeros.connections or zeros.reads == ZERO_READS
        held = not zeros.arrived or now_s < zeros.first_s + self._zero_s
        if held:
            zeros.connections.add(connection)
            zeros.reads += 1
        return held

    def _touch(self, key: Series) -> list[list[float]]:
        sums = self._sums.pop(key, None)
        if sums is None:
            sums = _zeros(len(self._columns))
            self._labels[key] = [_labels(key, column) for column in self._columns]
        self._sums[key] = sums
        return sums

    def _forget_oldest(self, model: str) -> list[Series]:
        shown = [key for key in reversed(self._sums) if key.model == model]
        kept = within_bound([key[1:] for key in shown])
        forgotten = [key for key in shown if key[1:] not in kept]
        for key in forgotten:
            del self._sums[key], self._labels[key]
            self._zeros.pop(key, None)
        return forgotten


def _zeros(counters: int) -> list[list[float]]:
    return [[0.0] * BIN_COUNT for _ in range(counters)]


def _labels(series: Series, column: BinCounter) -> list[dict[str, str]]:
    where = series._asdict()
    if not column.by_bin:
        return [where | dict(column.labels)]
    return [where | {"bin": label} | dict(column.labels) for label in BIN_LABELS]
