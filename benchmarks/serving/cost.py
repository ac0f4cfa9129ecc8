"""`python -m benchmarks.serving.cost`: what a scope check, or 14 findings, cost beside the same
network with two classes and without a check.

The same images and load. In each round both are started, loaded and stopped in turn, and only the
ratio within a round counts: of the server's processor time for an answer, ledger included; of the
time of an answer over HTTP; and of the graph alone on one decoded image.
"""

import argparse
import sys
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Final

from torch import nn
from torchvision.models import mobilenet_v3_small

from benchmarks.serving.probe import raw_images_per_s
from benchmarks.serving.row import measure
from benchmarks.serving.subjects import SUBJECTS, Subject
from model_store.installation import usable_cores

FINDINGS: Final = tuple(f"finding {number}" for number in range(1, 15))
PROBES: Final = 10  # of the graph alone; the fastest counts, because others use the cores
GOALS: Final = {"findings": ("cpu", 1.3), "scope": ("answer", 1.1)}  # what counts, and the most


def _mobilenet(outputs: int) -> nn.Module:
    return mobilenet_v3_small(num_classes=outputs)


MOBILENET: Final = Subject("mobilenet", _mobilenet, channels=3, side=112, encoding="JPEG", noise=12)
KNOWN: Final = SUBJECTS | {"mobilenet": MOBILENET}


def main() -> int:
    """Measure and print; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("of", choices=GOALS)
    parser.add_argument("--subjects", nargs="+", default=["tiny", "mobilenet", "resnet18"])
    parser.add_argument("--server", default="candor", help="candor, or candor-off: no ledger")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    counts, most = GOALS[options.of]
    missed = False
    for name in options.subjects:
        ratios = _ratios(options, KNOWN[name])
        for what, found in ratios.items():
            print(
                f"{name}, {what}: ratio {median(found):.3f} ({min(found):.3f} to {max(found):.3f})"
            )
            missed |= what.startswith(counts) and median(found) > most
    return int(missed)


def _ratios(options: argparse.Namespace, subject: Subject) -> dict[str, list[float]]:
    """By what was measured, the ratio of each round."""
    pair = [(each, each.onnx()) for each in (subject, _with(options.of, subject))]
    ratios: dict[str, list[float]] = {}
    for number in range(options.rounds):
        given = [_costs_ms(options, *each) for each in (pair if number % 2 else pair[::-1])]
        without, with_it = given if number % 2 else given[::-1]
        for what, cost in with_it.items():
            ratios.setdefault(what, []).append(cost / without[what])
            print(f"{subject.name}, {what}: {without[what]:.4f} ms, {cost:.4f} ms", flush=True)
    return ratios


def _with(what: str, subject: Subject) -> Subject:
    return (
        replace(subject, findings=FINDINGS) if what == "findings" else replace(subject, scope=True)
    )


def _costs_ms(options: argparse.Namespace, subject: Subject, onnx: bytes) -> dict[str, float]:
    """Milliseconds of the graph alone, and of an answer: processor time, and until it is there."""
    shape = (subject.channels, subject.side, subject.side)
    rate = partial(raw_images_per_s, onnx, shape=shape, threads=usable_cores(), batch=1)
    rates = [rate(spinning=False, seconds=options.seconds / 40) for _ in range(PROBES)]
    costs = {"graph alone": 1e3 / max(rates)}
    asked = {"connections": options.connections, "seconds": options.seconds}
    row = measure(options.server, subject, onnx, loads_only=True, **asked)
    if "failed" in row:
        sys.exit(f"{subject.name}: {row['failed']}")
    for count, load in row["loads"].items():
        costs |= {f"cpu, {count} connections": load["cpu_ms"]}
        costs |= {f"answer, {count} connections": load["p50_ms"]}
    return costs


if __name__ == "__main__":
    sys.exit(main())
