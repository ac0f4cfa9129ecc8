"""The parts of the soak: each runs by itself, returns its figures, and raises if something was
lost.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.soak import composed, siege
from tests.soak.fuzz import fuzz
from tests.soak.soak import soak


@dataclass(frozen=True)
class Sizes:
    """How much is run: kills a database, broken requests, minutes of storm."""

    kills: int
    requests: int
    minutes: float
    seed: int


@dataclass(frozen=True)
class Figures:
    """What a part measured, and the goal that it missed, if it missed one."""

    text: str
    failure: str | None = None


def harm(database: str, sizes: Sizes) -> Figures:
    """Kills and other events; everything acknowledged is there afterwards."""
    with tempfile.TemporaryDirectory(prefix="candor-soak-") as folder:
        say = partial(print, flush=True)
        outcomes = soak(Path(folder), database, kills=sizes.kills, seed=sizes.seed, say=say)
    last, victims = outcomes[-1], Counter(outcome.victim for outcome in outcomes)
    events = ", ".join(f"{count} x {victim}" for victim, count in sorted(victims.items()))
    return Figures(
        f"{events}; {last.answers:,} answers and {last.labels:,} labels acknowledged, none lost, "
        "none counted twice; "
        f"{last.failed:,} requests refused"
    )


def broken_requests(sizes: Sizes) -> Figures:
    """Broken requests; never a 5xx, a trace or growing memory."""
    tenth = sizes.requests // 10
    with tempfile.TemporaryDirectory(prefix="candor-fuzz-") as folder:
        found = fuzz(
            Path(folder), requests=9 * tenth, examples=tenth, seed=sizes.seed, say=lambda _: None
        )
    return Figures(f"{found}; no 5xx, no trace")


def schemathesis(_: Sizes) -> Figures:
    """Requests made from the description of the API."""
    environment = os.environ | {"FUZZ_EXAMPLES": "200"}
    command = [sys.executable, "-m", "pytest", "-q", "tests/e2e/test_serving_schemathesis.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    return Figures(last, None if done.returncode == 0 else done.stdout[-1500:])


def storm(sizes: Sizes) -> Figures:
    """Many more connections than a server can answer, all retrying at once."""
    with tempfile.TemporaryDirectory(prefix="candor-storm-") as folder:
        file = Path(folder) / "storm.json"
        command = [
            sys.executable,
            "-m",
            "benchmarks.serving.storm",
            "--minutes",
            str(sizes.minutes),
            "--json",
            file,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(done.stdout, flush=True)
        found = json.loads(file.read_text())
    text = (
        f"{sizes.minutes:g} min: {found['good_per_s']:.0f} good answers a second, "
        f"{found['of_peak']:.2f} of the peak, "
        f"p99 {found['p99_s']:.2f} s, {found['p99_of_bound']:.2f} of what 64 images needed just "
        "then, "
        f"recovery {found['recovery_s']:.2f} s, memory grew by {found['growth_mb']:.0f} MB"
    )
    return Figures(text, None if done.returncode == 0 else done.stderr.strip())


def hostile_bodies(_: Sizes) -> Figures:
    """Every hostile body, one after the other."""
    found = siege.besiege(())
    shown = ", ".join(
        f"{name} {value}" for name, value in found.summary.items() if name != "faulty"
    )
    return Figures(shown, found.failure)


def demo(_: Sizes) -> Figures:
    """The demo of compose.yaml, at its own pace."""
    with tempfile.TemporaryDirectory(prefix="candor-compose-") as folder:
        found = composed.watch_demo(Path(folder))
    late = found["dashboard_s"] > composed.GOAL_S
    text = (
        f"alarm on the dashboard after {found['dashboard_s']} s, in Alertmanager after "
        f"{found['alertmanager_s']} s"
    )
    return Figures(text, f"over {composed.GOAL_S:.0f} s" if late else None)


PARTS: Final[dict[str, Callable[[Sizes], Figures]]] = {
    "sqlite": partial(harm, "sqlite"),
    "postgresql": partial(harm, "postgresql"),
    "fuzz": broken_requests,
    "schemathesis": schemathesis,
    "siege": hostile_bodies,
    "storm": storm,
    "compose": demo,
}
