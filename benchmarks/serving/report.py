"""From rows to tables: medians over the rounds, ratios within each."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, TypeAlias

from docs.generators.markdown import table

Row: TypeAlias = dict[str, Any]
Result: TypeAlias = dict[tuple[str, str], Row]  # by subject and server

KEPT = ("title", "version", "garbage", "empty", "beside")
FIGURES = ("start_s", "idle_mb", "loaded_mb", "after_storm_s", "harmed", "ended_well")
FIGURES += ("ended_refused", "burst_answered", "burst_s")
BEHAVIOR = ("start s", "MB idle", "MB loaded", "garbage", "empty", "neighbors harmed")
BEHAVIOR += ("burst of 64: answered, s", "good again after s", "answered of 32 at SIGTERM")
NOTHING = "-"


def summarize(rows: Iterable[Row]) -> Result:
    """The rounds of each server combined. A server that failed keeps its earlier figures."""
    rounds: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        rounds[row["subject"], row["server"]].append(row)
    return {key: _medians(same) for key, same in rounds.items()}


def overview(result: Result) -> str:
    """Requests per second at each number of connections, then the first subject's behavior."""
    subjects = list(dict.fromkeys(subject for subject, _ in result))
    counts = list(dict.fromkeys(count for row in result.values() for count in row["loads"]))
    lines = []
    for server in dict.fromkeys(server for _, server in result):
        rows = [result.get((subject, server)) for subject in subjects]
        title = next(_title(row) for row in rows if row is not None)
        lines.append([title, *(_rates(row, counts) for row in rows)])
    speed = table([f"requests/s at {', '.join(counts)} connections", *subjects], lines)
    first = [row for (subject, _), row in result.items() if subject == subjects[0]]
    return f"{speed}\n\n{table([subjects[0], *BEHAVIOR], map(_behavior, first))}\n"


def ratio_to_raw(rows: Sequence[Row], count: str) -> float:
    """Requests per second as a share of raw images per second: within each round, then the median.

    Compared with each way to run ONNX Runtime; the lower median counts. Taking the better probe
    within a round would count the machine's noise against the server.
    """
    batch = "1" if count == "1" else "16"
    rates = [(row, _load(row, count)["requests_per_s"]) for row in rows if _load(row, count)]
    return min(median(rate / _raw(row, batch)[mode] for row, rate in rates) for mode in range(2))


def _medians(rows: Sequence[Row]) -> Row:
    last, counts = rows[-1], list(map(str, rows[0]["asked"]["connections"]))
    merged: Row = {name: last.get(name) for name in KEPT}
    merged["failed"] = next((row["failed"] for row in rows if "failed" in row), None)
    merged["raw"] = {batch: median(_raw(row, batch)[0] for row in rows) for batch in last["raw"][0]}
    for name in FIGURES:
        values = [row[name] for row in rows if row.get(name) is not None]
        merged[name] = median(values) if values else None
    measured = [count for count in counts if any(_load(row, count) for row in rows)]
    merged["loads"] = {count: _load_medians(rows, count) for count in measured}
    merged["ratio"] = {count: ratio_to_raw(rows, count) for count in measured}
    return merged


def _raw(row: Row, batch: str) -> list[float]:
    """The mean of the probes around the row, by mode."""
    before, after = (probe[batch] for probe in row["raw"])
    return [(first + second) / 2 for first, second in zip(before, after, strict=True)]


def _load(row: Row, count: str) -> Row:
    return dict(row.get("loads", {}).get(count, {}))


def _load_medians(rows: Sequence[Row], count: str) -> Row:
    loads = [load for load in (_load(row, count) for row in rows) if load]
    refused = {int(status) for load in loads for status in load["statuses"]} - {200}
    rate = median(load["requests_per_s"] for load in loads)
    return {"requests_per_s": rate, "other": sorted(refused)}


def _rates(row: Row | None, counts: Sequence[str]) -> str:
    loads = {} if row is None else row["loads"]
    others = sorted({status for load in loads.values() for status in load["other"]})
    rates = (
        f"{loads[count]['requests_per_s']:,.0f}" if count in loads else NOTHING for count in counts
    )
    return " / ".join(rates) + (f"; also {', '.join(map(str, others))}" if others else "")


def _behavior(row: Row) -> list[str]:
    digits = {"start_s": 2, "idle_mb": 0, "loaded_mb": 0}
    harmed = NOTHING if row["harmed"] is None else f"{row['harmed']:.0f} of {row['beside']}"
    refused = f", {row['ended_refused']:.0f} refused" if row["ended_refused"] else ""
    return [
        _title(row),
        *(_number(row[name], count) for name, count in digits.items()),
        *(NOTHING if row["start_s"] is None else str(row[kind] or "closed") for kind in KEPT[2:4]),
        harmed,
        f"{_number(row['burst_answered'], 0)}, {_number(row['burst_s'], 1)}",
        _number(row["after_storm_s"], 2),
        _number(row["ended_well"], 0) + refused,
    ]


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _title(row: Row) -> str:
    return f"{row['title']} {row['version'] or ''}".strip()
