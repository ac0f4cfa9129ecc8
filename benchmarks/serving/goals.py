"""The goals, and whether a run reached them."""

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from benchmarks.serving.report import Result, Row
from docs.generators.markdown import table

SMALL = ("resnet18", "tiny")  # images as large as the input
RADIOGRAPHS = ("radiograph", "radiograph-dicom")
COUNTS = ("1", "16", "64")
SIGNS: dict[str, Callable[[float, float], bool]] = {
    "≥": operator.ge,
    "≤": operator.le,
    ">": operator.gt,
}
# What is measured, the figure if this run has it, its decimals, the sign and the limit.
Goal: TypeAlias = tuple[str, float | None, int, str, float, str]


def goals(result: Result) -> str:
    """Each goal with its figure and whether it was reached, if this run can judge it."""
    return table(
        ("goal", "figure", ""),
        (
            (
                f"{name}: {sign} {limit:g}{unit}",
                f"{figure:.{digits}f}",
                "met" if SIGNS[sign](figure, limit) else "**missed**",
            )
            for name, figure, digits, sign, limit, unit in _goals(result)
            if figure is not None
        ),
    )


def _goals(result: Result) -> Iterator[Goal]:
    own = {subject: row for (subject, server), row in result.items() if server == "candor"}
    small = [row for subject, row in own.items() if subject in SMALL]
    on, off, mosec = (
        _rate(result, "resnet18", server, "16") for server in ("candor", "candor-off", "mosec")
    )
    lone = _ratio(result, "resnet18", "1")
    at_16 = _ratio(result, "resnet18", "16")
    yield "ResNet-18, 16 connections, ledger on", at_16, 3, "≥", 0.94, " of raw"
    yield "the same, against mosec", _share(on, mosec), 2, ">", 1, ""
    share = _share(on, off)
    yield "ResNet-18, ledger on against off, 16 connections", share, 3, "≥", 0.95, ""
    yield "ResNet-18, 1 connection, time against raw", lone and 1 / lone, 3, "≤", 1.05, ""
    yield "start to first answer", _largest(small, "start_s"), 2, "≤", 1, " s"
    yield "idle memory", _largest(small, "idle_mb"), 0, "≤", 250, " MB"
    yield "good again after the storm", _largest(small, "after_storm_s"), 2, "≤", 1.5, " s"
    for subject in RADIOGRAPHS:
        ratio = _ratio(result, subject, "16")
        alone = " of decoding and inference alone"
        yield f"{subject}, 16 connections", ratio, 3, "≥", 0.9, alone
        least = min(_shares_of_best_peer(result, subject), default=None)
        text = "1, 16 and 64 connections, against the fastest peer, the least"
        yield f"{subject}, {text}", least, 2, ">", 1, ""
    answered = [row["burst_answered"] for row in own.values() if row["burst_answered"] is not None]
    yield "bursts of 64 to an idle server", min(answered, default=None), 0, "≥", 64, " answered"


def _shares_of_best_peer(result: Result, subject: str) -> Iterator[float]:
    peers = {
        server for name, server in result if name == subject and not server.startswith("candor")
    }
    for count in COUNTS:
        rates = [rate for peer in peers if (rate := _rate(result, subject, peer, count))]
        share = _share(_rate(result, subject, "candor", count), max(rates, default=None))
        if share is not None:
            yield share


def _ratio(result: Result, subject: str, count: str) -> float | None:
    """Candor's throughput as a share of raw throughput."""
    return result.get((subject, "candor"), {}).get("ratio", {}).get(count)


def _rate(result: Result, subject: str, server: str, count: str) -> float | None:
    load = result.get((subject, server), {}).get("loads", {}).get(count)
    return None if load is None else load["requests_per_s"]


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _largest(rows: Iterable[Row], figure: str) -> float | None:
    return max((row[figure] for row in rows if row[figure] is not None), default=None)
