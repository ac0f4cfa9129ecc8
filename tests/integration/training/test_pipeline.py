"""From generated images to a published bundle: training, run folder, export."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from calibration.calibrators.temperature import apply_temperature
from calibration.measures.metrics import top_label
from model_store.image import decode
from model_store.store.store import Store
from tests.builders.datasets import shades
from training.datasets import Dataset
from training.errors import BadRun, ExportMismatch, OutOfMemory
from training.networks.backbones import SMALL
from training.runs import export as exporting
from training.runs import export_parts
from training.runs.config import TrainConfig, read_record
from training.runs.export import export, load_classifier
from training.runs.run import RunResult, train

CLASSES = ("dark", "middle", "bright")
CHOICES = {
    "backbone": SMALL,
    "weights": "none",
    "epochs": 4,
    "batch_size": 16,
    "learning_rate": 2e-3,
    "head_reduction": 2,
}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return shades(CLASSES, (150, 60, 60), side=24, spread=18.0, noise=40.0)


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """One finished DCA run on frozen features."""
    return train(
        TrainConfig(loss="dca", beta=2.0, **CHOICES),
        dataset,
        tmp_path_factory.mktemp("runs") / "dca",
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def exported(run: RunResult, store: Store) -> exporting.ExportedModel:
    return export(run.folder, store, "brightness")


def answered(store: Store, name: str, images: Any) -> Any:
    """The probabilities of the first version of a bundle."""
    onnx = store.read(name, 1).onnx
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"image": images})[0]


class TestRunFolder:
    def test_holds_what_it_promises_and_nothing_else(self, run: RunResult) -> None:
        found = sorted(
            path.relative_to(run.folder).as_posix()
            for path in run.folder.rglob("*")
            if path.is_file()
        )
        assert found == [
            "calibrators.json",
            "checkpoint.safetensors",
            "config.json",
            "data.json",
            "finished.json",
            "history.csv",
            "metrics.json",
            "plots/calibrators_test.png",
            "plots/history.png",
            "plots/reliability_test_none.png",
            "plots/reliability_test_temperature.png",
            "plots/reliability_val_none.png",
            "plots/reliability_val_temperature.png",
            "plots/risk_coverage.png",
            "predictions.npz",
            "samples.npy",
            "scope.npz",
            "training_images.bin",
        ]
        assert [path.name for path in run.folder.parent.iterdir()] == [run.folder.name]

    def test_the_card_has_the_brightness_of_validation(
        self, run: RunResult, dataset: Dataset, exported: exporting.ExportedModel
    ) -> None:
        val = dataset.splits["val"]
        inputs = val.inputs(run.record.spec).reshape(len(val), -1).astype(float)
        reference = exported.card.input_reference
        mean, std = inputs.mean(1), inputs.std(1)
        expected = [mean.mean(), mean.std(), std.mean(), std.std(), len(inputs)]
        assert list(reference.model_dump().values()) == pytest.approx(expected, abs=1e-2)

    def test_the_checkpoint_is_the_network_that_was_measured(
        self, run: RunResult, dataset: Dataset
    ) -> None:
        inputs = torch.from_numpy(dataset.splits["test"].inputs(run.record.spec))
        with torch.inference_mode():
            logits = load_classifier(run.folder)(inputs).numpy()
        np.testing.assert_allclose(logits, run.evaluation.predictions["test"].logits, atol=1e-4)

    def test_a_second_run_is_equal_to_the_bit_with_and_without_a_cache(
        self, run: RunResult, dataset: Dataset, tmp_path: Path
    ) -> None:
        for folder in ("again", "cached"):
            other = train(
                run.record.config,
                dataset,
                tmp_path / folder,
                cache=tmp_path / "cache",
                pictures=False,
            )
            for name in ("checkpoint.safetensors", "history.csv", "metrics.json", "config.json"):
                assert (other.folder / name).read_bytes() == (run.folder / name).read_bytes(), name

    def test_memory_that_runs_out_says_what_to_do(
        self, run: RunResult, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any, **__: Any) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr("training.fitting.step.Step.__call__", full)
        with pytest.raises(OutOfMemory, match="micro_batch=8"):
            train(run.record.config, dataset, tmp_path / "run")
        assert list(tmp_path.iterdir()) == []


class TestExport:
    def test_the_bundle_gives_the_calibrated_probabilities_of_the_run(
        self, run: RunResult, store: Store, exported: exporting.ExportedModel, dataset: Dataset
    ) -> None:
        images, spec = dataset.splits["test"].images, exported.card.input.spec
        served = np.stack([decode(images.encoded(index), spec) for index in range(len(images))])
        probabilities = answered(store, "brightness", served)
        assert probabilities.dtype == np.float32
        expected = run.evaluation.probabilities("test", "temperature")
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
        one = answered(store, "brightness", served[:1])
        np.testing.assert_allclose(one, probabilities[:1], atol=1e-6)

    @pytest.mark.parametrize(
        ("calibrator", "heads"),
        [("vector", 2), ("none", 1)],
    )
    def test_other_calibrators_and_several_heads_are_in_the_graph(
        self, run: RunResult, dataset: Dataset, tmp_path: Path, calibrator: Any, heads: int
    ) -> None:
        config = run.record.config.model_copy(update={"heads": heads, "select": "val_nll"})
        chosen = run if heads == 1 else train(config, dataset, tmp_path / "run", pictures=False)
        assert [epoch.kept for epoch in chosen.history].count(True) == heads
        store = Store(tmp_path / "store")
        card = export(chosen.folder, store, "other", calibrator=calibrator).card
        assert card.calibration.temperature == 1
        method = "temperature" if calibrator == "none" else calibrator
        assert card.calibration.method == method
        assert card.calibration.measures["ece"] == chosen.evaluation.measures["val"][calibrator].ece
        images = dataset.splits["test"].inputs(chosen.record.spec)
        probabilities = answered(store, "other", images)
        with torch.inference_mode():
            logits = load_classifier(chosen.folder)(torch.from_numpy(images)).double().numpy()
        own = chosen.evaluation.calibrators[calibrator]
        np.testing.assert_allclose(probabilities, own(logits), atol=1e-4)
        unlike = chosen.evaluation.probabilities("test", "temperature")
        assert np.abs(probabilities - unlike).max() > 1e-2

    def test_a_deep_ensemble_is_one_graph(self, dataset: Dataset, tmp_path: Path) -> None:
        mode: dict[str, Any] = {"frozen": False, "augment": "light"}
        config = TrainConfig(loss="ce", heads=2, **CHOICES | {"epochs": 1}, **mode)
        result = train(config, dataset, tmp_path / "run", pictures=False)
        store = Store(tmp_path / "store")
        export(result.folder, store, "ensemble")
        probabilities = answered(
            store, "ensemble", dataset.splits["test"].inputs(result.record.spec)
        )
        expected = result.evaluation.probabilities("test", "temperature")
        np.testing.assert_allclose(probabilities, expected, atol=1e-4)

    def test_the_cards_bins_are_those_of_validation(
        self, run: RunResult, exported: exporting.ExportedModel
    ) -> None:
        val = run.evaluation.predictions["val"]
        confidence, top = top_label(apply_temperature(val.logits, run.evaluation.temperature))
        card = exported.card.calibration
        assert card.sums.total == 60
        assert card.sums.confidence.sum() == pytest.approx(confidence.sum())
        assert card.sums.correct.sum() == (top == val.labels).sum()
        assert card.measures["ece"] == run.evaluation.measures["val"]["temperature"].ece

    def test_a_graph_that_disagrees_with_torch_is_not_published(
        self, run: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        faithful = export_parts.to_onnx

        def with_other_weights(classifier: torch.nn.Module, images: Any) -> bytes:
            other = copy.deepcopy(classifier)
            with torch.no_grad():
                next(reversed(list(other.parameters()))).add_(torch.tensor([0.01, 0.0, 0.0]))
            return faithful(other, images)

        monkeypatch.setattr(export_parts, "to_onnx", with_other_weights)
        with pytest.raises(ExportMismatch, match="nothing was published"):
            export(run.folder, Store(tmp_path), "brightness")
        assert Store(tmp_path).versions("brightness") == []

    @pytest.mark.parametrize(
        "lost", ["config.json", "checkpoint.safetensors", "samples.npy", "predictions.npz"]
    )
    def test_half_a_run_is_refused(self, run: RunResult, tmp_path: Path, lost: str) -> None:
        half = tmp_path / "half"
        half.mkdir()
        for path in run.folder.iterdir():
            if path.is_file() and path.name != lost:
                (half / path.name).write_bytes(path.read_bytes())
        with pytest.raises(BadRun):
            export(half, Store(tmp_path / "store"), "brightness")


def test_a_record_of_another_format_is_refused(run: RunResult, tmp_path: Path) -> None:
    record = json.loads((run.folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(record | {"format_version": 2}))
    with pytest.raises(BadRun, match="format 1"):
        read_record(tmp_path)
