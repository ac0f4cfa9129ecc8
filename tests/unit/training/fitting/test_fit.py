"""Fits and their steps: seeds, batches, micro-batches, the kept epoch, snapshots, a regression."""

import copy
import csv
import json
import math
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from model_store.image import InputSpec
from tests.builders.datasets import clouds
from training.errors import BadRun, TrainingDiverged
from training.fitting.examples import Examples, batches, predict
from training.fitting.fit import fit
from training.fitting.history import Epoch, write_history
from training.fitting.logistic import fit_logistic
from training.fitting.schedule import Schedule, build_optimizer
from training.fitting.snapshot import Snapshot, SnapshotFile, parse
from training.fitting.step import Step, StepResult
from training.losses import (
    LOSSES,
    LossSettings,
    Objective,
    Term,
    build_findings_objective,
    build_objective,
)
from training.losses.claims import log_loss
from training.networks.backbones import SMALL
from training.networks.classifier import Classifier, build_classifier, draw_trunk
from training.processes.distributed import Group

SCHEDULE = Schedule(epochs=3, batch_size=16, learning_rate=1e-2)
VAL = clouds(30, seed=1, distance=3)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2)
    )


def fitted(
    module: nn.Module,
    *,
    train: Examples | None = None,
    term: Term | None = None,
    loss: str = "dca",
    schedule: Schedule = SCHEDULE,
    seed: int = 0,
    **how: Any,
) -> list[Epoch]:
    objective = Objective((term,)) if term else build_objective(loss, LossSettings(beta=5.0))
    train = clouds(distance=3) if train is None else train
    return fit(module, train, VAL, objective=objective, schedule=schedule, seed=seed, **how)


class Recorder(Term):
    """A loss that keeps the labels and logits it was given."""

    def __init__(self, weight: float = 0.0) -> None:
        self.weight = weight
        self.labels: list[list[int]] = []
        self.logits: list[Tensor] = []

    def statistics(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.labels.append(labels.tolist())
        self.logits.append(logits.detach().clone())
        return torch.zeros(1)

    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor) -> Tensor:
        return self.weight * logits.sum()


class TestSeeds:
    def test_losses_of_one_seed_share_start_batches_and_dropout(self) -> None:
        still, moving = Recorder(weight=0.0), Recorder(weight=1.0)
        for term in (still, moving):
            fitted(network(), term=term)
        assert still.labels == moving.labels
        assert torch.equal(still.logits[0], moving.logits[0])
        assert not torch.equal(still.logits[1], moving.logits[1])


class TestBatches:
    @pytest.mark.parametrize(("count", "sizes"), [(65, [16] * 4), (66, [16] * 4 + [2])])
    def test_every_image_is_seen_once_per_epoch_except_a_single_last_one(
        self, count: int, sizes: list[int]
    ) -> None:
        term = Recorder()
        fitted(network(), train=clouds(count), term=term)
        assert [len(labels) for labels in term.labels] == sizes * 3

    def test_every_process_has_an_image_of_every_batch(self) -> None:
        sizes = [len(batch) for batch in batches(np.arange(18), size=4, processes=3)]
        assert sizes == [4, 4, 4, 4]


class TestHistory:
    def test_it_learns_and_reports(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("training.fitting.fit.REPORT_INTERVAL_S", math.inf)  # of long epochs
        seen: list[tuple[str, int, int, set[str]]] = []
        epochs: list[Epoch] = []
        module = network()
        history = fitted(
            module,
            loss="ce",
            schedule=replace(SCHEDULE, epochs=8),
            stage="train ce",
            watch=lambda epoch, _: epochs.append(epoch),
            progress=lambda stage, done, total, **figures: seen.append(
                (stage, done, total, set(figures))
            ),
        )
        assert history[-1].val_accuracy > 0.9
        assert history[-1].val_loss < history[0].val_loss
        assert seen == [("train ce", n, 8, {"loss", "accuracy", "gap"}) for n in range(1, 9)]
        assert not module.training
        assert not any(epoch.kept for epoch in epochs)
        assert [epoch.kept for epoch in history] == [False] * 7 + [True]

    def test_the_validation_figures_are_those_of_the_module_left_behind(self) -> None:
        module = network()
        last = fitted(module)[-1]
        logits = torch.from_numpy(predict(module, VAL.inputs))
        confidence, top = logits.softmax(dim=1).max(dim=1)
        accuracy = (top.numpy() == VAL.labels).mean()
        assert last.val_accuracy == pytest.approx(accuracy)
        assert last.val_gap == pytest.approx(confidence.mean().item() - accuracy, abs=1e-6)
        expected = nn.functional.cross_entropy(logits, torch.from_numpy(VAL.labels)).item()
        assert last.val_loss == pytest.approx(expected)

    def test_a_loss_that_is_not_finite_stops_at_once_and_says_what_to_do(self) -> None:
        broken = clouds()
        broken.inputs[0, 0] = np.nan
        with pytest.raises(TrainingDiverged, match=r"nan in epoch 1 .*lower the learning rate"):
            fitted(network(), train=broken)

    def test_it_reads_back_exactly(self, tmp_path: Path) -> None:
        history = fitted(network())
        write_history(tmp_path / "history.csv", history)
        with (tmp_path / "history.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        assert list(rows[0]) == [field.name for field in fields(Epoch)]
        assert [tuple(map(float, row.values())) for row in rows] == [*map(astuple, history)]
        assert all(math.isfinite(epoch.train_gap) for epoch in history)


class TestKeptWeights:
    def test_the_best_epoch_on_validation_is_kept(self) -> None:
        schedule = replace(SCHEDULE, epochs=12, learning_rate=0.2, select="val_nll")
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 2))
        val = clouds(200, seed=1)
        objective = build_objective("ce", LossSettings())
        history = fit(module, clouds(32), val, objective=objective, schedule=schedule, seed=0)
        chosen = min(range(12), key=lambda number: history[number].val_loss)
        assert chosen < 11
        assert [epoch.kept for epoch in history] == [n == chosen for n in range(12)]
        logits = torch.from_numpy(predict(module, val.inputs))
        left = log_loss(logits, torch.from_numpy(val.labels))
        assert left == history[chosen].val_loss


