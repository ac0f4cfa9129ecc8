"""From composed images with several findings to a published bundle."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from calibration.calibrators.temperature import sigmoid
from model_store.bundle.finding_card import ThresholdRule
from model_store.bundle.model_card import MODEL_CARD_FILE
from model_store.store.store import Store
from tests.builders.finding_sets import NAMES, write_npz
from training.datasets import Dataset, load_dataset
from training.datasets.errors import BadDataset
from training.errors import BadRun, UnknownName
from training.evaluation.findings import FindingsEvaluation
from training.experiments.grid import Variant
from training.experiments.presets import open_data
from training.runs.config import TrainConfig, offline_config, read_record
from training.runs.export import export, load_classifier
from training.runs.recipe import automatic
from training.runs.run import RunResult, train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("data") / "set.npz"
    write_npz(path, 900, blanks=0.2)
    return load_dataset(path)


def config(**choices: object) -> TrainConfig:
    base = offline_config(loss="ce", seed=0)
    return TrainConfig.model_validate(base.model_dump() | {"epochs": 30} | choices)


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return train(config(), dataset, tmp_path_factory.mktemp("runs") / "ce")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def evaluated(run: RunResult) -> FindingsEvaluation:
    assert isinstance(run.evaluation, FindingsEvaluation)
    return run.evaluation


def test_experiments_refuse_findings_before_they_train(tmp_path: Path) -> None:
    write_npz(tmp_path / "set.npz", 60)
    variant = Variant("findings", str(tmp_path / "set.npz"))
    with pytest.raises(BadDataset):
        open_data((variant,), folder=None, cache=tmp_path)


def test_findings_are_learned_and_calibrated(run: RunResult) -> None:
    test = evaluated(run).measures("test", "calibrated")
    assert min(each.auroc for each in test) > 0.8
    assert all(each.ece_z < 4 for each in test)
    assert all(each.fitted for each in evaluated(run).calibrators)
    figures = json.loads((run.folder / "metrics.json").read_text())
    assert list(figures["findings"]) == list(NAMES)
    assert figures["macro"]["test"]["calibrated"]["auroc"] > 0.8
    assert {each.name for each in (run.folder / "plots").iterdir()} == {
        "history.png",
        "reliability_test.png",
        "roc_test.png",
    }
    assert read_record(run.folder).has_findings


def test_the_graph_gives_the_probabilities_and_the_card_their_promise(
    run: RunResult, store: Store, dataset: Dataset
) -> None:
    rules = {
        "": ThresholdRule(kind="sensitivity", value=0.9),
        "seven": ThresholdRule(kind="cost", value=4),
    }
    done = export(run.folder, store, "digits", rules=rules)
    bundle = store.read("digits", done.version)
    card = bundle.card
    assert card.has_findings
    assert card.classes == NAMES
    images = np.load(run.folder / "samples.npy")
    session = onnxruntime.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
    (p,) = session.run(["probabilities"], {"image": images})
    with torch.inference_mode():
        logits = load_classifier(run.folder)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(p, evaluated(run).calibrate(logits), atol=1e-5)
    for finding in card.findings or ():
        assert finding.positives < finding.labeled < len(dataset.splits["val"])
        sensitivity = finding.promise.sensitivity
        assert sensitivity
        assert sensitivity.n == finding.positives
        assert finding.conformal
        assert finding.conformal.coverage_reference >= 0.9
        if finding.name == "seven":
            assert finding.threshold == pytest.approx(0.2)
        else:
            assert sensitivity.value >= 0.9
            assert sensitivity.lower < 0.9
    assert card.calibration.method == "none"
    assert sum(each.n for each in card.calibration.bins) == sum(
        each.labeled for each in card.findings or ()
    )


def test_without_a_calibrator_and_what_is_refused(run: RunResult, store: Store) -> None:
    done = export(run.folder, store, "raw", calibrator="none")
    each = (done.card.findings or ())[0]
    assert (each.calibration.method, each.calibration.temperature) == ("none", 1.0)
    with pytest.raises(UnknownName, match="Edema"):
        export(run.folder, store, "raw", rules={"Edema": ThresholdRule()})
    with pytest.raises(BadRun, match="isotonic"):
        export(run.folder, store, "raw", calibrator="isotonic")


def test_few_positives_are_not_calibrated_and_said(
    dataset: Dataset, tmp_path: Path, store: Store
) -> None:
    labels = dataset.splits["val"].labels.copy()
    there = np.flatnonzero(labels[:, 2] == 1)
    labels[there[10:], 2] = np.nan
    splits = dict(dataset.splits)
    splits["val"] = replace(splits["val"], labels=labels)
    few = replace(dataset, splits=splits)
    # after one epoch no temperature is within its range
    found = train(config(epochs=6), few, tmp_path / "few", pictures=False)
    assert [each.fitted for each in evaluated(found).calibrators] == [True, True, False]
    card = export(found.folder, store, "few", anyway=True).card
    assert [each.rule.kind for each in card.asked] == ["youden", "youden", "half"]
    assert card.asked[2].threshold == 0.5
    page = (store.folder("few", 1) / MODEL_CARD_FILE).read_text()
    assert f"present from 50 %: {card.classes[2]}." in page


def test_weights_change_the_ranking_not_the_prior(dataset: Dataset, tmp_path: Path) -> None:
    found = train(
        config(class_weights="balanced", epochs=10), dataset, tmp_path / "balanced", pictures=False
    )
    measured = evaluated(found).measures("test", "none")
    for each in measured:
        assert 0.6 < each.observed_expected < 1.6


def test_several_heads_average_probabilities(
    dataset: Dataset, tmp_path: Path, store: Store
) -> None:
    found = train(config(heads=2, epochs=1), dataset, tmp_path / "two", pictures=False)
    network = load_classifier(found.folder)
    images = torch.from_numpy(np.load(found.folder / "samples.npy"))
    with torch.inference_mode():
        features = network.backbone(images)
        each = [sigmoid(head(features).numpy()) for head in network.members]
        np.testing.assert_allclose(
            sigmoid(network(images).numpy()), np.mean(each, axis=0), atol=1e-6
        )
    assert export(found.folder, store, "two").verification.max_difference < 1e-4


def test_the_recipe_and_what_has_no_findings(dataset: Dataset, tmp_path: Path) -> None:
    plan = automatic(dataset, config(epochs=2), given={"epochs"})
    assert all(each.class_weights == "natural" for each in plan.candidates)
    with pytest.raises(BadDataset, match="blend"):
        train(config(head="blend"), dataset, tmp_path / "blend")
