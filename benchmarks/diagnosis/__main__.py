"""How often the inference is right, scene by scene, as a table.

python -m benchmarks.diagnosis [--runs 20] [--seed 1000] [--only SCENE]
"""

import time
from collections import defaultdict

import numpy as np
import typer

from benchmarks.diagnosis.grading import grades, said_of
from benchmarks.diagnosis.scenes import SCENES
from docs.generators.markdown import table

_GRADES = ("who", "since", "healed", "causes", "open")


def main(
    runs: int = typer.Option(20, help="runs of each scene"),
    seed: int = typer.Option(1000, help="seed of the first run"),
    only: str = typer.Option("", help="scenes whose names contain this"),
) -> None:
    """Print the share of runs in which each fact of a scene is right, and mean seconds of work."""
    rows = [_line(name, runs, seed) for name in SCENES if only in name]
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
    typer.run(main)
