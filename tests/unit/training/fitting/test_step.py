"""The step: equal loss and gradient in micro-batches, and a preview without side effects."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from training.fitting.step import Step, StepResult
from training.losses import (
    LOSSES,
    LossSettings,
    Objective,
    build_findings_objective,
    build_objective,
)

WEIGHTS = torch.tensor([0.5, 1.0, 2.0])


def batch(
    count: int = 23, *, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 5, generator=generator, dtype=torch.float64).to(dtype)
    return inputs, torch.randint(3, (count,), generator=generator)


def network(
    *, dtype: torch.dtype = torch.float64, dropout: float = 0.0, norm: bool = False
) -> nn.Sequential:
    torch.manual_seed(1)
    middle = nn.BatchNorm1d(8) if norm else nn.Identity()
    return nn.Sequential(
        nn.Linear(5, 8), middle, nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3)
    ).to(dtype)


def stepped(
    module: nn.Module,
    objective: Objective,
    inputs: Tensor,
    labels: Tensor,
    *,
    micro_batch: int | None = None,
) -> tuple[StepResult, list[Tensor]]:
    """The result of a step, and the gradient of the parameters."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    torch.manual_seed(1)
    result = Step(module, objective, optimizer=optimizer, micro_batch=micro_batch)(inputs, labels)
    return result, [
        parameter.grad for parameter in module.parameters() if parameter.grad is not None
    ]


@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float64, 1e-9), (torch.float32, 1e-5)], ids=["float64", "float32"]
)
def test_micro_batches_give_the_loss_and_gradient_of_one_batch(
    dtype: torch.dtype, limit: float
) -> None:
    inputs, labels = batch(dtype=dtype)
    for name in LOSSES:
        one, other = network(dtype=dtype), network(dtype=dtype)
        whole, expected = stepped(one, objective(name), inputs, labels)
        pieces, found = stepped(other, objective(name), inputs, labels, micro_batch=5)
        assert pieces.loss == pytest.approx(whole.loss, abs=limit), name
        assert len(found) == 4
        torch.testing.assert_close(found, expected, rtol=limit, atol=limit)
        torch.testing.assert_close(pieces.logits, whole.logits)


def objective(name: str) -> Objective:
    return build_objective(name, LossSettings(class_weights=WEIGHTS))


def test_a_step_equals_a_plain_step_of_torch() -> None:
    inputs, labels = batch()
    module, other = network(), network()
    result, _ = stepped(module, objective("dca"), inputs, labels)
    logits = other(inputs)
    p, predicted = logits.softmax(dim=1).max(dim=1)
    gap = (p.mean() - (predicted == labels).double().mean()).abs()
    loss = nn.functional.cross_entropy(logits, labels, weight=WEIGHTS.double()) + 10 * gap
    loss.backward()
    assert result.loss == pytest.approx(loss.item())
    torch.testing.assert_close(result.logits, logits.detach())
    for moved, parameter in zip(module.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(moved.detach(), (parameter - 0.1 * parameter.grad).detach())


def test_mixup_is_cross_entropy_with_mixed_labels_as_targets() -> None:
    inputs, labels = batch()
    module = network()
    torch.manual_seed(1)
    mixed, pair = build_objective("mixup", LossSettings()).mixup.mix(inputs, labels)
    assert 0.5 <= pair.weight < 1
    assert not torch.equal(pair.second, labels)
    one_hot = torch.eye(3, dtype=torch.float64)
    targets = torch.lerp(one_hot[pair.second], one_hot[labels], pair.weight)
    expected = nn.functional.cross_entropy(module(mixed), targets)
    result, _ = stepped(module, build_objective("mixup", LossSettings()), inputs, labels)
    assert result.loss == pytest.approx(expected.item())


def test_mixup_of_findings_leaves_out_what_is_unknown() -> None:
    inputs, labels = batch()
    known = torch.nn.functional.one_hot(labels, 3).double()
    known[::2, 1] = torch.nan
    own = build_findings_objective("mixup", LossSettings())
    module = network()
    torch.manual_seed(1)
    mixed, pair = own.mixup.mix(inputs, known)
    logits, cost, weight = module(mixed), 0.0, 0.0
    for part, said in ((pair.weight, pair.first), (1 - pair.weight, pair.second)):
        cells = ~said.isnan()
        each = nn.functional.binary_cross_entropy_with_logits(
            logits[cells], said[cells], reduction="sum"
        )
        cost, weight = cost + part * each.item(), weight + part * cells.sum().item()
    result, _ = stepped(module, own, inputs, known)
    assert result.loss == pytest.approx(cost / weight)


def test_both_passes_over_a_micro_batch_draw_the_same_dropout() -> None:
    """Otherwise the statistics would belong to other logits than the gradient."""
    inputs, labels = batch()
    seen: list[Tensor] = []
    module = network(dropout=0.5)
    module.register_forward_hook(lambda module, args, output: seen.append(output.detach().clone()))
    result, _ = stepped(module, objective("dca"), inputs, labels, micro_batch=8)
    looked, differentiated = seen[:3], seen[3:]
    assert len(seen) == 6
    assert result.logits is not None
    assert torch.equal(torch.cat(looked), torch.cat(differentiated))
    assert torch.equal(torch.cat(looked), result.logits)
    assert result.loss == pytest.approx(objective("dca")(result.logits, labels).item())


def test_the_preview_leaves_batch_norm_unchanged() -> None:
    inputs, labels = batch()
    module, other = network(norm=True), network(norm=True)
    stepped(module, objective("dca"), inputs, labels, micro_batch=12)
    other.train()
    for part in inputs.tensor_split(2):
        other(part)
    assert torch.equal(module[1].running_mean, other[1].running_mean)
    assert module[1].num_batches_tracked == 2


def test_a_loss_that_is_not_finite_changes_no_weights() -> None:
    inputs, labels = batch()
    module = network()
    before = copy.deepcopy(module.state_dict())
    inputs[3, 2] = math.nan
    result, _ = stepped(module, objective("dca"), inputs, labels)
    assert math.isnan(result.loss)
    assert all(torch.equal(now, before[name]) for name, now in module.state_dict().items())


def test_half_precision_is_for_the_forward_pass_alone() -> None:
    inputs, labels = batch(64, dtype=torch.float32)
    module = network(dtype=torch.float32)
    kinds: list[torch.dtype] = []
    module[4].register_forward_hook(lambda module, args, output: kinds.append(output.dtype))
    step = Step(
        module, objective("dca"), optimizer=torch.optim.SGD(module.parameters(), lr=0.1), amp=True
    )
    result = step(inputs, labels)
    assert kinds == [torch.bfloat16]
    assert result.loss == pytest.approx(
        objective("dca")(result.logits.double(), labels).item(), abs=1e-5
    )
