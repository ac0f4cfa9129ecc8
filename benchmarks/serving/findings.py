"""`python -m benchmarks.serving.findings`: what 14 findings cost, beside one answer of two classes.

The same network, images and load: the server's processor time for an answer, ledger included. In
each round both are started, loaded and stopped in turn, and only the ratio within a round counts.
"""

import argparse
import sys
from dataclasses import replace
from statistics import median
from typing import Final

from benchmarks.serving.row import measure
from benchmarks.serving.subjects import SUBJECTS, Subject

FINDINGS: Final = tuple(f"finding {number}" for number in range(1, 15))
GOAL: Final = 1.3


def main() -> int:
    """Measure and print; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", nargs="+", default=["densenet121", "resnet18", "tiny"])
    parser.add_argument("--server", default="candor", help="candor, or candor-off: no ledger")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    missed = False
    for name in options.subjects:
        ratios = []
        pair = [(each, each.onnx()) for each in _pair(SUBJECTS[name])]
        for number in range(options.rounds):
            costs = [_cpu_ms(options, *each) for each in (pair if number % 2 else pair[::-1])]
            classes, findings = costs if number % 2 else costs[::-1]
            ratios.append(findings / classes)
            print(f"{name}: {classes:.3f} ms, {findings:.3f} ms, ratio {ratios[-1]:.2f}")
        print(f"{name}: median ratio {median(ratios):.2f}, goal {GOAL}")
        missed |= median(ratios) > GOAL
    return int(missed)


def _pair(subject: Subject) -> tuple[Subject, Subject]:
    return subject, replace(subject, findings=FINDINGS)


def _cpu_ms(options: argparse.Namespace, subject: Subject, onnx: bytes) -> float:
    """Processor time of the server for an answer, in milliseconds."""
    count = options.connections
    row = measure(
        *(options.server, subject, onnx),
        connections=[count],
        seconds=options.seconds,
        loads_only=True,
    )
    if "failed" in row:
        sys.exit(f"{subject.name}: {row['failed']}")
    cost: float = row["loads"][str(count)]["cpu_ms"]
    return cost


if __name__ == "__main__":
    sys.exit(main())
