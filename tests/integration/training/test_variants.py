"""Variants in other precisions: calibrated by themselves, and served by a setting."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from calibration.measures.metrics import top_label
from model_store.bundle.bundle import Bundle
from model_store.bundle.card import Card
from model_store.bundle.graph import with_calibrator
from model_store.bundle.probing import is_quantized, problem_here
from model_store.errors import BundleError
from model_store.runtime import ort
from model_store.store.store import Store
from monitoring.ledger.versions import card_sha256
from serving.inference.predictor import open_predictor, served_variant
from tests.builders import trees
from tests.builders.processes import candor_here
from training.datasets import Dataset, load_dataset
from training.errors import BadRun, UnknownName
from training.runs.config import TrainConfig
from training.runs.export import ExportedModel, export
from training.runs.run import RunResult, train

CHOICES = {
    "backbone": "small_conv",
    "weights": "none",
    "epochs": 4,
    "batch_size": 16,
    "learning_rate": 3e-3,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise whose class is its brightness; neighbors overlap, so a temperature has a use."""
    root, rng = tmp_path_factory.mktemp("data") / "images", np.random.default_rng(0)
    for split, count in (("train", 60), ("val", 40), ("test", 40)):
        for name, level in (("dark", 100), ("bright", 140)):
            for number in range(count):
                pixels = rng.normal(level + rng.normal(0, 18), 40, (16, 16)).clip(0, 255)
                path = root / split / name / f"{split}{number}.png"
                trees.write(path, pixels.astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def dataset(images: Path) -> Dataset:
    return load_dataset(images)


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    config = TrainConfig(loss="ce", image_size=16, frozen=False, **CHOICES)
    return train(config, dataset, tmp_path_factory.mktemp("runs") / "ce", pictures=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def published(
    run: RunResult, store: Store, dataset: Dataset, precisions: tuple[str, ...], **how: Any
) -> ExportedModel:
    how = {"anyway": True, "max_accuracy_loss": 0.2} | how
    return export(run.folder, store, "shades", precisions=precisions, dataset=dataset, **how)


@pytest.fixture(scope="module")
def bundle(run: RunResult, dataset: Dataset, store: Store) -> Bundle:
    wanted = ("float32", "float16", "int8")
    done = published(run, store, dataset, wanted)
    assert done.refused == ()
    return store.read("shades", done.version)


def infer(onnx_file: bytes, inputs: Any) -> Any:
    return ort.InferenceSession(onnx_file, providers=["CPUExecutionProvider"]).run(
        None, {"image": inputs}
    )[0]


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_the_card_has_what_was_measured_of_the_graph_itself(
    bundle: Bundle, dataset: Dataset, run: RunResult, precision: str
) -> None:
    val = dataset.splits["val"]
    inputs = val.inputs(run.record.spec)
    own, whole = infer(bundle.variants[precision], inputs), infer(bundle.onnx, inputs)
    card = bundle.card.of_variant(precision)
    (variant,) = (each for each in bundle.card.variants or () if each.precision == precision)
    confidence, predicted = top_label(own)
    measures = card.calibration.measures
    assert measures["accuracy"] == pytest.approx((predicted == val.labels).mean())
    assert measures["mean_confidence"] == pytest.approx(confidence.mean(), abs=1e-4)
    assert card.calibration.sums.total == len(val)
    assert variant.max_difference == pytest.approx(np.abs(own - whole).max(), abs=1e-4)
    assert variant.agreement == pytest.approx((predicted == whole.argmax(1)).mean())
    right = (whole.argmax(1) == val.labels).mean()
    assert variant.accuracy_loss == pytest.approx(right - measures["accuracy"])


def test_int8_is_int8_and_has_another_temperature(bundle: Bundle) -> None:
    proto = onnx.load_model_from_string(bundle.variants["int8"])
    assert is_quantized(proto)
    assert not is_quantized(onnx.load_model_from_string(bundle.variants["float16"]))
    assert {node.op_type for node in proto.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
    temperatures = {
        bundle.card.of_variant(each).calibration.temperature for each in bundle.card.precisions
    }
    assert len(temperatures) == 3
    # scope parameters stay float32
    assert len(bundle.variants["float16"]) < 0.75 * len(bundle.onnx)


def test_every_precision_has_probes_that_this_machine_answers_alike(bundle: Bundle) -> None:
    assert set(bundle.probes.probabilities) == set(bundle.card.precisions)
    assert len(bundle.probes.as_json()) < 10_000
    assert "probes.json" in bundle.card.files
    assert problem_here(bundle) is None
    for precision in bundle.card.precisions:
        found = open_predictor(bundle.of_variant(precision)).difference
        assert found is not None
        assert found < 1e-4


def test_the_bundle_knows_the_images_that_the_network_has_seen(
    bundle: Bundle, run: RunResult, dataset: Dataset
) -> None:
    seen = {
        name: bundle.trained_on.seen(split.inputs(run.record.spec)) / len(split)
        for name, split in dataset.splits.items()
    }
    assert (seen["train"], seen["val"], seen["test"] < 0.5) == (1, 1, True)


def test_the_same_run_gives_the_same_bytes(
    bundle: Bundle, run: RunResult, dataset: Dataset, tmp_path: Path
) -> None:
    other = Store(tmp_path)
    wanted = ("int8", "float16")
    published(run, other, dataset, wanted)
    again = other.read("shades", 1)
    assert again.variants == bundle.variants


def test_each_calibrator_can_be_a_variants(
    run: RunResult, dataset: Dataset, tmp_path: Path
) -> None:
    inputs = dataset.splits["val"].inputs(run.record.spec)
    for number, method in enumerate(("vector", "isotonic"), start=1):
        store = Store(tmp_path)
        published(run, store, dataset, ("float16",), calibrator=method, max_accuracy_loss=1.0)
        made = store.read("shades", number)
        assert made.card.of_variant("float16").calibration.method == method
        np.testing.assert_allclose(infer(made.variants["float16"], inputs).sum(1), 1, atol=1e-5)


def test_one_that_loses_too_much_is_not_published_and_the_export_says_so(
    run: RunResult, dataset: Dataset, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    done = published(run, store, dataset, ("int8",), max_accuracy_loss=-1.0)
    (refused,) = done.refused
    assert "int8 is not published" in refused.reason
    assert "--max-accuracy-loss" in refused.reason
    made = store.read("shades", 1)
    assert made.card.precisions == ("float32",)
    assert made.variants == {}


def test_what_cannot_be_is_refused(run: RunResult, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="int4"):
        export(run.folder, Store(tmp_path), "shades", precisions=("int4",))
    with pytest.raises(BadRun, match="calibrated on its validation images"):
        export(run.folder, Store(tmp_path), "shades", anyway=True, precisions=("int8",))
    with pytest.raises(BadRun, match="no `perturbed` calibrator"):
        export(run.folder, Store(tmp_path), "shades", calibrator="perturbed", precisions=("int8",))


def test_the_command_finds_the_runs_data_by_itself(run: RunResult, tmp_path: Path) -> None:
    asked = ["export", "--precision", "float32,float16", "--anyway", "--json"]
    asked += [str(run.folder), "--store", str(tmp_path)]
    done = candor_here(*asked)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["precisions"] == ["float32", "float16"]


@pytest.mark.parametrize(
    ("setting", "served"),
    [("float32", "float32"), ("float16", "float16"), ("int8", "int8"), ("auto", "int8")],
)
def test_the_setting_chooses(bundle: Bundle, setting: Any, served: str) -> None:
    chosen = served_variant(bundle, setting, device="cpu")
    assert chosen.card.precisions == (served,) or served == "float32"
    assert chosen.onnx == (bundle.onnx if served == "float32" else bundle.variants[served])


def test_a_bundle_without_the_precision_is_served_as_it_is(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    alone = bundle.of_variant("int8")
    assert served_variant(alone, "float32", device="cpu").onnx == alone.onnx
    assert "has no float32 (CANDOR_PRECISION); serving int8" in caplog.text


def test_the_ledger_tells_precisions_apart(bundle: Bundle) -> None:
    assert len({card_sha256(bundle.card.of_variant(each)) for each in bundle.card.precisions}) == 3


def test_a_variant_that_is_not_the_cards_is_refused(
    bundle: Bundle, store: Store, tmp_path: Path
) -> None:
    from model_store.bundle.bundle import write_bundle

    swapped = {"int8": bundle.variants["float16"], "float16": bundle.variants["int8"]}
    with pytest.raises(BundleError, match=r"model\.(float16|int8)\.onnx has temperature"):
        write_bundle(
            tmp_path,
            card=bundle.card.model_copy(update={"files": {}}),
            onnx=bundle.onnx,
            variants=swapped,
        )
    with pytest.raises(ValueError, match="precision of its own"):
        Card.model_validate(
            bundle.card.model_dump() | {"variants": [bundle.card.variants[0].model_dump()] * 2}
        )


def test_each_precision_flags_what_is_unlike_its_validation_images(
    bundle: Bundle, dataset: Dataset
) -> None:
    val = dataset.splits["val"]
    spec = bundle.card.input.spec
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (40, spec.channels, 16, 16), dtype=np.uint8)
    for precision in bundle.card.precisions:
        variant = bundle.of_variant(precision)
        assert variant.card.scope.flagged.n == len(val)
        session = ort.InferenceSession(variant.onnx, providers=["CPUExecutionProvider"])
        inside = session.run(["scope_p"], {"image": val.inputs(spec)})[0]
        assert 0 < np.mean(inside <= 0.05) <= 0.05
        alone = [session.run(["scope_p"], {"image": each[None]})[0][0] for each in noise]
        together = session.run(["scope_p"], {"image": noise})[0]
        assert together.tolist() == alone
        assert np.mean(together <= 0.05) > 0.9
    scores = {variant.scope.flagged.n for variant in bundle.card.variants or () if variant.scope}
    assert scores == {len(val)}


def test_a_recalibration_keeps_the_scope_check(bundle: Bundle) -> None:
    graph = with_calibrator(bundle.onnx, temperature=2.0, class_bias=[0.1, -0.1])
    images = np.random.default_rng(1).integers(0, 256, (9, 1, 16, 16), dtype=np.uint8)
    before, after = (
        ort.InferenceSession(each).run(["scope_score", "scope_p"], {"image": images})
        for each in (bundle.onnx, graph)
    )
    assert [each.tolist() for each in before] == [each.tolist() for each in after]
