"""A run folder: what it holds, and that the same request ends with the same bytes."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from calibration.bins import BinSums
from calibration.calibrators.temperature import apply_temperature
from calibration.measures.metrics import ece_z
from model_store.image.training_digests import TrainingDigests
from tests.builders.datasets import shades
from tests.builders.finding_sets import NAMES, write_npz
from training.datasets import Dataset, load_dataset
from training.datasets.errors import BadDataset
from training.errors import BadRun, OutOfMemory, RunDiffers, TrainingDiverged
from training.evaluation.findings import FindingsEvaluation
from training.experiments.grid import Variant
from training.experiments.presets import open_data
from training.networks.heads import BlendedHead
from training.runs.config import TrainConfig, read_record
from training.runs.export import load_classifier
from training.runs.folds import draw_folds
from training.runs.recipe import TrainingPlan, automatic
from training.runs.run import RunResult, train

Choose = Callable[..., TrainConfig]
SAME = ["checkpoint.safetensors", "config.json", "history.csv", "metrics.json", "predictions.npz"]
POOLED = {"loss": "ce", "head": "pooled", "select": "val_nll", "learning_rate": 1e-2}
FOLDS = POOLED | {"validation": "folds", "heads": 3}
EVERY_CHANGE = "strong+hflip+vflip+rot90"


def same_files(one: Path, other: Path) -> list[str]:
    return [name for name in SAME if (one / name).read_bytes() == (other / name).read_bytes()]


def rates(choose: Choose, *values: float) -> TrainingPlan:
    candidates = tuple(choose(**POOLED | {"learning_rate": each}) for each in values)
    return TrainingPlan(candidates, ("rates are tried",))


@pytest.mark.parametrize(
    ("choices", "fits"),
    [
        ({}, 1),
        ({"loss": "focal+mmce", "decay": "none", "heads": 2}, 2),
        (
            {"select": "val_nll", "learning_rate": 0.1, "loss": "ce", "decay": "none"},
            1,
        ),  # keeps the second
        ({"frozen": False, "gentle": True, "augment": EVERY_CHANGE, "epochs": 2, "heads": 2}, 2),
        (FOLDS, 3),
        (FOLDS | {"head": "blend"}, 3),
        ((1e-9, 1e-2, 1e-4), 3),
    ],
    ids=str,
)
def test_a_run_that_is_interrupted_in_each_epoch_is_the_same_to_the_bit(
    choices: Any, fits: int, brightness: Dataset, choose: Choose, tmp_path: Path
) -> None:
    plan = rates(choose, *choices) if isinstance(choices, tuple) else choose(**choices)
    train(plan, brightness, tmp_path / "whole", pictures=False)
    seen: set[tuple[str, int]] = set()
    said: list[str] = []

    def interrupt(stage: str, done: int, _total: int, /, **figures: float) -> None:
        if figures and done and (stage, done) not in seen:
            seen.add((stage, done))
            raise KeyboardInterrupt

    out = tmp_path / "again"
    while not out.exists():
        with suppress(KeyboardInterrupt):
            train(plan, brightness, out, pictures=False, notice=said.append, progress=interrupt)
    epochs = (plan.candidates[0] if isinstance(plan, TrainingPlan) else plan).epochs
    assert len(seen) == epochs * fits
    assert all("was interrupted; resuming" in each for each in said)
    assert same_files(tmp_path / "whole", out) == SAME
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "whole"]


def test_another_request_does_not_resume(
    brightness: Dataset, choose: Choose, tmp_path: Path
) -> None:
    def interrupt(_stage: str, done: int, _total: int, /, **figures: float) -> None:
        if figures and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(rates(choose, 1e-3, 1e-2), brightness, tmp_path / "run", progress=interrupt)
    with pytest.raises(RunDiffers, match="candidates"):
        train(rates(choose, 1e-3, 2e-2), brightness, tmp_path / "run")


def test_a_cache_changes_no_bit(class_run: RunResult, brightness: Dataset, tmp_path: Path) -> None:
    for name in ("first", "second"):
        config, cache = class_run.record.config, tmp_path / "cache"
        train(config, brightness, tmp_path / name, cache=cache, pictures=False)
        assert same_files(class_run.folder, tmp_path / name) == SAME


def test_it_holds_what_it_promises_and_nothing_else(
    class_run: RunResult, findings_run: RunResult
) -> None:
    files = {*SAME, "calibrators.json", "data.json", "finished.json"}
    files |= {"samples.npy", "scope.npz", "training_images.bin"}
    reliability = {f"{split}_{how}" for split in ("val", "test") for how in ("none", "temperature")}
    plots = {f"reliability_{each}.png" for each in reliability}
    plots |= {"calibrators_test.png", "history.png", "risk_coverage.png"}
    of_findings = {"history.png", "reliability_test.png", "roc_test.png"}
    for run, drawn in ((class_run, plots), (findings_run, of_findings)):
        assert {each.name for each in run.folder.iterdir()} == files | {"plots"}
        assert {each.name for each in (run.folder / "plots").iterdir()} == drawn
        assert [each.name for each in run.folder.parent.iterdir()] == [run.folder.name]
        assert read_record(run.folder) == run.record
    assert findings_run.record.has_findings


def test_it_knows_the_images_of_training_and_validation(
    class_run: RunResult, brightness: Dataset
) -> None:
    known = TrainingDigests.from_bytes((class_run.folder / "training_images.bin").read_bytes())
    spec, splits = class_run.record.spec, brightness.splits
    seen = {name: known.seen(split.inputs(spec)) for name, split in splits.items()}
    assert seen == {"train": 150, "val": 60, "test": 0}


def test_a_record_of_another_format_is_refused(class_run: RunResult, tmp_path: Path) -> None:
    record = json.loads((class_run.folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(record | {"format_version": 2}))
    with pytest.raises(BadRun, match="format 1"):
        read_record(tmp_path)


def test_memory_that_runs_out_says_what_to_do(
    brightness: Dataset, choose: Choose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("training.fitting.step.Step.__call__", full)
    with pytest.raises(OutOfMemory, match="micro_batch=8"):
        train(choose(), brightness, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


class TestSearch:
    def test_the_lowest_cross_entropy_on_validation_is_kept(
        self, brightness: Dataset, choose: Choose, tmp_path: Path
    ) -> None:
        plan = rates(choose, 1e-9, 1e-2, 1e30)  # of which the last diverges
        run = train(plan, brightness, tmp_path / "run", pictures=False)
        assert run.record.config == plan.candidates[1]
        recipe = run.record.recipe
        assert recipe.reasons == ("rates are tried",)
        assert [each.choices["learning_rate"] for each in recipe.candidates] == [1e-9, 1e-2, 1e30]
        assert [each.chosen for each in recipe.candidates] == [False, True, False]
        hopeless, kept, diverged = (each.val_nll for each in recipe.candidates)
        assert diverged is None
        val = run.evaluation.predictions["val"]
        p = apply_temperature(val.logits, run.evaluation.temperature)
        own = -np.log(p[np.arange(len(val.labels)), val.labels]).mean()
        assert kept == pytest.approx(own, rel=1e-6)
        assert kept < hopeless

    def test_if_all_diverge_nothing_is_left(
        self, brightness: Dataset, choose: Choose, tmp_path: Path
    ) -> None:
        with pytest.raises(TrainingDiverged):
            train(rates(choose, 1e30, 1e35), brightness, tmp_path / "run")
        assert list(tmp_path.iterdir()) == []


class TestFolds:
    def test_no_answer_of_validation_knows_its_label(
        self, choose: Choose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Networks that learn random labels by heart are no better than chance out of fold."""
        monkeypatch.setattr("training.networks.heads.DROPOUT", 0.0)
        known, generator = shades(), np.random.default_rng(1)
        splits = {
            name: replace(split, labels=generator.permutation(split.labels))
            for name, split in known.splits.items()
        }
        config = choose(**FOLDS | {"epochs": 60, "select": "last", "heads": 2})
        learned = train(config, replace(known, splits=splits), tmp_path / "run", pictures=False)
        assert max(each.train_accuracy for each in learned.history) > 0.6
        val = learned.evaluation.predictions["val"]
        assert len(val.labels) == sum(len(splits[name]) for name in ("train", "val"))
        assert (val.logits.argmax(axis=1) == val.labels).mean() < 0.45

    def test_every_image_validates_once_and_patients_stay_together(
        self, brightness: Dataset
    ) -> None:
        splits = {
            name: replace(split, groups=np.arange(len(split)) // 5 + 100 * place)
            for place, (name, split) in enumerate(brightness.splits.items())
        }
        patients = np.concatenate([splits[name].groups for name in ("train", "val")])
        folds = draw_folds(replace(brightness, splits=splits), 4, seed=0)
        assert sorted(np.concatenate(folds).tolist()) == list(range(len(patients)))
        assert sum(len(np.unique(patients[fold])) for fold in folds) == len(np.unique(patients))
        with pytest.raises(BadRun, match="make no 60 folds: give fewer heads"):
            draw_folds(replace(brightness, splits=splits), 60, seed=0)

    def test_findings_are_stratified(self, digits: Dataset, choose: Choose, tmp_path: Path) -> None:
        labels = np.concatenate([digits.splits[name].labels for name in ("train", "val")])
        positives = [(labels[fold] == 1).sum(axis=0) for fold in draw_folds(digits, 3, seed=0)]
        assert np.ptp(positives, axis=0).max() <= 2  # of each finding
        run = train(choose(**FOLDS | {"epochs": 1}), digits, tmp_path / "run", pictures=False)
        np.testing.assert_array_equal(run.evaluation.predictions["val"].labels, labels)

    def test_a_blended_head_is_the_mean_of_its_parts_and_answers_its_own_fold(
        self, brightness: Dataset, choose: Choose, tmp_path: Path
    ) -> None:
        config = choose(**FOLDS | {"head": "blend", "epochs": 2})
        run = train(config, brightness, tmp_path / "run", pictures=False)
        network = load_classifier(run.folder)
        features = network.backbone(torch.from_numpy(np.load(run.folder / "samples.npy")))
        member = network.members[0]
        assert isinstance(member, BlendedHead)
        parts = [member.pooled(features), member.linear(features.mean(dim=(2, 3)))]
        whole = torch.stack([each.softmax(dim=1) for each in parts]).mean(dim=0)
        torch.testing.assert_close(member(features).softmax(dim=1), whole)
        assert [(each.head, each.epoch) for each in run.history] == [
            (head, epoch) for head in range(3) for epoch in (1, 2)
        ]
        pool = [brightness.splits[name].inputs(run.record.spec) for name in ("train", "val")]
        with torch.inference_mode():
            maps = network.backbone(torch.from_numpy(np.concatenate(pool)))
            for head, fold in zip(network.members, draw_folds(brightness, 3, seed=0), strict=True):
                known = run.evaluation.predictions["val"].logits[fold]
                np.testing.assert_allclose(known, head(maps)[fold], atol=1e-4)
        with pytest.raises(ValidationError):
            TrainConfig.model_validate(FOLDS | {"head": "blend", "frozen": False})


class TestFindings:
    def test_they_are_learned_and_calibrated(self, findings_run: RunResult) -> None:
        evaluation = findings_run.evaluation
        assert isinstance(evaluation, FindingsEvaluation)
        test = evaluation.measures("test", "calibrated")
        assert min(each.auroc for each in test) > 0.8
        probabilities = evaluation.probabilities("test", "calibrated")
        for p, truth in zip(probabilities.T, evaluation.predictions["test"].labels.T, strict=True):
            known = ~np.isnan(truth)
            assert ece_z(BinSums.from_predictions(p[known], truth[known] == 1)) < 4
        assert all(each.fitted for each in evaluation.calibrators)
        figures = json.loads((findings_run.folder / "metrics.json").read_text())
        assert list(figures["findings"]) == list(NAMES)
        assert figures["macro"]["test"]["calibrated"]["auroc"] > 0.8

    def test_weights_change_the_ranking_not_the_prior(
        self, digits: Dataset, choose: Choose, tmp_path: Path
    ) -> None:
        config = choose(loss="ce", class_weights="balanced", epochs=10)
        run = train(config, digits, tmp_path / "run", pictures=False)
        assert isinstance(run.evaluation, FindingsEvaluation)
        for each in run.evaluation.measures("test", "none"):
            assert 0.6 < each.observed_expected < 1.6

    def test_what_is_for_classes_alone(
        self, digits: Dataset, choose: Choose, tmp_path: Path
    ) -> None:
        plan = automatic(digits, choose(epochs=2), given={"epochs"})
        assert all(each.class_weights == "natural" for each in plan.candidates)
        with pytest.raises(BadDataset, match="blend"):
            train(choose(head="blend"), digits, tmp_path / "blend")
        write_npz(tmp_path / "set.npz", 60)
        assert load_dataset(tmp_path / "set.npz").has_findings
        with pytest.raises(BadDataset):  # before it trains
            open_data((Variant("x", str(tmp_path / "set.npz")),), folder=None, cache=tmp_path)


PAGE = Path(__file__).parents[3] / "docs" / "training.md"


@pytest.mark.nightly  # as all typed pages
def test_ten_lines_of_the_page_give_the_measures_of_the_command(tmp_path: Path) -> None:
    first = PAGE.read_text(encoding="utf-8").partition("\n## ")[0]
    (program,) = re.findall(r"```python\n(.*?)```", first, re.DOTALL)
    assert len(program.split("\n\n", 1)[1].splitlines() + program.splitlines()[:3]) <= 10
    names: dict[str, object] = {}
    exec(program, names)
    dataset, config, report = (names[name] for name in ("dataset", "config", "report"))
    run = train(config, dataset, tmp_path / "run", pictures=False)
    assert report.as_dict() == run.evaluation.as_dict()