class TestOptimizer:
    def small(self, **choice: Any) -> Classifier:
        spec = InputSpec(channels=1, height=32, width=32, resize="stretch")
        trunk = draw_trunk(SMALL, "none", seed=0)
        return build_classifier(trunk, spec, class_count=3, reduction=2, seed=0, **choice)

    @pytest.mark.parametrize("gentle", [False, True])
    def test_every_trained_weight_is_in_it_once(self, gentle: bool) -> None:
        module = self.small(frozen=False)
        groups = build_optimizer(module, Schedule(1, 8, 1e-3, gentle=gentle)).param_groups
        held = [id(p) for group in groups for p in group["params"]]
        assert sorted(held) == sorted(id(p) for p in module.parameters() if p.requires_grad)
        decayed = {p.dim() for group in groups if group["weight_decay"] for p in group["params"]}
        assert decayed == ({2, 4} if gentle else set())


GENERATOR = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], (40, 15, 5))
FEATURES = GENERATOR.normal(size=(60, 80)) + LABELS[:, np.newaxis] / 4
FEATURES[:, 7] = 3.0  # a channel that is dead


def regression(classes: int) -> NDArray[np.float32]:
    """Probabilities (60, `classes`)."""
    known, labels = torch.from_numpy(FEATURES).float(), torch.from_numpy(LABELS)
    linear = fit_logistic(known, labels, classes=classes)
    p: NDArray[np.float32] = linear(known).softmax(dim=1).detach().numpy()
    return p


def test_it_agrees_with_scikit_learn() -> None:
    by_hand = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000, tol=1e-9)
    ).fit(FEATURES, LABELS)
    np.testing.assert_allclose(regression(3), by_hand.predict_proba(FEATURES), atol=1e-3)


def test_a_class_without_images_is_not_answered() -> None:
    assert regression(4)[:, 3].max() < 1e-3


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_half_a_snapshot_is_refused(tmp_path: Path, cut: int) -> None:
    file = SnapshotFile(tmp_path / "s.safetensors", Group())
    file.write(Snapshot({"a": torch.arange(3)}, {"steps": 1}))
    with pytest.raises(BadRun, match="restart=True"):
        parse(file.path.read_bytes()[:cut], file.path)
    other = json.dumps({"__metadata__": {}}).encode()
    with pytest.raises(BadRun):
        parse(len(other).to_bytes(8, "little") + other, file.path)


WEIGHTS = torch.tensor([0.5, 1.0, 2.0])


def batch(
    count: int = 23, *, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 5, generator=generator, dtype=torch.float64).to(dtype)
    return inputs, torch.randint(3, (count,), generator=generator)


def step_network(
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
        one, other = step_network(dtype=dtype), step_network(dtype=dtype)
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
    module, other = step_network(), step_network()
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
    module = step_network()
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
    module = step_network()
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
    module = step_network(dropout=0.5)
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
    module, other = step_network(norm=True), step_network(norm=True)
    stepped(module, objective("dca"), inputs, labels, micro_batch=12)
    other.train()
    for part in inputs.tensor_split(2):
        other(part)
    assert torch.equal(module[1].running_mean, other[1].running_mean)
    assert module[1].num_batches_tracked == 2


def test_a_loss_that_is_not_finite_changes_no_weights() -> None:
    inputs, labels = batch()
    module = step_network()
    before = copy.deepcopy(module.state_dict())
    inputs[3, 2] = math.nan
    result, _ = stepped(module, objective("dca"), inputs, labels)
    assert math.isnan(result.loss)
    assert all(torch.equal(now, before[name]) for name, now in module.state_dict().items())


def test_half_precision_is_for_the_forward_pass_alone() -> None:
    inputs, labels = batch(64, dtype=torch.float32)
    module = step_network(dtype=torch.float32)
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
