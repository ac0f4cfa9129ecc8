"""From a finished run to a published bundle, of classes and of findings."""

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from calibration.calibrators.constant_answer import beats_constant_answer, frequencies_gain
from calibration.calibrators.temperature import apply_temperature
from calibration.measures.metrics import top_label
from model_store.bundle.finding_card import ThresholdRule
from model_store.bundle.model_card import MODEL_CARD_FILE
from model_store.image import decode
from model_store.store.store import Store
from tests.builders.datasets import shades
from tests.builders.finding_sets import NAMES
from training.datasets import Dataset
from training.errors import BadRun, ExportMismatch, UnknownName, UselessModel
from training.evaluation.evaluation import evaluate
from training.evaluation.findings import FindingsEvaluation
from training.evaluation.predictions import Predictions, read_predictions, write_predictions
from training.evaluation.usefulness import constant_answer
from training.runs import export_parts
from training.runs.config import TrainConfig
from training.runs.export import ExportedModel, export, load_classifier
from training.runs.run import RunResult, train

Choose = Callable[..., TrainConfig]
Rows = NDArray[np.float32]
ANSWERS = "predictions.npz"
FILES = ["config.json", "checkpoint.safetensors", "samples.npy", ANSWERS]
FILES += ["scope.npz", "finished.json", "training_images.bin"]
RULES = {
    "": ThresholdRule(kind="sensitivity", value=0.9),
    "seven": ThresholdRule(kind="cost", value=4),
}


@pytest.fixture(scope="module")
def exported(class_run: RunResult, store: Store) -> ExportedModel:
    return export(class_run.folder, store, "brightness")


def answered(store: Store, name: str, images: Any) -> Any:
    """The probabilities of the first version of a bundle."""
    onnx = store.read(name, 1).onnx
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"image": images})[0]


def expected(run: RunResult, calibrator: Any = "temperature") -> Any:
    """Those of test, as the run says."""
    if isinstance(run.evaluation, FindingsEvaluation):
        return run.evaluation.probabilities("test", "calibrated")
    return run.evaluation.probabilities("test", calibrator)


