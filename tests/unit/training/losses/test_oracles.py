"""Every loss against an independent computation: loops, published packages, and gradients by finite
differences.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from netcal.regularization import DCAPenalty, MMCEPenalty
from numpy.typing import NDArray
from scipy.stats import entropy
from torch import Tensor
from torch.nn import functional

from training.losses import LOSSES, LossSettings, Objective, Term, build_objective

Floats = NDArray[np.float64]
CLASSES = 4
SETTINGS = {  # so that every branch is taken by the batch below
    "mbls": {"margin": 2.0},
    "acls": {"margin": 1.5},
    "dca-huber": {"delta": 0.1},
}


def batch(count: int = 41, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, CLASSES, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(CLASSES, (count,), generator=generator)


def objective(name: str, **options: float) -> Objective:
    return build_objective(name, LossSettings(options=SETTINGS.get(name, {}) | options))


def term(name: str, **options: float) -> Term:
    """The term that `name` adds: the auxiliary one where it is one, else the main one."""
    return objective(name, **options).terms[-1]


def plain(logits: Tensor, labels: Tensor) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
    """Probabilities (N, K), confidence, correctness and labels (N,)."""
    z = logits.detach().numpy()
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    y = labels.numpy()
    return p, p.max(axis=1), (p.argmax(axis=1) == y).astype(float), y


def mdca(p: Floats, y: NDArray[np.int64], **_: object) -> float:
    return float(np.mean([abs(p[:, k].mean() - (y == k).mean()) for k in range(CLASSES)]))


def mmce(conf: Floats, right: Floats, **_: object) -> float:
    pairs = [
        (right[i] - conf[i]) * (right[j] - conf[j]) * np.exp(-abs(conf[i] - conf[j]) / 0.4)
        for i in range(len(conf))
        for j in range(len(conf))
    ]
    return float(np.sqrt(sum(pairs)) / len(conf))


def weighted_mmce(conf: Floats, right: Floats, **_: object) -> float:
    """As three sums over pairs of one or two kinds, which is how the paper writes it."""
    good, bad = conf[right == 1], conf[right == 0]

    def mean(a: Floats, b: Floats, weight: Callable[[float, float], float]) -> float:
        return float(np.mean([weight(p, q) * np.exp(-abs(p - q) / 0.4) for p in a for q in b]))

    square = mean(good, good, lambda p, q: (1 - p) * (1 - q)) + mean(bad, bad, lambda p, q: p * q)
    return float(np.sqrt(square - 2 * mean(good, bad, lambda p, q: (1 - p) * q)))


def soft_ece(conf: Floats, right: Floats, **_: object) -> float:
    centers = (np.arange(15) + 0.5) / 15
    size, error = np.zeros(15), np.zeros(15)
    for p, c in zip(conf, right, strict=True):
        belonging = np.exp(-((p - centers) ** 2) / 0.01)
        belonging /= belonging.sum()
        size += belonging
        error += belonging * (p - c)
    return float(
        np.sqrt(sum(n / len(conf) * (e / n) ** 2 for n, e in zip(size, error, strict=True)))
    )


def mbls(z: Floats, **_: object) -> float:
    return float(np.mean([max(0.0, row.max() - value - 2.0) for row in z for value in row]))


def acls(z: Floats, **_: object) -> float:
    total = 0.0
    for row in z:
        total += max(0.0, row.max() - 1.5) ** 2
        others = [value for k, value in enumerate(row) if k != row.argmax()]
        total += 0.1 * np.mean([max(0.0, row.max() - value - 1.5) ** 2 for value in others])
    return total / len(z)


def focal(p: Floats, y: NDArray[np.int64], **_: object) -> float:
    return float(
        np.mean([-((1 - row[k]) ** 3) * np.log(row[k]) for row, k in zip(p, y, strict=True)])
    )


def flsd(p: Floats, y: NDArray[np.int64], **_: object) -> float:
    truth = p[np.arange(len(y)), y]
    return float(np.mean([-((1 - q) ** (5 if q < 0.2 else 3)) * np.log(q) for q in truth]))


def bsce_gra(p: Floats, y: NDArray[np.int64], **_: object) -> float:
    return float(
        np.mean(
            [
                ((row - np.eye(CLASSES)[k]) ** 2).sum() * -np.log(row[k])
                for row, k in zip(p, y, strict=True)
            ]
        )
    )


def gap(conf: Floats, right: Floats, **_: object) -> float:
    return float(conf.mean() - right.mean())


def gap_by_class(p: Floats, conf: Floats, right: Floats, **_: object) -> float:
    answers = p.argmax(axis=1)
    return sum(abs((conf - right)[answers == k].sum()) for k in range(CLASSES)) / len(p)


def one_sided_gap(conf: Floats, right: Floats, **_: object) -> float:
    found = float(conf.mean() - right.mean())
    return found if found > 0 else 0.2 * -found


ORACLES: dict[
    str, tuple[float, Callable[..., float]]
] = {  # default strength, and the term at strength 1
    "dca": (2, lambda **parts: abs(gap(**parts))),
    "dca-by-class": (2, gap_by_class),
    "dca-weighted": (
        2,
        lambda **parts: abs(gap(**parts)),
    ),  # without class weights; with them below
    "dca-one-sided": (2, one_sided_gap),
    "dca-squared": (150, lambda **parts: gap(**parts) ** 2),
    "dca-huber": (2, lambda **parts: abs(gap(**parts)) - 0.05),
    "dca-running": (2, lambda **parts: abs(gap(**parts))),
    "mdca": (10, mdca),
    "mmce": (4, mmce),
    "mmce-weighted": (4, weighted_mmce),
    "soft-ece": (1, soft_ece),
    "entropy": (0.1, lambda p, **_: -float(np.mean([entropy(row) for row in p]))),
    "mbls": (0.1, mbls),
    "acls": (0.1, acls),
    "focal": (1, focal),
    "flsd": (1, flsd),
    "bsce-gra": (1, bsce_gra),
}


@pytest.mark.parametrize("name", ORACLES)
def test_a_term_equals_an_independent_computation(name: str) -> None:
    logits, labels = batch()
    p, conf, right, y = plain(logits, labels)
    strength, oracle = ORACLES[name]
    expected = strength * oracle(z=logits.detach().numpy(), p=p, conf=conf, right=right, y=y)
    assert abs(expected) > 1e-3
    assert term(name)(logits, labels).item() == pytest.approx(expected)


def test_every_loss_has_an_oracle() -> None:
    """Cross-entropy, label smoothing and mixup are compared with torch's."""
    assert set(ORACLES) | {"ce", "label-smoothing", "mixup"} == set(LOSSES)


