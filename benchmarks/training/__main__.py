"""The time that a loss adds to a training step, compared with cross-entropy in the same run.

Two steps are measured: a head on cached features, as `candor train` does by default, and a whole
ResNet-18. Each loss has its own copy of the network. The losses alternate on one batch, in an order
that changes with every turn, and medians count. A difference of two medians contains the noise of
the machine, so the loss is also timed alone, forward and backward on logits: `alone` is the time it
takes beyond cross-entropy, as a share of the step of cross-entropy.

    python -m benchmarks.training --losses dca mmce soft-ece --subjects head
"""

import argparse
from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from docs.generators.markdown import table
from training.fitting.step import Step
from training.losses import LossSettings, build_objective
from training.networks.heads import Head
from training.processes.distributed import Group

CLASSES = 2
WARM_UP = 5


class StepKind(NamedTuple):
    """A kind of step: the network, the shape of its inputs, and how many turns suffice."""

    network: Callable[[], nn.Module]
    shape: tuple[int, ...]
    turns: int


STEP_KINDS = {
    "head": StepKind(
        lambda: Head((1280, 4, 4), class_count=CLASSES, reduction=4), (64, 1280, 4, 4), turns=100
    ),
    "resnet18": StepKind(lambda: resnet18(num_classes=CLASSES), (16, 3, 64, 64), turns=30),
}


def measure(kind: StepKind, losses: list[str]) -> dict[str, tuple[float, float]]:
    """Median seconds of a step and of the loss alone, for each loss."""
    inputs, labels = torch.randn(kind.shape), torch.randint(CLASSES, kind.shape[:1])
    steps, objectives = {}, {}
    for name in losses:
        torch.manual_seed(0)
        network, objectives[name] = kind.network(), build_objective(name, LossSettings())
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-5)
        steps[name] = Step(network, objectives[name], optimizer=optimizer, group=Group())
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in losses}
    for turn in range(WARM_UP + kind.turns):
        for name in losses[turn % len(losses) :] + losses[: turn % len(losses)]:
            began_s = perf_counter()
            steps[name](inputs, labels)
            step_s = perf_counter() - began_s
            loss_s = differentiated_s(objectives[name], labels)
            if turn >= WARM_UP:
                times[name].append((step_s, loss_s))
    return {
        name: (median(step_s for step_s, _ in pairs), median(loss_s for _, loss_s in pairs))
        for name, pairs in times.items()
    }


def differentiated_s(objective: Callable[[Tensor, Tensor], Tensor], labels: Tensor) -> float:
    """Seconds of the loss of random logits and its gradient."""
    began_s = perf_counter()
    objective(torch.randn(len(labels), CLASSES, requires_grad=True), labels).backward()
    return perf_counter() - began_s


def rows(name: str, losses: list[str]) -> Iterator[tuple[str, ...]]:
    """The rows of one kind of step; cross-entropy is always the first."""
    times = measure(STEP_KINDS[name], ["ce", *(loss for loss in losses if loss != "ce")])
    step_s, loss_s = times["ce"]
    for loss, (own_s, alone_s) in times.items():
        added, alone = (own_s - step_s) / step_s, (alone_s - loss_s) / step_s
        yield name, loss, f"{1000 * own_s:.2f}", f"{added:+.1%}", f"{alone:+.1%}"


def main() -> None:
    """Print a row per kind of step and loss."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--losses", nargs="+", default=["dca"])
    parser.add_argument("--subjects", nargs="+", choices=STEP_KINDS, default=list(STEP_KINDS))
    options = parser.parse_args()
    torch.set_num_threads(1)  # as in training a head
    lines = [row for name in options.subjects for row in rows(name, options.losses)]
    print(table(("step", "loss", "median ms", "added", "alone"), lines))


if __name__ == "__main__":
    main()
