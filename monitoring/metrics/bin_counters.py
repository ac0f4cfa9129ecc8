"""The counters by model, version and confidence bin: arrays that one lock guards.

A scrape therefore sees whole transactions: never an answer's n without its confidence. The client library's own
counters cost ten times as much to read, and there are 135 of these series for each version. Of one model, no more
versions are shown than VISIBLE_VERSIONS: those that were registered or counted last.
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
    """One column: a counter of this name (without `_total`), by further labels if it has any."""

    name: str
    help: str
    labels: tuple[tuple[str, str], ...] = ()


class BinCounters(Collector):
    """Every column's sums, born at zero with `birth`."""

    def __init__(self, columns: Sequence[BinCounter]) -> None:
        self._columns = {column: number for number, column in enumerate(columns)}
        self._sums: dict[tuple[str, str], npt.NDArray[np.float64]] = {}  # (columns, bins); least recently used first
        self._labels: dict[tuple[str, str], list[list[dict[str, str]]]] = {}  # as the sums, made once
        self._lock = threading.Lock()

    def birth(self, model: str, version: str) -> list[tuple[str, str]]:
        """Show a version's series, at zero if they are new; returns the versions that are shown no more for it."""
        with self._lock:
            self._touch((model, version))
            return self._forget_oldest(model)

    def add(self, model: str, version: str, changes: Iterable[tuple[int, Mapping[BinCounter, float]]]) -> None:
        """Add what a transaction did to a version: (bin number, amount by column), all at once for who reads."""
        with self._lock:
            sums = self._touch((model, version))
            for bin_number, amounts in changes:
                for column, amount in amounts.items():
                    sums[self._columns[column], bin_number] += amount

    def describe(self) -> Iterable[Metric]:
        """The families without samples."""
        return self._families().values()

    def collect(self) -> Iterable[Metric]:
        """Every column of every version, as it is between two transactions."""
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