@pytest.mark.parametrize(
    ("kind", "choices"),
    [
        ("brightness", {"heads": 2, "select": "val_nll"}),
        (
            "brightness",
            {"heads": 2, "frozen": False, "augment": "light", "epochs": 1},
        ),
        ("brightness", {"loss": "ce", "heads": 3, "head": "pooled", "validation": "folds"}),
        ("brightness", {"loss": "ce", "heads": 2, "head": "blend", "validation": "folds"}),
        ("digits", {"loss": "ce", "heads": 2, "epochs": 6}),
    ],
    ids=str,
)
def test_a_committee_is_one_graph(
    kind: str,
    choices: dict[str, Any],
    choose: Choose,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    dataset: Dataset = request.getfixturevalue(kind)
    run, store = (
        train(choose(**choices), dataset, tmp_path / "run", pictures=False),
        Store(tmp_path),
    )
    assert export(run.folder, store, "one", anyway=True).verification.max_difference < 1e-4
    images = dataset.splits["test"].inputs(run.record.spec)
    np.testing.assert_allclose(answered(store, "one", images), expected(run), atol=1e-4)
    network = load_classifier(run.folder)
    with torch.inference_mode():
        logits = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(logits, run.evaluation.predictions["test"].logits, atol=1e-4)
    assert len(network.members) == choices["heads"]
    assert [epoch.kept for epoch in run.history].count(True) == choices["heads"]


class TestClasses:
    def test_the_bundle_gives_the_calibrated_probabilities_of_the_run(
        self, class_run: RunResult, store: Store, exported: ExportedModel, brightness: Dataset
    ) -> None:
        images, spec = brightness.splits["test"].images, exported.card.input.spec
        served = np.stack([decode(images.encoded(index), spec) for index in range(len(images))])
        p = answered(store, "brightness", served)
        assert p.dtype == np.float32
        np.testing.assert_allclose(p, expected(class_run), atol=1e-5)
        np.testing.assert_allclose(answered(store, "brightness", served[:1]), p[:1], atol=1e-6)

    @pytest.mark.parametrize("calibrator", ["vector", "none"])
    def test_other_calibrators_are_in_the_graph(
        self, class_run: RunResult, brightness: Dataset, tmp_path: Path, calibrator: Any
    ) -> None:
        store = Store(tmp_path)
        card = export(class_run.folder, store, "other", calibrator=calibrator).card.calibration
        assert card.temperature == 1
        assert card.method == ("temperature" if calibrator == "none" else calibrator)
        assert card.measures["ece"] == class_run.evaluation.measures["val"][calibrator].ece
        p = answered(store, "other", brightness.splits["test"].inputs(class_run.record.spec))
        np.testing.assert_allclose(p, expected(class_run, calibrator), atol=1e-4)
        assert np.abs(p - expected(class_run)).max() > 1e-2

    def test_the_card_is_of_validation(
        self, class_run: RunResult, brightness: Dataset, exported: ExportedModel
    ) -> None:
        val = class_run.evaluation.predictions["val"]
        p = apply_temperature(val.logits, class_run.evaluation.temperature)
        confidence, top = top_label(p)
        card = exported.card.calibration
        assert card.sums.total == len(val.labels)
        assert card.sums.confidence.sum() == pytest.approx(confidence.sum())
        assert card.sums.correct.sum() == (top == val.labels).sum()
        assert card.measures["ece"] == class_run.evaluation.measures["val"]["temperature"].ece
        inputs = brightness.splits["val"].inputs(class_run.record.spec)
        inputs = inputs.reshape(len(inputs), -1).astype(float)
        mean, std = inputs.mean(1), inputs.std(1)
        known = [mean.mean(), mean.std(), std.mean(), std.std(), len(inputs)]
        reference = exported.card.input_reference
        assert list(reference.model_dump().values()) == pytest.approx(known, abs=1e-2)

    def test_a_graph_that_disagrees_with_torch_is_not_published(
        self, class_run: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        faithful = export_parts.to_onnx

        def with_other_weights(classifier: torch.nn.Module, images: Any) -> bytes:
            other = copy.deepcopy(classifier)
            with torch.no_grad():
                next(reversed(list(other.parameters()))).add_(torch.tensor([0.01, 0.0, 0.0]))
            return faithful(other, images)

        monkeypatch.setattr(export_parts, "to_onnx", with_other_weights)
        with pytest.raises(ExportMismatch, match="nothing was published"):
            export(class_run.folder, Store(tmp_path), "brightness")
        assert Store(tmp_path).versions("brightness") == []

    @pytest.mark.parametrize(
        ("name", "damaged"),
        [*((name, False) for name in FILES), *((name, True) for name in FILES if name != ANSWERS)],
    )
    def test_half_a_run_is_refused(
        self, class_run: RunResult, tmp_path: Path, name: str, damaged: bool
    ) -> None:
        half = shutil.copytree(class_run.folder, tmp_path / "half")
        (half / name).write_bytes((half / name).read_bytes()[:20])
        if not damaged:
            (half / name).unlink()
        with pytest.raises(BadRun):
            export(half, Store(tmp_path / "store"), "brightness")
        assert not (tmp_path / "store").exists()


@pytest.fixture(scope="module")
def of_two(choose: Choose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data, out = shades(("dark", "bright")), tmp_path_factory.mktemp("runs") / "two"
    return train(choose(epochs=1), data, out, pictures=False).folder


def pair(ill: float, healthy: float) -> Rows:
    """Log odds of class 1 where it is true, and where it is not."""
    return np.float32([[ill, healthy]])


class TestUse:
    """A model that beats a constant answer is published with its warning; no other is."""

    @pytest.fixture
    def two(self, of_two: Path, tmp_path: Path) -> Any:
        """A run with other answers in place of its own: log odds of class 1 if it is true, minus
        that if not; a share `rare` of the images is of class 1.
        """

        def exchange(val: Rows, test: Rows, *, rare: float = 0.2) -> Path:
            run = shutil.copytree(of_two, tmp_path / "run")
            answers = {}
            for split, odds in (("val", val), ("test", test)):
                count = len(read_predictions(run)[split].labels)
                labels = (np.arange(count) < round(rare * count)).astype(np.int64)
                of_class = np.where(labels == 1, *np.resize(odds, (count, 2)).T)
                answers[split] = Predictions(np.stack([0 * of_class, of_class], 1), labels)
            write_predictions(run, answers)
            return run

        return exchange

    def test_one_that_ranks_a_rare_class_but_never_predicts_it(
        self, two: Any, tmp_path: Path
    ) -> None:
        run, store = two(pair(-0.3, -3), pair(-0.3, -3)), Store(tmp_path / "store")
        found = export(run, store, "shades").card.provenance.training.shortcomings
        assert found
        text = (store.require("shades", 1) / MODEL_CARD_FILE).read_text()
        assert all(each in text for each in found)

    def test_one_that_validation_shows_to_be_useful_where_test_is_too_small(
        self, two: Any, tmp_path: Path
    ) -> None:
        """Test alone shows a lower NLL, but not outside noise."""
        mixed = np.float32([[-1.9, -0.3], [-1.1, -3], [-0.1, -3], [-0.1, -0.6]])
        run = two(pair(-0.3, -3), mixed)
        evaluation = evaluate(read_predictions(run))
        test, p = evaluation.predictions["test"], evaluation.probabilities("test", "temperature")
        assert constant_answer(evaluation, "test", "temperature").lead <= 0
        assert frequencies_gain(p, test.labels).mean() > 0
        assert not beats_constant_answer(p, test.labels)
        assert export(run, Store(tmp_path / "store"), "shades").version == 1

    def test_one_that_says_the_same_of_each_image_is_refused(
        self, two: Any, tmp_path: Path
    ) -> None:
        run, store = two(pair(-1.4, -1.4), pair(-1.4, -1.4)), Store(tmp_path / "store")
        with pytest.raises(UselessModel):
            export(run, store, "shades")
        assert export(run, store, "shades", anyway=True).version == 1

    def test_a_calibrator_that_test_contradicts_is_left_out(self, two: Any, tmp_path: Path) -> None:
        wrong = np.float32([[2, -2], [2, -2], [-2, 2], [2, -2]])  # a quarter
        run, store = two(pair(2, -2), wrong, rare=0.5), Store(tmp_path / "store")
        for version, anyway in ((1, False), (2, True)):
            calibration = export(run, store, "shades", anyway=anyway).card.calibration
            assert calibration.contradicted.method == "temperature"
            assert calibration.applies(calibration.contradicted) is anyway
            assert (calibration.temperature < 1) is anyway
            text = (store.require("shades", version) / MODEL_CARD_FILE).read_text()
            assert "Test contradicts the calibrator" in text


class TestFindings:
    def test_the_graph_gives_the_probabilities_and_the_card_their_promise(
        self, findings_run: RunResult, store: Store, digits: Dataset
    ) -> None:
        export(findings_run.folder, store, "digits", rules=RULES)
        card = store.read("digits", 1).card
        assert card.has_findings
        assert card.classes == NAMES
        p = answered(store, "digits", digits.splits["test"].inputs(findings_run.record.spec))
        np.testing.assert_allclose(p, expected(findings_run), atol=1e-5)
        for finding in card.findings or ():
            assert finding.positives < finding.labeled < len(digits.splits["val"])
            sensitivity = finding.promise.sensitivity
            assert sensitivity
            assert finding.conformal
            assert sensitivity.n == finding.positives
            assert finding.conformal.coverage_reference >= 0.9
            if finding.name == "seven":
                assert finding.threshold == pytest.approx(0.2)
            else:
                assert sensitivity.lower < 0.9 <= sensitivity.value
        assert card.calibration.method == "none"
        labeled = sum(each.labeled for each in card.findings or ())
        assert sum(each.n for each in card.calibration.bins) == labeled

    @pytest.mark.parametrize(
        ("choices", "error", "said"),
        [
            ({"rules": {"Edema": ThresholdRule()}}, UnknownName, "Edema"),
            ({"calibrator": "isotonic"}, BadRun, "isotonic"),
        ],
    )
    def test_what_is_refused(
        self, findings_run: RunResult, store: Store, choices: Any, error: Any, said: str
    ) -> None:
        with pytest.raises(error, match=said):
            export(findings_run.folder, store, "raw", **choices)

    def test_classes_have_no_threshold(self, class_run: RunResult, store: Store) -> None:
        with pytest.raises(BadRun, match="threshold is for findings"):
            export(class_run.folder, store, "raw", rules=RULES)

    def test_one_that_says_the_same_of_each_image_is_refused(
        self, findings_run: RunResult, tmp_path: Path
    ) -> None:
        run = shutil.copytree(findings_run.folder, tmp_path / "run")
        known = read_predictions(run).items()
        same = {name: replace(each, logits=0 * each.logits) for name, each in known}
        write_predictions(run, same)
        with pytest.raises(UselessModel):
            export(run, Store(tmp_path / "store"), "raw")
        assert export(run, Store(tmp_path / "store"), "raw", anyway=True).version == 1

    def test_without_a_calibrator(self, findings_run: RunResult, store: Store) -> None:
        card = export(findings_run.folder, store, "raw", calibrator="none").card
        calibration = card.asked[0].calibration
        assert (calibration.method, calibration.temperature) == ("none", 1.0)

    def test_few_positives_are_not_calibrated_and_said(
        self, digits: Dataset, choose: Choose, tmp_path: Path
    ) -> None:
        labels = digits.splits["val"].labels.copy()
        labels[np.flatnonzero(labels[:, 2] == 1)[10:], 2] = np.nan
        val = replace(digits.splits["val"], labels=labels)
        few = replace(digits, splits={**digits.splits, "val": val})
        config = choose(loss="ce", epochs=10)
        run, store = train(config, few, tmp_path / "few", pictures=False), Store(tmp_path / "store")
        assert isinstance(run.evaluation, FindingsEvaluation)
        assert [each.fitted for each in run.evaluation.calibrators] == [True, True, False]
        card = export(run.folder, store, "few", anyway=True).card
        assert [each.rule.kind for each in card.asked] == ["youden", "youden", "half"]
        assert card.asked[2].threshold == 0.5
        page = (store.folder("few", 1) / MODEL_CARD_FILE).read_text()
        assert f"present from 50 %: {card.classes[2]}." in page
