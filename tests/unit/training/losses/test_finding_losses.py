"""Losses of findings against plain arithmetic; blanks count nowhere; shards add up."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from torch import Tensor
from torch.nn import functional

from training.losses import (
    LOSSES,
    LossSettings,
    Objective,
    build_findings_objective,
    finding_weights,
)
from training.losses.claims import claims, log_loss

Floats = NDArray[np.float64]
FINDINGS = 4


def batch(count: int = 41, *, seed: int = 0, blank: float = 0.4) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, FINDINGS)) < [0.5, 0.3, 0.1, 0.05]).astype(float)
    labels[rng.random(labels.shape) < blank] = np.nan
    labels[:, -1] = np.nan  # nothing is known of the last one
    logits = torch.from_numpy(2 * rng.normal(size=(count, FINDINGS)))
    return logits.requires_grad_(), torch.from_numpy(labels)


def objective(name: str, **options: float) -> Objective:
    return build_findings_objective(name, LossSettings(options=options))


def masked_mean(logits: Tensor, labels: Tensor, cost: Callable[[Floats, Floats], Floats]) -> float:
    known = ~np.isnan(labels.numpy())
    return float(cost(logits.detach().numpy()[known], labels.numpy()[known]).mean())


def of_each(logits: Tensor, labels: Tensor, term: Callable[[Floats, Floats], float]) -> float:
    """The mean over the findings, of which the last has no label."""
    z, y = logits.detach().numpy(), labels.numpy()
    columns = [(z[~np.isnan(y[:, k]), k], y[~np.isnan(y[:, k]), k]) for k in range(FINDINGS - 1)]
    return sum(term(expit(a), b) for a, b in columns) / FINDINGS


def bce(z: Floats, y: Floats) -> Floats:
    return -(y * log_expit(z) + (1 - y) * log_expit(-z))


def mmce(p: Floats, y: Floats) -> float:
    kernel = np.exp(-np.abs(p[:, None] - p) / 0.4)
    return float(np.sqrt((y - p) @ kernel @ (y - p)) / len(p))


def test_cross_entropy_is_masked_and_binary() -> None:
    logits, labels = batch()
    found = objective("ce")(logits, labels)
    assert found.item() == pytest.approx(masked_mean(logits, labels, bce))
    known = ~labels.isnan()
    theirs = functional.binary_cross_entropy_with_logits(logits[known], labels[known])
    assert found.item() == pytest.approx(theirs.item())
    assert log_loss(logits.detach(), labels) == pytest.approx(theirs.item())


def test_focal_and_label_smoothing() -> None:
    logits, labels = batch()

    def focal(z: Floats, y: Floats) -> Floats:
        truth = np.where(y == 1, expit(z), expit(-z))
        return -((1 - truth) ** 3) * np.log(truth)

    assert objective("focal")(logits, labels).item() == pytest.approx(
        masked_mean(logits, labels, focal)
    )
    assert objective("label-smoothing")(logits, labels).item() == pytest.approx(
        masked_mean(logits, labels, lambda z, y: bce(z, 0.9 * y + 0.05))
    )


def test_the_gap_of_dca_is_that_of_probability_and_prevalence_of_each_finding() -> None:
    logits, labels = batch()
    term = objective("dca", beta=10).terms[-1]
    expected = of_each(logits, labels, lambda p, y: 10 * abs(p.mean() - y.mean()))
    assert term(logits, labels).item() == pytest.approx(expected)


def test_mmce_and_entropy_are_those_of_the_probability() -> None:
    logits, labels = batch()
    term = objective("mmce", beta=1).terms[-1]
    assert term(logits, labels).item() == pytest.approx(of_each(logits, labels, mmce), rel=1e-5)

    def negative_entropy(p: Floats, y: Floats) -> float:
        return float((p * np.log(p) + (1 - p) * np.log(1 - p)).mean())

    term = objective("entropy", beta=1).terms[-1]
    assert term(logits, labels).item() == pytest.approx(of_each(logits, labels, negative_entropy))


def test_blank_labels_have_no_gradient_and_shards_add_up() -> None:
    for name in LOSSES:
        logits, labels = batch()
        loss = objective(name)
        (whole,) = torch.autograd.grad(loss(logits, labels), logits)
        assert torch.isfinite(whole).all()
        assert (whole[labels.isnan()] == 0).all()
        parts = [slice(0, 3), slice(3, 30), slice(30, 41)]
        statistics = loss.merge(
            [loss.statistics(logits[part].detach(), labels[part]) for part in parts]
        )
        shares = [loss.share(logits[part], labels[part], statistics) for part in parts]
        (summed,) = torch.autograd.grad(torch.stack(shares).sum(), logits)
        torch.testing.assert_close(torch.stack(shares).sum(), loss(logits, labels))
        torch.testing.assert_close(summed, whole)


def test_a_batch_without_any_label_changes_nothing() -> None:
    for name in LOSSES:
        logits, labels = batch()
        loss = objective(name)(logits, torch.full_like(labels, torch.nan))
        (slope,) = torch.autograd.grad(loss, logits)
        assert loss.item() == 0
        assert (slope == 0).all()


def test_weights_give_present_and_absent_the_same_weight_in_each_finding() -> None:
    logits, labels = batch(blank=0.1)
    weights = finding_weights(labels)
    for k in range(FINDINGS - 1):
        counts = torch.tensor([(labels[:, k] == said).sum() for said in (0, 1)])
        torch.testing.assert_close(weights[k, 0] * counts[0], weights[k, 1] * counts[1])
    loss = build_findings_objective("ce", LossSettings(class_weights=weights))
    known = ~labels.isnan()
    own = weights[known.nonzero()[:, 1], labels[known].long()]
    costs = functional.binary_cross_entropy_with_logits(
        logits[known], labels[known], reduction="none"
    )
    assert loss(logits, labels).item() == pytest.approx(((own * costs).sum() / own.sum()).item())


def test_a_findings_claim_is_presence() -> None:
    found = claims(torch.tensor([[-2.0, 3.0]]), torch.tensor([[0.0, 1.0]]))
    assert found.confidence[0] < 0.5
    assert found.true.tolist() == [0, 1]
    assert found.right.tolist() == [1, 1]
