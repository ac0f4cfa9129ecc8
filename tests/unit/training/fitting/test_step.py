"""The step: equal loss and gradient in micro-batches, a preview without side effects, and mixed
views.
"""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from training.fitting.step import LabeledBatch, Step, StepResult
from training.losses import LOSSES, LossSettings, Mixup, Objective, build_objective

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
    held: LabeledBatch | None = None,
) -> tuple[StepResult, list[Tensor]]:
    """The result of a step, and the gradient of the parameters."""
    generator = torch.Generator().manual_seed(5)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    step = Step(
        module, objective, optimizer=optimizer, micro_batch=micro_batch, generator=generator
    )
    result = step(inputs, labels, held)
    return result, [
        parameter.grad for parameter in module.parameters() if parameter.grad is not None
    ]


@pytest.mark.parametrize("name", [*LOSSES, "dca+mixup"])
@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float64, 1e-9), (torch.float32, 1e-5)], ids=["float64", "float32"]
)
def test_micro_batches_give_the_loss_and_gradient_of_one_batch(
    name: str, dtype: torch.dtype, limit: float
) -> None:
    inputs, labels = batch(dtype=dtype)
    whole, expected = stepped(network(dtype=dtype), objective(name), inputs, labels)
    pieces, found = stepped(network(dtype=dtype), objective(name), inputs, labels, micro_batch=5)
    assert pieces.loss == pytest.approx(whole.loss, abs=limit)
    assert len(found) == 4
    torch.testing.assert_close(found, expected, rtol=limit, atol=limit)
    assert pieces.logits is not None
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
    loss = nn.functional.cross_entropy(logits, labels, weight=WEIGHTS.double()) + 2 * gap
    loss.backward()
    assert result.loss == pytest.approx(loss.item())
    torch.testing.assert_close(result.logits, logits.detach())
    for moved, parameter in zip(module.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(moved.detach(), (parameter - 0.1 * parameter.grad).detach())


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


class TestMixup:
    def test_the_main_term_sees_the_mixed_view_and_the_gap_the_clean_one(self) -> None:
        inputs, labels = batch()
        module = network()
        mixed = Mixup(alpha=0.2)(inputs, labels, torch.Generator().manual_seed(5))
        z, clean = module(mixed.inputs), module(inputs)
        parts = [nn.functional.cross_entropy(z, y).item() for y in (mixed.first, mixed.second)]
        main = mixed.weight * parts[0] + (1 - mixed.weight) * parts[1]
        p, predicted = clean.softmax(dim=1).max(dim=1)
        gap = (p.mean() - (predicted == labels).double().mean()).abs().item()
        result, _ = stepped(
            module, build_objective("dca+mixup", LossSettings(beta=7.0)), inputs, labels
        )
        assert result.loss == pytest.approx(
            main + 7 * gap, rel=1e-6
        )  # the mixed labels are float32
        torch.testing.assert_close(result.logits, clean.detach())

    def test_without_auxiliary_terms_the_clean_view_leaves_no_trace(self) -> None:
        inputs, labels = batch()
        module, other = network(norm=True), network(norm=True)
        result, _ = stepped(module, build_objective("mixup", LossSettings()), inputs, labels)
        torch.testing.assert_close(result.logits, other(inputs).detach())
        assert module[1].num_batches_tracked == 1

    def test_mixing_is_a_blend_of_pairs_and_takes_images(self) -> None:
        images = torch.arange(6, dtype=torch.uint8).reshape(6, 1, 1, 1)
        mixed = Mixup(alpha=1.0)(images, torch.arange(6), torch.Generator().manual_seed(0))
        blend = mixed.weight * mixed.first + (1 - mixed.weight) * mixed.second
        torch.testing.assert_close(mixed.inputs.reshape(6), blend)
        assert sorted(mixed.second.tolist()) == list(range(6))
        assert 0 < mixed.weight < 1

    def test_one_seed_mixes_one_way_and_the_global_draws_stay(self) -> None:
        inputs, labels = batch()
        torch.manual_seed(3)
        first = stepped(network(), objective("mixup"), inputs, labels)[0].loss
        torch.manual_seed(4)
        assert stepped(network(), objective("mixup"), inputs, labels)[0].loss == first
        torch.manual_seed(4)
        draw = torch.rand(1)
        torch.manual_seed(4)
        module = network()
        torch.manual_seed(4)
        stepped(module, objective("mixup"), inputs, labels)
        assert torch.equal(torch.rand(1), draw)


class TestHeldOut:
    def test_the_main_term_sees_the_batch_and_the_gap_the_held_out_images_in_evaluation_mode(
        self,
    ) -> None:
        (inputs, labels), held = batch(), LabeledBatch(*batch(31, seed=1))
        module, other = network(dropout=0.5, norm=True), network(dropout=0.5, norm=True)
        torch.manual_seed(7)
        result, found = stepped(module, objective("dca"), inputs, labels, held=held)
        torch.manual_seed(7)
        main = nn.functional.cross_entropy(other(inputs), labels, weight=WEIGHTS.double())
        other.eval()
        logits = other(held.inputs)
        p, predicted = logits.softmax(dim=1).max(dim=1)
        loss = main + 2 * (p.mean() - (predicted == held.labels).double().mean()).abs()
        loss.backward()
        assert result.loss == pytest.approx(loss.item())
        torch.testing.assert_close(found, [parameter.grad for parameter in other.parameters()])
        torch.testing.assert_close(result.logits, logits.detach())
        assert torch.equal(result.labels, held.labels)

    def test_they_leave_batch_norm_and_modes_as_they_are(self) -> None:
        (inputs, labels), held = batch(), LabeledBatch(*batch(31, seed=1))
        module, other = network(norm=True), network(norm=True)
        module[3].eval()  # as a frozen part is
        stepped(module, objective("dca"), inputs, labels, held=held)
        other(inputs)
        assert torch.equal(module[1].running_mean, other[1].running_mean)
        assert module[1].num_batches_tracked == 1
        assert [part.training for part in module] == [True, True, True, False, True]

    def test_the_main_term_can_learn_alone(self) -> None:
        (inputs, labels), held = batch(), LabeledBatch(*batch(31, seed=1))
        _, expected = stepped(network(), objective("ce"), inputs, labels)
        module = network()
        step = Step(
            module, objective("dca"), optimizer=torch.optim.SGD(module.parameters(), lr=0.1)
        )
        first = step(inputs, labels, held, main_only=True)
        torch.testing.assert_close([parameter.grad for parameter in module.parameters()], expected)
        assert torch.equal(first.labels, labels)
        assert torch.equal(step(inputs, labels, held).labels, held.labels)

    @pytest.mark.parametrize("name", ["dca", "dca+mixup", "mmce+dca"])
    def test_micro_batches_do_what_one_batch_does(self, name: str) -> None:
        (inputs, labels), held = batch(), LabeledBatch(*batch(31, seed=1))
        whole, expected = stepped(network(), objective(name), inputs, labels, held=held)
        pieces, found = stepped(
            network(), objective(name), inputs, labels, held=held, micro_batch=5
        )
        assert pieces.loss == pytest.approx(whole.loss, abs=1e-9)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(pieces.logits, whole.logits)


def test_a_step_resumes_from_its_state() -> None:
    inputs, labels = batch()
    name = "dca-running+mixup"
    module = network()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    step = Step(module, objective(name), optimizer=optimizer)
    step(inputs, labels)
    kept, weights = copy.deepcopy(step.state_dict()), copy.deepcopy(module.state_dict())
    expected = step(inputs, labels).loss
    fresh = network()
    fresh.load_state_dict(weights)
    again = Step(fresh, objective(name), optimizer=torch.optim.SGD(fresh.parameters(), lr=0.1))
    forgetful = Step(
        copy.deepcopy(fresh), objective(name), optimizer=torch.optim.SGD(fresh.parameters(), lr=0.1)
    )
    again.load_state_dict(kept)
    assert again(inputs, labels).loss == expected
    assert forgetful(inputs, labels).loss != expected


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
    assert result.logits is not None
    assert result.loss == pytest.approx(
        objective("dca")(result.logits.double(), labels).item(), abs=1e-5
    )
