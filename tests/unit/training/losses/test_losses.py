"""Losses of classes and findings against plain arithmetic, the law of shards, names and options."""

import doctest
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from scipy.stats import entropy
from torch import Tensor
from torch.nn import functional

from training.errors import BadLoss, UnknownName
from training.losses import (
    LOSSES,
    ConfidenceGap,
    CrossEntropy,
    LossSettings,
    Objective,
    build_findings_objective,
    build_objective,
    finding_weights,
)
from training.losses.auxiliary_terms import NegativeEntropy
from training.losses.claims import claims, log_loss
from training.losses.main_terms import Focal, SmoothCrossEntropy

Floats = NDArray[np.float64]
CLASSES = 4
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 4.0])
MAIN = ("ce", "label-smoothing", "focal", "mixup")
PAGE = (Path(__file__).parents[4] / "docs" / "training.md").read_text()


def batch(count: int = 41, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, CLASSES, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(CLASSES, (count,), generator=generator)


def objective(name: str, **options: float) -> Objective:
    return build_objective(name, LossSettings(options=options))


def term(name: str, **options: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The term that `name` adds: the auxiliary one where it is one, else the main one."""
    return objective(name, **options).terms[-1]


def plain(logits: Tensor, labels: Tensor) -> dict[str, NDArray]:
    """Probabilities (N, K), confidence, correctness and labels (N,), by NumPy."""
    z = logits.detach().numpy()
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    y = labels.numpy()
    return {"p": p, "conf": p.max(axis=1), "right": (p.argmax(axis=1) == y).astype(float), "y": y}


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
    belonging = np.exp(-((conf[:, None] - centers) ** 2) / 0.01)
    belonging /= belonging.sum(axis=1, keepdims=True)
    errors = (belonging * (conf - right)[:, None]).sum(axis=0)
    return float(np.sqrt((errors**2 / belonging.sum(axis=0)).sum() / len(conf)))


def focal(p: Floats, y: NDArray[np.int64], **_: object) -> float:
    truth = p[np.arange(len(y)), y]
    return float(np.mean(-((1 - truth) ** 3) * np.log(truth)))


def smooth(p: Floats, y: NDArray[np.int64], **_: object) -> float:
    targets = 0.9 * np.eye(CLASSES)[y] + 0.1 / CLASSES
    return float(-(targets * np.log(p)).sum(axis=1).mean())


# The default strength, and the term at strength 1.
ORACLES: dict[str, tuple[float, Callable[..., float]]] = {
    "ce": (1, lambda p, y, **_: float(-np.log(p[np.arange(len(y)), y]).mean())),
    "label-smoothing": (1, smooth),
    "focal": (1, focal),
    # of images that are not mixed
    "mixup": (1, lambda p, y, **_: float(-np.log(p[np.arange(len(y)), y]).mean())),
    "dca": (10, lambda conf, right, **_: abs(float(conf.mean() - right.mean()))),
    "entropy": (0.1, lambda p, **_: -float(np.mean([entropy(row) for row in p]))),
    "mmce": (4, mmce),
    "mmce-weighted": (4, weighted_mmce),
    "soft-ece": (1, soft_ece),
}


def test_every_term_equals_an_independent_computation() -> None:
    logits, labels = batch()
    for name in LOSSES:
        assert name in ORACLES, (
            f"the loss {name!r} has no oracle: add to ORACLES in {Path(__file__).name} its default "
            "strength and a function that computes its term in NumPy, without torch"
        )
        strength, oracle = ORACLES[name]
        expected = strength * oracle(**plain(logits, labels))
        assert abs(expected) > 1e-3, name
        assert term(name)(logits, labels).item() == pytest.approx(expected), name
    assert set(ORACLES) == set(LOSSES)


def test_gradients_by_finite_differences() -> None:
    logits, labels = batch(9)
    for name in LOSSES:
        assert torch.autograd.gradcheck(lambda z, name=name: objective(name)(z, labels), logits)


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
    own = build_objective(name, LossSettings(class_weights=WEIGHTS if weighted else None))
    whole = own(logits, labels)
    (expected,) = torch.autograd.grad(whole, logits)
    parts = list(zip(logits.split(list(sizes)), labels.split(list(sizes)), strict=True))
    statistics = own.merge([own.statistics(z, y) for z, y in parts])
    assert not any(each.requires_grad for each in statistics)
    shares = [own.share(z, y, statistics) for z, y in parts]
    (found,) = torch.autograd.grad(torch.stack(shares).sum(), logits)
    torch.testing.assert_close(torch.stack(shares).sum(), whole, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_class_weights_weigh_each_image_by_its_label() -> None:
    logits, labels = batch()
    own = WEIGHTS[labels].double()
    for name in MAIN:
        weighted = build_objective(name, LossSettings(class_weights=WEIGHTS))(logits, labels)
        each = torch.stack(
            [objective(name)(z[None], y[None]) for z, y in zip(logits, labels, strict=True)]
        )
        torch.testing.assert_close(weighted, (own * each).sum() / own.sum())


class TestEdges:
    def test_certainty_and_perfection_have_finite_gradients(self) -> None:
        for name in LOSSES:
            for count, truth in ((1, 2), (1, 0), (3, 2), (3, 0)):
                logits = torch.full((count, CLASSES), -200.0)
                logits[:, 2] = 200.0
                logits.requires_grad_()
                loss = objective(name)(logits, torch.full((count,), truth))
                loss.backward()
                assert torch.isfinite(loss), name
                assert logits.grad is not None
                assert torch.isfinite(logits.grad).all(), name

    def test_softmax_and_sums_are_float32_at_least(self) -> None:
        logits, labels = batch(64)
        half = logits.detach().half()
        for name in LOSSES:
            loss = objective(name)(half, labels)
            exact = objective(name)(half.double(), labels).item()
            assert loss.dtype == torch.float32
            assert loss.item() == pytest.approx(exact, rel=1e-5, abs=1e-5), name

    def test_autocast_around_the_loss_changes_nothing(self) -> None:
        """As in a training loop of one's own, with the loss in the same block as the network."""
        logits, labels = batch(64)
        single = logits.detach().float()
        for name in LOSSES:
            alone = objective(name)(single, labels)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                within = objective(name)(single, labels)
            torch.testing.assert_close(within, alone)

    @pytest.mark.parametrize("right", [True, False], ids=["none wrong", "none right"])
    def test_weighted_mmce_without_one_kind_is_that_of_the_other(self, right: bool) -> None:
        logits, _ = batch()
        labels = logits.argmax(dim=1) if right else (logits.argmax(dim=1) + 1) % CLASSES
        found = term("mmce-weighted")(logits, labels)
        torch.testing.assert_close(found, term("mmce")(logits, labels))
        (gradient,) = torch.autograd.grad(found, logits)
        assert torch.isfinite(gradient).all()

    def test_in_weighted_mmce_an_image_alone_of_its_kind_weighs_as_all_others(self) -> None:
        """Its slope by the confidence is beta in a batch of any size."""
        p = float(torch.sigmoid(torch.tensor(2.0, dtype=torch.float64)))
        for count in (2, 8, 64):
            logits = torch.tensor([[2.0, 0.0]] * count, dtype=torch.float64, requires_grad=True)
            labels = torch.zeros(count, dtype=torch.int64)
            labels[0] = 1  # the only wrong one
            term("mmce-weighted")(logits, labels).backward()
            assert logits.grad[0, 0].item() == pytest.approx(4 * p * (1 - p))
            assert logits.grad[1:, 0].sum().item() == pytest.approx(4 * p * (1 - p))


class TestNames:
    def test_an_auxiliary_term_comes_with_cross_entropy_unless_a_main_term_is_named(self) -> None:
        def kinds(name: str) -> list[type]:
            return [type(each) for each in objective(name).terms]

        assert kinds("dca") == kinds("ce+dca") == kinds("dca + ce") == [CrossEntropy, ConfidenceGap]
        assert kinds("entropy+label-smoothing") == [SmoothCrossEntropy, NegativeEntropy]
        assert kinds("focal+entropy+dca") == [Focal, NegativeEntropy, ConfidenceGap]

    @pytest.mark.parametrize(
        "name", ["focal+label-smoothing+dca", "ce+focal", "dca+dca", "mixup+dca"]
    )
    def test_losses_that_cannot_be_combined_are_refused(self, name: str) -> None:
        with pytest.raises(BadLoss, match=re.escape(name)):
            objective(name)

    def test_an_unknown_part_names_the_known_ones(self) -> None:
        for name in ("mse", "dca+mse", "", "dca+"):
            with pytest.raises(UnknownName, match=r"unknown loss '(mse)?'; choose one of: ce, dca"):
                objective(name)


class TestOptions:
    def test_beta_is_that_of_the_one_part_that_has_it(self) -> None:
        gap = build_objective("focal+dca", LossSettings(beta=3.0, options={"gamma": 1.5})).terms
        assert (gap[0].gamma, gap[1].beta) == (1.5, 3.0)
        assert len(build_objective("ce", LossSettings(beta=3.0)).terms) == 1

    def test_an_option_of_two_parts_needs_the_part(self) -> None:
        with pytest.raises(BadLoss, match=r"write dca\.beta"):
            build_objective("dca+mmce", LossSettings(beta=3.0))
        both = build_objective("dca+mmce", LossSettings(options={"dca.beta": 3, "mmce.beta": 5}))
        assert [each.beta for each in both.terms[1:]] == [3, 5]

    def test_an_invalid_option_is_refused(self) -> None:
        for name, key, value in [
            ("dca", "gamma", 1.0),
            ("ce", "beta", 1.0),
            ("focal+dca", "dca.gamma", 1.0),
            ("dca", "beta", -1.0),
            ("dca", "beta", float("nan")),
            ("label-smoothing", "smoothing", 1.5),
        ]:
            with pytest.raises(BadLoss, match=key.rpartition(".")[2]):
                build_objective(name, LossSettings(options={key: value}))


def test_every_loss_is_documented_with_source_and_defaults() -> None:
    rows = {
        cells[0]: cells
        for cells in re.findall(r"\| `([\w-]+)` \| (.*?) \| (.*?) \| (.*?) \|", PAGE)
    }
    for name, loss in LOSSES.items():
        options = f"`{loss.defaults}`" if loss.defaults else "-"
        row = ("", f"{loss.title}: {loss.formula}", loss.source, options)
        expected = f"| `{name}` |{' | '.join(row)[2:]} |"
        assert name in rows, f"docs/training.md, Losses, has no row of {name!r}: add {expected}"
        assert rows[name][1:] == row[1:], f"the row of {name!r} in docs/training.md is {expected}"


def test_the_loss_that_the_page_adds_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the page runs: its doctest, its entry, and the law that shards add up."""
    section = PAGE.partition("### Adding a loss")[2]
    (source,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    namespace: dict[str, object] = {"__name__": "brier"}
    exec(source, namespace)
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder().find(namespace["Brier"], "Brier", globs=dict(namespace)):
        runner.run(example)
    assert runner.summarize(verbose=False) == (0, 3)
    monkeypatch.setitem(LOSSES, "brier", namespace["BRIER"])
    brier = objective("brier", beta=2.0)
    logits, labels = batch(7)
    parts = list(zip(logits.split(3), labels.split(3), strict=True))
    known = brier.merge([brier.statistics(*part) for part in parts])
    shares = torch.stack([brier.share(*part, known) for part in parts])
    torch.testing.assert_close(shares.sum(), brier(logits, labels))


FINDINGS = 4


def findings_batch(count: int = 41, *, seed: int = 0, blank: float = 0.4) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, FINDINGS)) < [0.5, 0.3, 0.1, 0.05]).astype(float)
    labels[rng.random(labels.shape) < blank] = np.nan
    labels[:, -1] = np.nan  # nothing is known of the last one
    logits = torch.from_numpy(2 * rng.normal(size=(count, FINDINGS)))
    return logits.requires_grad_(), torch.from_numpy(labels)


def findings_objective(name: str, **options: float) -> Objective:
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


def findings_mmce(p: Floats, y: Floats) -> float:
    kernel = np.exp(-np.abs(p[:, None] - p) / 0.4)
    return float(np.sqrt((y - p) @ kernel @ (y - p)) / len(p))


def test_cross_entropy_is_masked_and_binary() -> None:
    logits, labels = findings_batch()
    found = findings_objective("ce")(logits, labels)
    assert found.item() == pytest.approx(masked_mean(logits, labels, bce))
    known = ~labels.isnan()
    theirs = functional.binary_cross_entropy_with_logits(logits[known], labels[known])
    assert found.item() == pytest.approx(theirs.item())
    assert log_loss(logits.detach(), labels) == pytest.approx(theirs.item())


def test_focal_and_label_smoothing() -> None:
    logits, labels = findings_batch()

    def focal(z: Floats, y: Floats) -> Floats:
        truth = np.where(y == 1, expit(z), expit(-z))
        return -((1 - truth) ** 3) * np.log(truth)

    assert findings_objective("focal")(logits, labels).item() == pytest.approx(
        masked_mean(logits, labels, focal)
    )
    assert findings_objective("label-smoothing")(logits, labels).item() == pytest.approx(
        masked_mean(logits, labels, lambda z, y: bce(z, 0.9 * y + 0.05))
    )


def test_the_gap_of_dca_is_that_of_probability_and_prevalence_of_each_finding() -> None:
    logits, labels = findings_batch()
    term = findings_objective("dca", beta=10).terms[-1]
    expected = of_each(logits, labels, lambda p, y: 10 * abs(p.mean() - y.mean()))
    assert term(logits, labels).item() == pytest.approx(expected)


def test_mmce_and_entropy_are_those_of_the_probability() -> None:
    logits, labels = findings_batch()
    term = findings_objective("mmce", beta=1).terms[-1]
    assert term(logits, labels).item() == pytest.approx(
        of_each(logits, labels, findings_mmce), rel=1e-5
    )

    def negative_entropy(p: Floats, y: Floats) -> float:
        return float((p * np.log(p) + (1 - p) * np.log(1 - p)).mean())

    term = findings_objective("entropy", beta=1).terms[-1]
    assert term(logits, labels).item() == pytest.approx(of_each(logits, labels, negative_entropy))


def test_blank_labels_have_no_gradient_and_shards_add_up() -> None:
    for name in LOSSES:
        logits, labels = findings_batch()
        loss = findings_objective(name)
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
        logits, labels = findings_batch()
        loss = findings_objective(name)(logits, torch.full_like(labels, torch.nan))
        (slope,) = torch.autograd.grad(loss, logits)
        assert loss.item() == 0
        assert (slope == 0).all()


def test_weights_give_present_and_absent_the_same_weight_in_each_finding() -> None:
    logits, labels = findings_batch(blank=0.1)
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
