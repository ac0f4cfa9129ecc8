"""From rows to tables: medians over the rounds, ratios within each."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]
Result: TypeAlias = dict[tuple[str, str], Row]  # by subject and server

FIGURES = (
    *("start_s", "idle_mb", "loaded_mb", "after_storm_s", "harmed", "ended_well", "ended_refused"),
    *("burst_answered", "burst_s"),
)
LOADS = ("requests_per_s", "p50_ms", "p99_ms", "cpu_ms")
NOTHING = "-"


def summarize(rows: Iterable[Row]) -> Result:
    """The rounds of each server combined. A server that failed keeps its earlier figures, with the
    reason.
    """
    rounds: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        rounds[row["subject"], row["server"]].append(row)
    return {key: _medians(same) for key, same in rounds.items()}


def tables(result: Result) -> str:
    """A table of throughput and one of behavior for each subject."""
    subjects = list(dict.fromkeys(subject for subject, _ in result))
    return "\n".join(
        _speed(subject, result) + "\n" + _behavior(subject, result) for subject in subjects
    )


def overview(result: Result) -> str:
    """Requests per second at every number of connections, then the behavior with the first
    subject.
    """
    subjects = list(dict.fromkeys(subject for subject, _ in result))
    counts = list(dict.fromkeys(count for row in result.values() for count in row["loads"]))
    head = [f"requests/s at {', '.join(counts)} connections", *subjects]
    lines = [_line(head), _line(["---"] * len(head))]
    for server in dict.fromkeys(server for _, server in result):
        rows = [result.get((subject, server)) for subject in subjects]
        title = next(_title(row) for row in rows if row is not None)
        lines.append(_line([title, *(_rates(row, counts) for row in rows)]))
    return "\n".join(lines) + "\n\n" + _behavior(subjects[0], result)


def _rates(row: Row | None, counts: Sequence[str]) -> str:
    loads = {} if row is None else row["loads"]
    others = sorted({status for load in loads.values() for status in load["other"]})
    rates = (
        f"{loads[count]['requests_per_s']:,.0f}" if count in loads else NOTHING for count in counts
    )
    return " / ".join(rates) + (f"; also {', '.join(map(str, others))}" if others else "")


def _medians(rows: Sequence[Row]) -> Row:
    last = rows[-1]
    merged: Row = {
        name: last.get(name)
        for name in ("title", "version", "garbage", "empty", "beside", "failed")
    }
    merged["failed"] = next((row["failed"] for row in rows if "failed" in row), None)
    merged["raw"] = {batch: median(_raw(row, batch)[0] for row in rows) for batch in last["raw"][0]}
    for name in FIGURES:
        merged[name] = _median(row.get(name) for row in rows)
    counts = [
        count
        for count in rows[0]["asked"]["connections"]
        if any(_load(row, str(count)) for row in rows)
    ]
    merged["loads"] = {str(count): _load_medians(rows, str(count)) for count in counts}
    merged["ratio"] = {str(count): ratio_to_raw(rows, str(count)) for count in counts}
    return merged


def ratio_to_raw(rows: Sequence[Row], count: str) -> float:
    """Requests per second as a share of raw images per second: within each round, then the median.

    Compared with each way to run ONNX Runtime; the lower median counts. Taking the better probe
    within a round would count the machine's noise against the server.
    """
    batch = "1" if count == "1" else "16"
    served = [(row, _load(row, count)["requests_per_s"]) for row in rows if _load(row, count)]
    return min(median(rate / _raw(row, batch)[mode] for row, rate in served) for mode in range(2))


def _raw(row: Row, batch: str) -> list[float]:
    """The mean of the probes around the row, by mode."""
    before, after = (probe[batch] for probe in row["raw"])
    return [(first + second) / 2 for first, second in zip(before, after, strict=True)]


def _load(row: Row, count: str) -> Row:
    found: Row = row.get("loads", {}).get(count, {})
    return found


def _load_medians(rows: Sequence[Row], count: str) -> Row:
    loads = [load for load in (_load(row, count) for row in rows) if load]
    middle: Row = {name: median(load[name] for load in loads) for name in LOADS}
    refused = {int(status) for load in loads for status in load["statuses"]} - {200}
    return middle | {"other": sorted(refused), "lost": sum(load["lost"] for load in loads)}


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _speed(subject: str, result: Result) -> str:
    rows = {server: row for (name, server), row in result.items() if name == subject}
    counts = list(dict.fromkeys(count for row in rows.values() for count in row["loads"]))
    head = [
        f"{subject}: requests/s (p50 / p99 ms)",
        *(f"{count}" for count in counts),
        "of raw at 16",
        "processor ms at 16",
        "raw, batch 1 / 16",
    ]
    lines = [_line(head), _line(["---"] * len(head))]
    for row in rows.values():
        cells = [_rate(row["loads"].get(count)) for count in counts]
        ratio = row["ratio"].get("16")
        lines.append(
            _line(
                [
                    _title(row),
                    *(
                        [f"failed: {row['failed']}"] + [NOTHING] * (len(counts) - 1)
                        if not row["loads"]
                        else cells
                    ),
                    NOTHING if ratio is None else f"{ratio:.3f}",
                    _ms(row["loads"]["16"]["cpu_ms"]) if "16" in row["loads"] else NOTHING,
                    " / ".join(f"{row['raw'][batch]:,.0f}" for batch in ("1", "16")),
                ]
            )
        )
    return "\n".join(lines) + "\n"


def _behavior(subject: str, result: Result) -> str:
    head = [
        f"{subject}",
        "start s",
        "MB idle",
        "MB loaded",
        "garbage",
        "empty",
        "neighbors harmed",
        "burst of 64: answered, s",
        "good again after s",
        "answered of 32 at SIGTERM",
    ]
    lines = [_line(head), _line(["---"] * len(head))]
    for (name, _), row in result.items():
        if name == subject:
            harmed = NOTHING if row["harmed"] is None else f"{row['harmed']:.0f} of {row['beside']}"
            figures = [
                _number(row[figure], digits)
                for figure, digits in (("start_s", 2), ("idle_mb", 0), ("loaded_mb", 0))
            ]
            statuses = [
                NOTHING if row["start_s"] is None else str(row[kind] or "closed")
                for kind in ("garbage", "empty")
            ]
            burst = f"{_number(row['burst_answered'], 0)}, {_number(row['burst_s'], 1)}"
            last = [burst, _number(row["after_storm_s"], 2), _ended(row)]
            lines.append(_line([_title(row), *figures, *statuses, harmed, *last]))
    return "\n".join(lines) + "\n"


def _rate(load: Row | None) -> str:
    if load is None:
        return NOTHING
    others = f"; also {', '.join(map(str, load['other']))}" if load["other"] else ""
    lost = f"; {load['lost']} lost" if load["lost"] else ""
    return (
        f"{load['requests_per_s']:,.0f} ({_ms(load['p50_ms'])} / "
        f"{_ms(load['p99_ms'])}){others}{lost}"
    )


def _ms(value: float) -> str:
    return NOTHING if value != value else f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _ended(row: Row) -> str:
    refused = f", {row['ended_refused']:.0f} refused" if row["ended_refused"] else ""
    return _number(row["ended_well"], 0) + refused


def _title(row: Row) -> str:
    return f"{row['title']} {row['version'] or ''}".strip()


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
