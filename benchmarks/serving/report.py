"""From rows to tables: medians over the rounds, ratios within each."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]
Result: TypeAlias = dict[tuple[str, str], Row]  # by subject and server

FIGURES = ("start_s", "idle_mb", "loaded_mb", "after_storm_s", "harmed", "ended_well", "ended_refused")
LOADS = ("requests_per_s", "p50_ms", "p99_ms")
NOTHING = "-"


def summarize(rows: Iterable[Row]) -> Result:
    """The rounds of each server combined. A server that failed keeps its earlier figures, with the reason."""
    rounds: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        rounds[row["subject"], row["server"]].append(row)
    return {key: _medians(same) for key, same in rounds.items()}


def tables(result: Result) -> str:
    """A table of throughput and one of behavior for each subject."""
    subjects = list(dict.fromkeys(subject for subject, _ in result))
    return "\n".join(_speed(subject, result) + "\n" + _behavior(subject, result) for subject in subjects)


def goals(result: Result) -> str:
    """Each goal with its figure and whether it was reached. Goals that this run cannot judge are left out."""
    lines = ["| goal | figure | |", "|---|---|---|"]
    for text, figure, met in _judged(result):
        lines.append(f"| {text} | {figure} | {'met' if met else '**missed**'} |")
    return "\n".join(lines) + "\n"


def _medians(rows: Sequence[Row]) -> Row:
    last = rows[-1]
    merged: Row = {name: last.get(name) for name in ("title", "version", "garbage", "empty", "beside", "failed")}
    merged["failed"] = next((row["failed"] for row in rows if "failed" in row), None)
    merged["raw"] = {batch: median(_raw(row, batch)[0] for row in rows) for batch in last["raw"][0]}
    for name in FIGURES:
        merged[name] = _median(row.get(name) for row in rows)
    counts = [count for count in rows[0]["asked"]["connections"] if any(_load(row, str(count)) for row in rows)]
    merged["loads"] = {str(count): _load_medians(rows, str(count)) for count in counts}
    merged["ratio"] = {str(count): ratio_to_raw(rows, str(count)) for count in counts}
    return merged


def ratio_to_raw(rows: Sequence[Row], count: str) -> float:
    """Requests per second as a share of raw images per second: within each round, then the median.

    Compared with each way to run ONNX Runtime; the lower median counts. Taking the better probe within a round would
    count the machine's noise against the server.
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
                    *([f"failed: {row['failed']}"] + [NOTHING] * (len(counts) - 1) if not row["loads"] else cells),
                    NOTHING if ratio is None else f"{ratio:.3f}",
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
        "good again after s",
        "answered of 32 at SIGTERM",
    ]
    lines = [_line(head), _line(["---"] * len(head))]
    for (name, _), row in result.items():
        if name == subject:
            harmed = NOTHING if row["harmed"] is None else f"{row['harmed']:.0f} of {row['beside']}"
            figures = [
                _number(row[figure], digits) for figure, digits in (("start_s", 2), ("idle_mb", 0), ("loaded_mb", 0))
            ]
            statuses = [
                NOTHING if row["start_s"] is None else str(row[kind] or "closed") for kind in ("garbage", "empty")
            ]
            last = [_number(row["after_storm_s"], 2), _ended(row)]
            lines.append(_line([_title(row), *figures, *statuses, harmed, *last]))
    return "\n".join(lines) + "\n"


def _judged(result: Result) -> Iterable[tuple[str, str, bool]]:
    """(goal, figure, met) of each goal that can be judged."""
    on, off, mosec = (partial_rate(result, server) for server in ("candor", "candor-off", "mosec"))

    def p50(subject: str, server: str) -> float | None:
        return _at(result, subject, server, "1", "p50_ms")

    def ratio(subject: str, server: str, count: str) -> float | None:
        return result.get((subject, server), {}).get("ratio", {}).get(count)

    own: Mapping[str, Row] = {subject: row for (subject, server), row in result.items() if server == "candor"}
    single = ratio("resnet18", "candor", "1")
    wanted: list[tuple[str, float | None, Callable[[float], bool], str]] = [
        ("ResNet-18, 16 connections, ledger on: ≥ 0.94 of raw", ratio("resnet18", "candor", "16"), _least(0.94), ".3f"),
        ("the same, against mosec: > 1", _share(on("resnet18"), mosec("resnet18")), _least(1.0), ".2f"),
        (
            "ResNet-18, ledger on against off, 16 connections: ≥ 0.95",
            _share(on("resnet18"), off("resnet18")),
            _least(0.95),
            ".3f",
        ),
        (
            "ResNet-18, 1 connection, time against raw: ≤ 1.05",
            None if single is None else 1 / single,
            _most(1.05),
            ".3f",
        ),
        ("tiny, 16 connections, ledger on, against mosec: ≥ 1", _share(on("tiny"), mosec("tiny")), _least(1.0), ".2f"),
        (
            "tiny, 16 connections, ledger off, against mosec: ≥ 1.4",
            _share(off("tiny"), mosec("tiny")),
            _least(1.4),
            ".2f",
        ),
        ("tiny, alone, ledger on, p50: ≤ 0.8 ms", p50("tiny", "candor"), _most(0.8), ".2f"),
        ("tiny, alone, ledger off, p50: ≤ 0.35 ms", p50("tiny", "candor-off"), _most(0.35), ".2f"),
        ("start to first answer: ≤ 1 s", _largest(own, "start_s"), _most(1.0), ".2f"),
        ("idle memory: ≤ 250 MB", _largest(own, "idle_mb"), _most(250), ".0f"),
        ("good again after the storm: ≤ 1.5 s", _largest(own, "after_storm_s"), _most(1.5), ".2f"),
    ]
    for text, figure, fits, form in wanted:
        if figure is not None:
            yield text, format(figure, form), fits(figure)


def partial_rate(result: Result, server: str) -> Callable[[str], float | None]:
    """Requests per second of `server` at 16 connections, by subject."""
    return lambda subject: _at(result, subject, server, "16", "requests_per_s")


def _at(result: Result, subject: str, server: str, count: str, figure: str) -> float | None:
    load = result.get((subject, server), {}).get("loads", {}).get(count)
    return None if load is None else load[figure]


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _least(limit: float) -> Callable[[float], bool]:
    return lambda figure: figure >= limit


def _most(limit: float) -> Callable[[float], bool]:
    return lambda figure: figure <= limit


def _largest(rows: Mapping[str, Row], figure: str) -> float | None:
    known = [row[figure] for row in rows.values() if row[figure] is not None]
    return max(known) if known else None


def _rate(load: Row | None) -> str:
    if load is None:
        return NOTHING
    others = f"; also {', '.join(map(str, load['other']))}" if load["other"] else ""
    lost = f"; {load['lost']} lost" if load["lost"] else ""
    return f"{load['requests_per_s']:,.0f} ({_ms(load['p50_ms'])} / {_ms(load['p99_ms'])}){others}{lost}"


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