def test_the_weighted_gap_has_the_weights_of_cross_entropy() -> None:
    logits, labels = batch()
    weights = torch.tensor([4.0, 1.0, 0.5, 2.0], dtype=torch.float64)
    _, conf, right, y = plain(logits, labels)
    each = weights.numpy()[y]
    expected = 2 * abs((each * (conf - right)).sum() / each.sum())
    found = build_objective("dca-weighted", LossSettings(class_weights=weights)).terms[-1](
        logits, labels
    )
    assert found.item() == pytest.approx(expected)
    assert expected != pytest.approx(2 * abs(gap(conf, right)))


def test_a_one_sided_gap_hardly_raises_confidence() -> None:
    """Slopes below and above zero differ by the factor `under`."""
    sure, unsure = (
        torch.tensor([[value, 0.0]], dtype=torch.float64, requires_grad=True)
        for value in (0.5, 0.5)
    )
    loss = term("dca-one-sided", under=0.25)
    loss(sure, torch.tensor([1])).backward()
    loss(unsure, torch.tensor([0])).backward()
    assert sure.grad is not None
    assert unsure.grad is not None
    assert unsure.grad[0, 0].item() == pytest.approx(-0.25 * sure.grad[0, 0].item())


def test_published_packages_agree() -> None:
    logits, labels = batch()
    published = {"dca": DCAPenalty(1.0), "mmce-weighted": MMCEPenalty(1.0)}
    for name, penalty in published.items():
        expected = penalty(logits, labels).item()
        assert term(name, beta=1.0)(logits, labels).item() == pytest.approx(expected, rel=1e-6)
    smooth = functional.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(term("label-smoothing")(logits, labels), smooth)
    torch.testing.assert_close(
        term("focal", gamma=0.0)(logits, labels), functional.cross_entropy(logits, labels)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"mixup", "acls", "bsce-gra", "dca-running"}))
