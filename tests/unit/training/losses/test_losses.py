"""Losses against oracles and analytic gradients, and the law that shards add up to the whole
batch.
"""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from training.losses import (
    LOSSES,
    ConfidenceGap,
    CrossEntropy,
    LossSettings,
    Objective,
    balanced_weights,
    build_objective,
)


def batch(
    count: int, classes: int = 4, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (count,), generator=generator)
    return logits.to(dtype).requires_grad_(), labels


class TestCrossEntropy:
    @pytest.mark.parametrize(
        "weights", [None, torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)]
    )
    def test_is_that_of_torch(self, weights: Tensor | None) -> None:
        logits, labels = batch(33)
        torch.testing.assert_close(
            CrossEntropy(weights)(logits, labels),
            functional.cross_entropy(logits, labels, weight=weights),
        )

    def test_gradient(self) -> None:
        logits, labels = batch(9)
        weights = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
        CrossEntropy(weights)(logits, labels).backward()
        probabilities, each = logits.detach().softmax(dim=1), weights[labels][:, None]
        expected = each * (probabilities - functional.one_hot(labels, 4)) / each.sum()
        torch.testing.assert_close(logits.grad, expected)


class TestConfidenceGap:
    def test_is_the_papers_equation_in_numpy(self) -> None:
        logits, labels = batch(40)
        z = logits.detach().numpy()
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        correct = p.argmax(axis=1) == labels.numpy()
        expected = 15 * abs(correct.mean() - p.max(axis=1).mean())
        assert ConfidenceGap(beta=15.0)(logits, labels).item() == pytest.approx(expected)

    @pytest.mark.parametrize("right", [True, False], ids=["underconfident", "overconfident"])
    def test_gradient_is_the_analytic_one_on_both_sides(self, right: bool) -> None:
        logits, _ = batch(12)
        p = logits.detach().softmax(dim=1)
        confidence, top = p.max(dim=1)
        labels = top if right else (top + 1) % 4
        ConfidenceGap(beta=10.0)(logits, labels).backward()
        sign = -1.0 if right else 1.0  # of confidence - accuracy
        one = functional.one_hot(top, 4)
        torch.testing.assert_close(logits.grad, sign * 10.0 / 12 * confidence[:, None] * (one - p))

    def test_a_step_against_the_gradient_closes_the_gap(self) -> None:
        logits, labels = batch(64)
        gap = ConfidenceGap(beta=1.0)
        before = gap(logits, labels)
        before.backward()
        assert logits.grad is not None
        assert gap(logits.detach() - 0.1 * logits.grad, labels) < before

    def test_softmax_is_at_least_float32(self) -> None:
        logits, labels = batch(64, dtype=torch.float16)
        loss = ConfidenceGap(beta=15.0)(logits, labels)
        assert loss.dtype == torch.float32
        exact = ConfidenceGap(beta=15.0)(logits.detach().double(), labels)
        assert loss.item() == pytest.approx(exact.item(), abs=1e-5)


@pytest.mark.slow
@given(
    name=st.sampled_from(sorted(LOSSES)),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
    weighted=st.booleans(),
)
def test_shards_add_up_to_the_whole_batch(
    name: str, sizes: Sequence[int], seed: int, weighted: bool
) -> None:
    logits, labels = batch(sum(sizes), seed=seed)
    settings = LossSettings(class_weights=torch.tensor([0.5, 1.0, 2.0, 4.0]) if weighted else None)
    whole = build_objective(name, settings)(logits, labels)
    (expected,) = torch.autograd.grad(whole, logits)

    objective = build_objective(name, settings)
    parts = list(zip(logits.split(list(sizes)), labels.split(list(sizes)), strict=True))
    statistics = objective.merge([objective.statistics(z, y) for z, y in parts])
    objective.observe(statistics)
    shares = [objective.share(z, y, statistics) for z, y in parts]
    (found,) = torch.autograd.grad(torch.stack(shares).sum(), logits)
    torch.testing.assert_close(torch.stack(shares).sum(), whole, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_a_mean_of_gaps_would_not_be_the_gap() -> None:
    """The naive way gives another value, so the law above is not trivial."""
    logits = torch.log(torch.tensor([[0.9, 0.1], [0.9, 0.1]], dtype=torch.float64))
    labels, gap = torch.tensor([0, 1]), ConfidenceGap(beta=1.0)
    halves = [gap(logits[i : i + 1], labels[i : i + 1]) for i in range(2)]
    assert gap(logits, labels).item() == pytest.approx(0.4)
    assert torch.stack(halves).mean().item() == pytest.approx(0.5)


def test_statistics_carry_no_gradient() -> None:
    logits, labels = batch(5)
    for name in LOSSES:
        assert not any(
            part.requires_grad
            for part in build_objective(name, LossSettings()).statistics(logits, labels)
        )


def test_dca_is_cross_entropy_and_the_gap() -> None:
    logits, labels = batch(20)
    dca = build_objective("dca", LossSettings(beta=7.0))(logits, labels)
    torch.testing.assert_close(
        dca, CrossEntropy()(logits, labels) + ConfidenceGap(beta=7.0)(logits, labels)
    )
    assert isinstance(build_objective("ce", LossSettings()), Objective)


def test_balanced_weights_give_every_class_the_same_total() -> None:
    labels = torch.tensor([0] * 3 + [1] * 12 + [3] * 5)
    weights = balanced_weights(labels, 4)
    totals = weights * torch.bincount(labels, minlength=4)
    torch.testing.assert_close(totals[[0, 1, 3]], torch.full((3,), 5.0))
    assert weights[2] == 0
