"""The goals, and whether a run reached them."""

from collections.abc import Callable, Iterable, Mapping

from benchmarks.serving.report import Result, Row

SMALL = ("resnet18", "tiny")  # images as large as the input
RADIOGRAPHS = ("radiograph", "radiograph-dicom")


def goals(result: Result) -> str:
    """Each goal with its figure and whether it was reached. Goals that this run cannot judge are
    left out.
    """
    lines = ["| goal | figure | |", "|---|---|---|"]
    for text, figure, met in _judged(result):
        lines.append(f"| {text} | {figure} | {'met' if met else '**missed**'} |")
    return "\n".join(lines) + "\n"


def _judged(result: Result) -> Iterable[tuple[str, str, bool]]:
    """(goal, figure, met) of each goal that can be judged."""
    on, off, mosec = (partial_rate(result, server) for server in ("candor", "candor-off", "mosec"))

    def ratio(subject: str, server: str, count: str) -> float | None:
        return result.get((subject, server), {}).get("ratio", {}).get(count)

    own: Mapping[str, Row] = {
        subject: row for (subject, server), row in result.items() if server == "candor"
    }
    small = {subject: row for subject, row in own.items() if subject in SMALL}
    single = ratio("resnet18", "candor", "1")
    wanted: list[tuple[str, float | None, Callable[[float], bool], str]] = [
        (
            "ResNet-18, 16 connections, ledger on: ≥ 0.94 of raw",
            ratio("resnet18", "candor", "16"),
            _least(0.94),
            ".3f",
        ),
        (
            "the same, against mosec: > 1",
            _share(on("resnet18"), mosec("resnet18")),
            _least(1.0),
            ".2f",
        ),
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
        ("start to first answer: ≤ 1 s", _largest(small, "start_s"), _most(1.0), ".2f"),
        ("idle memory: ≤ 250 MB", _largest(small, "idle_mb"), _most(250), ".0f"),
        (
            "good again after the storm: ≤ 1.5 s",
            _largest(small, "after_storm_s"),
            _most(1.5),
            ".2f",
        ),
        *_radiographs(result),
        (
            "bursts of 64 to an idle server: 64 answered",
            _smallest(own, "burst_answered"),
            _least(64),
            ".0f",
        ),
    ]
    for text, figure, fits, form in wanted:
        if figure is not None:
            yield text, format(figure, form), fits(figure)


def _radiographs(
    result: Result,
) -> Iterable[tuple[str, float | None, Callable[[float], bool], str]]:
    for subject in RADIOGRAPHS:
        ratio = result.get((subject, "candor"), {}).get("ratio", {}).get("16")
        yield (
            f"{subject}, 16 connections: ≥ 0.9 of decoding and inference alone",
            ratio,
            _least(0.9),
            ".3f",
        )
        peers = {
            server for name, server in result if name == subject and not server.startswith("candor")
        }
        shares = []
        for count in ("1", "16", "64"):
            rates = [_at(result, subject, server, count, "requests_per_s") for server in peers]
            best = max((rate for rate in rates if rate is not None), default=None)
            shares.append(_share(_at(result, subject, "candor", count, "requests_per_s"), best))
        yield (
            f"{subject}, 1, 16 and 64 connections, against the fastest peer, the least: > 1",
            min((share for share in shares if share is not None), default=None),
            _least(1.0),
            ".2f",
        )


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


def _smallest(rows: Mapping[str, Row], figure: str) -> float | None:
    return min((row[figure] for row in rows.values() if row[figure] is not None), default=None)


def _largest(rows: Mapping[str, Row], figure: str) -> float | None:
    return max((row[figure] for row in rows.values() if row[figure] is not None), default=None)