def test_gradient_by_finite_differences_whole_and_in_shards(name: str) -> None:
    logits, labels = batch(9)

    def whole(z: Tensor) -> Tensor:
        return objective(name)(z, labels)

    def sharded(z: Tensor) -> Tensor:
        fresh = objective(name)
        parts = list(zip(z.split(4), labels.split(4), strict=True))
        known = fresh.merge([fresh.statistics(part, truth) for part, truth in parts])
        return torch.stack([fresh.share(part, truth, known) for part, truth in parts]).sum()

    assert torch.autograd.gradcheck(whole, logits)
    assert torch.autograd.gradcheck(sharded, logits)


class TestWhereSomethingIsHeldStill:
    """The gradient is on purpose not that of the value, so it is compared with its own formula."""

    @pytest.mark.parametrize("gamma", [1.0, 2.0])
    def test_bsce_gra_is_cross_entropys_gradient_times_the_brier_score(self, gamma: float) -> None:
        logits, labels = batch()
        term("bsce-gra", gamma=gamma)(logits, labels).backward()
        p = logits.detach().softmax(dim=1)
        difference = p - functional.one_hot(labels, CLASSES)
        brier = difference.square().sum(dim=1, keepdim=True)
        torch.testing.assert_close(logits.grad, brier**gamma * difference / len(labels))

    def test_acls_draws_the_largest_down_and_the_others_up_to_it(self) -> None:
        logits = torch.tensor([[3.0, 0.0, 2.5]], dtype=torch.float64, requires_grad=True)
        options = {"beta": 1.0, "margin": 2.0, "top": 1.0, "other": 0.5}
        term("acls", **options)(logits, torch.tensor([0])).backward()
        assert logits.grad is not None
        assert logits.grad.tolist() == [
            [2.0, -0.5, 0.0]
        ]  # 2 (3 - 2); -.5 / 2 * 2 (3 - 0 - 2); within the margin

    @pytest.mark.parametrize("overconfident", [True, False])
    def test_running_gap_steers_by_the_past(self, overconfident: bool) -> None:
        """Nine batches of one kind, then one of the other: the gradient still follows the nine."""
        running, plain_gap = term("dca-running", beta=1.0), term("dca", beta=1.0)
        strong, weak = (torch.tensor([[z, 0.0, 0.0, 0.0]], dtype=torch.float64) for z in (4.0, 1.0))
        for _ in range(9):
            running(strong if overconfident else weak, torch.tensor([1 if overconfident else 0]))
        logits = weak.clone().requires_grad_()
        labels = torch.tensor([0 if overconfident else 1])
        (past,) = torch.autograd.grad(running(logits, labels), logits)
        (now,) = torch.autograd.grad(plain_gap(logits, labels), logits)
        torch.testing.assert_close(past, -now)
        assert (past[0, 0] > 0) == overconfident

    def test_running_gap_of_the_first_batch_is_dca(self) -> None:
        logits, labels = batch()
        (first,) = torch.autograd.grad(term("dca-running")(logits, labels), logits)
        (expected,) = torch.autograd.grad(term("dca")(logits, labels), logits)
        torch.testing.assert_close(first, expected)


