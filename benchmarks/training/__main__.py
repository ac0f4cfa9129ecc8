"""The time that a loss adds to a training step, compared with cross-entropy in the same run.

Two steps are measured: a head on cached features, as `candor train` does by default, and a whole
ResNet-18. Each loss has its own copy of the network. The losses alternate on one batch, in an order
that changes with every turn, and medians count. A difference of two medians contains the noise of
the machine, so the loss is also timed alone, forward and backward on logits: `alone` is the time it
takes beyond cross-entropy, as a share of the step of cross-entropy.

    python -m benchmarks.training
    python -m benchmarks.training --losses dca mmce soft-ece --subjects head --turns 400 --json
    FILE
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from training.fitting.step import Step
from training.losses import LossSettings, build_objective
from training.networks.heads import Head
from training.processes.distributed import Group

CLASSES = 2
WARM_UP = 5


@dataclass(frozen=True)
class StepKind:
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


@dataclass(frozen=True)
class LossCost:
    """Median milliseconds of a step, and the time that the loss adds, as shares of the step of
    cross-entropy.
    """

    subject: str
    loss: str
    step_ms: float
    added: float
    alone: float


def measure(subject: StepKind, losses: list[str], *, turns: int) -> dict[str, tuple[float, float]]:
    """Median seconds of a step and of the loss alone, for each loss."""
    inputs, labels = torch.randn(subject.shape), torch.randint(CLASSES, subject.shape[:1])
    steps, alone = {}, {}
    for name in losses:
        torch.manual_seed(0)
        network, objective = subject.network(), build_objective(name, LossSettings())
        steps[name] = Step(
            network,
            objective,
            optimizer=torch.optim.Adam(network.parameters(), lr=1e-5),
            group=Group(),
        )
        alone[name] = objective
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in losses}
    for turn in range(WARM_UP + turns):
        for name in losses[turn % len(losses) :] + losses[: turn % len(losses)]:
            step_s = timed(lambda name=name: steps[name](inputs, labels))  # type: ignore[misc]
            loss_s = timed(lambda name=name: differentiate(alone[name], labels))  # type: ignore[misc]
            if turn >= WARM_UP:
                times[name].append((step_s, loss_s))
    return {
        name: (median(s for s, _ in pairs), median(a for _, a in pairs))
        for name, pairs in times.items()
    }


def differentiate(objective: Callable[[Tensor, Tensor], Tensor], labels: Tensor) -> None:
    """Compute the loss of random logits and its gradient."""
    objective(torch.randn(len(labels), CLASSES, requires_grad=True), labels).backward()


def timed(work: Callable[[], object]) -> float:
    """Seconds of calling `work`."""
    start = perf_counter()
    work()
    return perf_counter() - start


def rows(name: str, losses: list[str], *, turns: int | None) -> list[LossCost]:
    """The rows of one kind of step; cross-entropy is always the first."""
    subject = STEP_KINDS[name]
    found = measure(
        subject, ["ce", *(loss for loss in losses if loss != "ce")], turns=turns or subject.turns
    )
    step_s, loss_s = found["ce"]
    return [
        LossCost(name, loss, 1000 * own, (own - step_s) / step_s, (alone - loss_s) / step_s)
        for loss, (own, alone) in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--losses", nargs="+", default=["dca"])
    parser.add_argument("--subjects", nargs="+", choices=list(STEP_KINDS), default=list(STEP_KINDS))
    parser.add_argument(
        "--turns", type=int, help="steps per loss; by default enough for each subject"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)  # as in training a head
    table = [
        row for name in options.subjects for row in rows(name, options.losses, turns=options.turns)
    ]
    print("| step | loss | median ms | added | alone |\n|---|---|---|---|---|")
    for row in table:
        print(
            f"| {row.subject} | {row.loss} | {row.step_ms:.2f} | {row.added:+.1%} | "
            f"{row.alone:+.1%} |"
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in table], indent=2) + "\n")


if __name__ == "__main__":
    main()
