"""Fits: seeds, batches, the kept epoch, snapshots; a regression that is scikit-learn's."""

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
from training.losses import LossSettings, Objective, Term, build_objective
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
    def test_two_runs_of_one_seed_are_equal_to_the_bit_whatever_was_drawn_before(self) -> None:
        first, second = network(), network()
        history = fitted(first)
        torch.rand(5)
        assert fitted(second) == history
        for mine, other in zip(first.parameters(), second.parameters(), strict=True):
            assert torch.equal(mine, other)
        assert fitted(network(), seed=1) != history

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


def test_a_snapshot_reads_back_exactly_and_holds_no_pickle(tmp_path: Path) -> None:
    file = SnapshotFile(tmp_path / "s.safetensors", Group())
    assert file.read() is None
    data = {"state": 2**127 + 1, "loss": 0.1 + 0.2}
    file.write(Snapshot({"a.b": torch.tensor(3.0), "a.c": torch.arange(3)}, data))
    read = file.read()
    assert read.data == data
    assert torch.equal(read.part("a")["c"], torch.arange(3))
    assert file.path.read_bytes()[8:].startswith(b'{"__metadata__"')
    assert [path.name for path in tmp_path.iterdir()] == ["s.safetensors"]


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_half_a_snapshot_is_refused(tmp_path: Path, cut: int) -> None:
    file = SnapshotFile(tmp_path / "s.safetensors", Group())
    file.write(Snapshot({"a": torch.arange(3)}, {"steps": 1}))
    with pytest.raises(BadRun, match="restart=True"):
        parse(file.path.read_bytes()[:cut], file.path)
    other = json.dumps({"__metadata__": {}}).encode()
    with pytest.raises(BadRun):
        parse(len(other).to_bytes(8, "little") + other, file.path)