class TestEdges:
    def test_soft_ece_with_sharp_bins_is_the_binned_error(self) -> None:
        logits, labels = batch(200)
        _, conf, right, _ = plain(logits, labels)
        bins = np.minimum((conf * 15).astype(int), 14)
        size, error = (
            np.bincount(bins, minlength=15),
            np.bincount(bins, weights=conf - right, minlength=15),
        )
        expected = np.sqrt(np.sum(error[size > 0] ** 2 / size[size > 0]) / 200)
        assert term("soft-ece", temperature=1e-6)(logits, labels).item() == pytest.approx(
            expected, rel=1e-3
        )

    @pytest.mark.parametrize("right", [True, False], ids=["none wrong", "none right"])
    def test_weighted_mmce_without_one_kind_is_that_of_the_other(self, right: bool) -> None:
        logits, _ = batch()
        labels = logits.argmax(dim=1) if right else (logits.argmax(dim=1) + 1) % CLASSES
        found = term("mmce-weighted")(logits, labels)
        torch.testing.assert_close(found, term("mmce")(logits, labels))
        (gradient,) = torch.autograd.grad(found, logits)
        assert torch.isfinite(gradient).all()

    @pytest.mark.parametrize("name", sorted(set(LOSSES) - {"mixup"}))
    @pytest.mark.parametrize("count", [1, 3])
    def test_certainty_and_perfection_have_finite_gradients(self, name: str, count: int) -> None:
        logits = torch.full((count, CLASSES), -200.0)
        logits[:, 2] = 200.0
        for truth in (2, 0):
            z = logits.clone().requires_grad_()
            loss = objective(name)(z, torch.full((count,), truth))
            loss.backward()
            assert torch.isfinite(loss)
            assert z.grad is not None
            assert torch.isfinite(z.grad).all()

    @pytest.mark.parametrize("name", sorted(LOSSES))
    def test_softmax_and_sums_are_float32_at_least(self, name: str) -> None:
        logits, labels = batch(64)
        half = logits.detach().half()
        loss = objective(name)(half, labels)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(
            objective(name)(half.double(), labels).item(), rel=1e-5, abs=1e-5
        )

    @pytest.mark.parametrize("name", sorted(LOSSES))
    def test_autocast_around_the_loss_changes_nothing(self, name: str) -> None:
        """As in a training loop of one's own, where the loss is computed in the same block as the
        network.
        """

        def loss_and_gradient() -> tuple[Tensor, Tensor]:
            logits = batch(64)[0].detach().float().requires_grad_()
            loss = objective(name)(logits, batch(64)[1])
            loss.backward()
            assert logits.grad is not None
            return loss.detach(), logits.grad

        alone = loss_and_gradient()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            within = loss_and_gradient()
        torch.testing.assert_close(within, alone)

    def test_an_image_alone_of_its_kind_weighs_as_much_as_all_others(self) -> None:
        """Weighted MMCE: its slope by the confidence is beta in a batch of any size, as mmce.py
        explains.
        """
        for count in (2, 8, 64):
            logits = torch.zeros(count, 2, dtype=torch.float64)
            logits[:, 0] = 2.0
            logits.requires_grad_()
            labels = torch.zeros(count, dtype=torch.int64)
            labels[0] = 1  # the only wrong one
            term("mmce-weighted")(logits, labels).backward()
            assert logits.grad is not None
            p = float(torch.sigmoid(torch.tensor(2.0, dtype=torch.float64)))
            assert logits.grad[0, 0].item() == pytest.approx(4 * p * (1 - p))
            assert logits.grad[1:, 0].sum().item() == pytest.approx(4 * p * (1 - p))

    @pytest.mark.parametrize("name", ["mmce", "mmce-weighted"])
    @pytest.mark.parametrize("truth", [0, 1])
    def test_a_batch_of_one_has_the_slope_beta(self, name: str, truth: int) -> None:
        logits = torch.tensor([[6.0, 0.0]], dtype=torch.float64, requires_grad=True)
        term(name)(logits, torch.tensor([truth])).backward()
        p = float(torch.sigmoid(torch.tensor(6.0, dtype=torch.float64)))
        assert logits.grad is not None
        assert logits.grad[0, 0].item() == pytest.approx(
            (-1 if truth == 0 else 1) * 4 * p * (1 - p)
        )

    def test_entropy_lowers_the_loss_of_the_uncertain(self) -> None:
        unsure, sure = torch.zeros(1, 2), torch.tensor([[9.0, 0.0]])
        assert (
            term("entropy")(unsure, torch.tensor([0]))
            < term("entropy")(sure, torch.tensor([0]))
            < 1e-6
        )


@pytest.mark.parametrize("name", ["ce", "label-smoothing", "focal", "flsd", "bsce-gra"])
def test_class_weights_weigh_each_image_by_its_label(name: str) -> None:
    logits, labels = batch()
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0])
    weighted = build_objective(name, LossSettings(class_weights=weights))(logits, labels)
    each = torch.stack(
        [objective(name)(z[None], y[None]) for z, y in zip(logits, labels, strict=True)]
    )
    torch.testing.assert_close(
        weighted, (weights[labels].double() * each).sum() / weights[labels].double().sum()
    )


@pytest.mark.parametrize("name", ["ce", "label-smoothing", "focal", "flsd", "bsce-gra"])
def test_labels_may_be_probabilities(name: str) -> None:
    """An image then counts as two, each with its part and its class's weight: what mixup needs of
    every main term.
    """
    logits, labels = batch()
    other = labels.roll(1)
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0])
    main = build_objective(name, LossSettings(class_weights=weights)).terms[0]
    mixed = 0.3 * functional.one_hot(labels, CLASSES) + 0.7 * functional.one_hot(other, CLASSES)
    totals = 0.3 * weights[labels].sum(), 0.7 * weights[other].sum()
    expected = (totals[0] * main(logits, labels) + totals[1] * main(logits, other)) / sum(totals)
    torch.testing.assert_close(main(logits, mixed), expected)
