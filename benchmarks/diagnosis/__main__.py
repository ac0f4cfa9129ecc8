"""How often the inference is right, scene by scene, as a table."""

import argparse
import time
from collections import defaultdict

import numpy as np

from docs.generators.markdown import table
from tests.builders.diagnosis.grading import grades, said_of
from tests.builders.diagnosis.scenes import SCENES

_GRADES = ("who", "since", "healed", "causes", "open")


def main() -> None:
    """Print the share of runs in which each fact of a scene is right, and mean seconds of work."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diagnosis", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="runs of each scene [20]")
    parser.add_argument("--seed", type=int, default=1000, help="seed of the first run [1000]")
    parser.add_argument("--only", default="", help="scenes whose names contain this")
    chosen = parser.parse_args()
    rows = [_line(name, chosen.runs, chosen.seed) for name in SCENES if chosen.only in name]
    print(table(("scene", *_GRADES, "seconds"), rows))


def _line(name: str, runs: int, seed: int) -> tuple[str, ...]:
    right: dict[str, list[bool]] = defaultdict(list)
    seconds = 0.0
    for run in range(runs):
        world = SCENES[name].build(np.random.default_rng([seed + run, len(name)]))
        started = time.process_time()
        said = said_of(world)
        seconds += time.process_time() - started
        for grade, ok in grades(SCENES[name].truth, said).items():
            right[grade].append(ok)
    shares = [f"{np.mean(right[each]):.2f}" if right[each] else "" for each in _GRADES]
    return (name, *shares, f"{seconds / runs:.3f}")


if __name__ == "__main__":
    main()
