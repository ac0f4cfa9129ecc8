"""The counters by model, version and confidence bin: arrays behind one lock.

So a scrape sees whole transactions, never an answer's n without its confidence. Reading the client library's own
counters costs ten times as much, and each version has 135 of these series. At most VISIBLE_VERSIONS versions of a model
are shown: those registered or counted last.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from calibration.bins import BIN_COUNT
from monitoring.ledger.visible_versions import VISIBLE_VERSIONS

BIN_LABELS = tuple(f"{bin_number:02d}" for bin_number in range(BIN_COUNT))


class BinCounter(NamedTuple):
    """One counter: its name without `_total`, and further labels."""

    name: str
    help: str
    labels: tuple[tuple[str, str], ...] = ()


class BinCounters(Collector):
    """The sums of all counters; `create` starts a version at zero."""

    def __init__(self, columns: Sequence[BinCounter]) -> None:
        self._columns = {column: number for number, column in enumerate(columns)}
        self._sums: dict[tuple[str, str], npt.NDArray[np.float64]] = {}  # (counters, bins); least recently used first
        self._labels: dict[tuple[str, str], list[list[dict[str, str]]]] = {}  # in the order of the sums, made once
        self._lock = threading.Lock()

    def create(self, model: str, version: str) -> list[tuple[str, str]]:
        """Show a version's series, at zero if they are new; return the versions that are no longer shown."""
        with self._lock:
            self._touch((model, version))
            return self._forget_oldest(model)

    def add(self, model: str, version: str, changes: Iterable[tuple[int, Mapping[BinCounter, float]]]) -> None:
        """Add what a transaction did to a version, (bin number, amount by counter), atomically for readers."""
        with self._lock:
            sums = self._touch((model, version))
            for bin_number, amounts in changes:
                for column, amount in amounts.items():
                    sums[self._columns[column], bin_number] += amount

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples."""
        return self._families().values()

    def collect(self) -> Iterable[Metric]:
        """Return every counter of every version, as of between two transactions."""
        with self._lock:
            shown = [(labels, self._sums[key].tolist()) for key, labels in self._labels.items()]
        families = self._families()
        for column, number in self._columns.items():
            name, samples = f"{column.name}_total", families[column.name].samples
            for labels, sums in shown:
                samples += [Sample(name, label, n) for label, n in zip(labels[number], sums[number], strict=True)]
        return families.values()

    def _families(self) -> dict[str, Metric]:
        return {column.name: Metric(column.name, column.help, "counter") for column in self._columns}

    def _touch(self, key: tuple[str, str]) -> npt.NDArray[np.float64]:
        sums = self._sums.pop(key, None)
        if sums is None:
            sums = np.zeros((len(self._columns), BIN_COUNT))
            self._labels[key] = [_labels(*key, column) for column in self._columns]
        self._sums[key] = sums
        return sums

    def _forget_oldest(self, model: str) -> list[tuple[str, str]]:
        shown = [key for key in self._sums if key[0] == model]
        forgotten = shown[:-VISIBLE_VERSIONS]
        for key in forgotten:
            del self._sums[key], self._labels[key]
        return forgotten


def _labels(model: str, version: str, column: BinCounter) -> list[dict[str, str]]:
    return [{"model": model, "version": version, "bin": label} | dict(column.labels) for label in BIN_LABELS]
