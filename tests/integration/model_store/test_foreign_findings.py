"""Findings of other makers: asked about, never assumed, and equal with and without a sigmoid."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, helper
from PIL import Image

from model_store.errors import ForeignModelRefused, ForeignModelUnclear, LabeledFolderRefused
from model_store.store.store import Store
from tests.builders.bundles import SIDE, foreign_onnx
from tests.builders.foreign import Array, answers, imported, linear, node, run_import, sigmoid

NAMES = ("Edema", "Mass", "Nodule", "Pneumonia")
SAID = ("--pixels", "unit", "--channels", "rgb")
FINDINGS = ("--classes", ",".join(NAMES), "--scores", "sigmoid", *SAID)
PIXELS = np.random.default_rng(3).integers(0, 256, (5, 3, SIDE, SIDE), dtype=np.uint8)
WEIGHTS = np.random.default_rng(4).normal(0, 0.15, (3 * SIDE * SIDE, 4)).astype(np.float32)


def heads(ending: str) -> list[NodeProto]:
    """One output for each finding."""
    nodes = [node("Split", "logits", " ".join(f"z{name}" for name in NAMES), axis=1, num_outputs=4)]
    nodes += [node(ending, f"z{name}", name.lower()) for name in NAMES]
    return linear(*nodes, logits="logits")


def of_findings(path: Path, nodes: Sequence[NodeProto], **options: Any) -> Path:
    constants = {"weights": WEIGHTS} | dict(options.pop("constants", {}))
    return foreign_onnx(path, nodes, constants=constants, **options)


def logits() -> Array:
    return np.asarray((PIXELS.reshape(len(PIXELS), -1) / np.float32(255)) @ WEIGHTS)


def found(done: Mapping[str, Any], path: Path) -> Array:
    return answers(done, path, PIXELS)


LOWER = tuple(name.lower() for name in NAMES)
HALVES = {"low": np.float32(0.05), "high": np.float32(0.9), "two": np.array([2], np.float32)}
CASES: dict[str, tuple[Callable[[Path], Path], tuple[str, ...], Callable[[Array], Array]]] = {
    "logits": (lambda path: of_findings(path, linear()), FINDINGS, sigmoid),
    "sigmoids": (
        lambda path: of_findings(path, linear(node("Sigmoid", "z", "scores"), logits="z")),
        FINDINGS,
        sigmoid,
    ),
    "clipped": (
        lambda path: of_findings(
            path,
            linear(node("Sigmoid", "z", "p"), node("Clip", "p low high", "scores"), logits="z"),
            constants=HALVES,
        ),
        FINDINGS,
        lambda z: np.clip(sigmoid(z), 0.05, 0.9),
    ),
    "a mean of two networks": (
        lambda path: of_findings(
            path,
            linear(
                node("Sigmoid", "z", "p"),
                node("Mul", "z two", "y"),
                node("Sigmoid", "y", "q"),
                node("Add", "p q", "sum"),
                node("Div", "sum two", "scores"),
                logits="z",
            ),
            constants=HALVES,
        ),
        FINDINGS,
        lambda z: (sigmoid(z) + sigmoid(2 * z)) / 2,
    ),
    "temperature inside": (
        lambda path: of_findings(
            path, linear(node("Div", "z two", "scores"), logits="z"), constants=HALVES
        ),
        FINDINGS,
        lambda z: sigmoid(z / 2),
    ),
    "an output for each": (
        lambda path: of_findings(path, heads("Sigmoid"), outputs=LOWER, opset=18),
        (*FINDINGS, "--output", ",".join(LOWER)),
        sigmoid,
    ),
    "an output for each, logits, in another order": (
        lambda path: of_findings(path, heads("Identity"), outputs=LOWER[::-1], opset=18),
        (*FINDINGS, "--output", ",".join(LOWER)),
        sigmoid,
    ),
    "two of four outputs": (
        lambda path: of_findings(path, heads("Sigmoid"), outputs=LOWER, opset=18),
        ("--classes", "Mass,Edema", "--scores", "sigmoid", "--output", "mass,edema", *SAID),
        lambda z: sigmoid(z[:, [1, 0]]),
    ),
    "joined by the graph": (
        lambda path: of_findings(
            path, [*heads("Sigmoid"), node("Concat", " ".join(LOWER), "scores", axis=1)], opset=18
        ),
        FINDINGS,
        sigmoid,
    ),
    "one image at a time": (
        lambda path: of_findings(
            path,
            linear(node("Sigmoid", "z", "scores"), logits="z"),
            shape=(1, 3, SIDE, SIDE),
        ),
        FINDINGS,
        sigmoid,
    ),
    "half precision": (
        lambda path: of_findings(
            path,
            linear(node("Cast", "z", "h", to=10), node("Sigmoid", "h", "scores"), logits="z"),
        ),
        FINDINGS,
        sigmoid,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_findings_answer_as_the_file_does(tmp_path: Path, case: str) -> None:
    build, options, expected = CASES[case]
    path = build(tmp_path / "model.onnx")
    done = imported(path, *options)
    limit = 2e-3 if case == "half precision" else 1e-5
    assert np.abs(found(done, path) - expected(logits())).max() < limit
    assert done["calibration"] == "none"
    assert [each["threshold"] for each in done["findings"]] == [0.5] * len(done["findings"])
    bundle = Store(tmp_path / "store").read("theirs", 1)
    assert bundle.card.has_findings
    assert json.loads(
        {each.key: each.value for each in onnx.load_from_string(bundle.onnx).metadata_props}[
            "findings"
        ]
    ) == list(bundle.card.classes)


def test_one_score_may_be_a_finding_or_two_classes(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", linear(), constants={"weights": WEIGHTS[:, :1]})
    one = imported(path, "--classes", "Mass", "--scores", "sigmoid", *SAID)
    assert np.abs(found(one, path) - sigmoid(logits()[:, :1])).max() < 1e-5
    two = imported(path, "--classes", "no mass,mass", *SAID)
    assert np.abs(found(two, path)[:, 1:] - sigmoid(logits()[:, :1])).max() < 1e-5
    assert "binary logit, of mass" in two["found"]["output"]


@pytest.mark.parametrize("ending", ["Identity", "Sigmoid"])
def test_two_readings_are_asked_about_with_what_to_type(tmp_path: Path, ending: str) -> None:
    path = of_findings(tmp_path / "model.onnx", linear(node(ending, "z", "scores"), logits="z"))
    done = run_import(path, "--classes", ",".join(NAMES), *SAID)
    assert isinstance(done.exception, ForeignModelUnclear)
    said = str(done.exception)
    assert "--scores softmax" in said
    assert "--scores sigmoid" in said
    assert not (tmp_path / "store" / "theirs").exists()
    alone = str(run_import(path).exception)
    assert all(each in alone for each in ("--classes", "--scores softmax", "sigmoid", "--pixels"))


def test_scores_that_sum_to_one_are_no_findings(tmp_path: Path) -> None:
    for ending in ("Softmax", "LogSoftmax"):
        path = of_findings(tmp_path / "model.onnx", linear(node(ending, "z", "scores"), logits="z"))
        assert isinstance(run_import(path, *FINDINGS).exception, ForeignModelRefused)
        assert imported(path, "--classes", ",".join(NAMES), *SAID)["findings"] == []


def test_outputs_that_differ_are_asked_about(tmp_path: Path) -> None:
    nodes = linear(node("Mul", "z two", "auxiliary"), node("Identity", "z", "main"), logits="z")
    path = of_findings(
        tmp_path / "model.onnx", nodes, outputs=("main", "auxiliary"), constants=HALVES
    )
    said = str(
        run_import(path, "--scores", "softmax", "--classes", ",".join(NAMES), *SAID).exception
    )
    assert "--output" in said
    assert "'main' (4 per image), 'auxiliary' (4 per image)" in said
    done = imported(path, "--output", "main", *FINDINGS)
    assert np.abs(found(done, path) - sigmoid(logits())).max() < 1e-5


def test_metadata_of_findings_decide(tmp_path: Path) -> None:
    path = of_findings(tmp_path / "model.onnx", linear())
    model = onnx.load(path)
    helper.set_model_props(model, {"pathologies": json.dumps(NAMES)})
    onnx.save(model, path)
    done = imported(path, *SAID)
    assert [each["name"] for each in done["findings"]] == list(NAMES)


def labeled_table(folder: Path, images: int = 400) -> Path:
    """Images, and labels drawn with the probability sigmoid(2 z - 1): not the model's own.

    Nodule is rare, Pneumonia is unknown in all, and a third of the other cells are blank.
    """
    random = np.random.default_rng(0)
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["Path", "Patient", "Age", *NAMES])
        for at in range(images):
            coarse = random.integers(0, 256, (3, 2, 2), dtype=np.uint8)
            pixels = coarse.repeat(SIDE // 2, axis=1).repeat(SIDE // 2, axis=2)
            Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{at}.png")
            z = (pixels.reshape(1, -1) / np.float32(255)) @ WEIGHTS
            cells = list((random.random(4) < sigmoid(2 * z[0] - 1)).astype(int))
            cells[2] = int(at % 40 == 0)
            texts = ["" if random.random() < 0.3 else str(cell) for cell in cells[:3]]
            table.writerow(
                [f"{at}.png", f"p{at // 2}", 20 + at % 60, *texts, "-1" if at % 2 else ""]
            )
    return folder / "labels.csv"


def test_a_table_calibrates_each_finding_from_twenty_positives_on(tmp_path: Path) -> None:
    path = of_findings(tmp_path / "model.onnx", linear())
    table = labeled_table(tmp_path / "labeled")
    done = imported(
        path, "--data", str(table), "--classes", ",".join(NAMES), "--scores", "sigmoid", *SAID
    )
    edema, mass, nodule, pneumonia = done["findings"]
    for each in (edema, mass):
        assert each["calibration"] == "temperature"
        assert each["rule"] == "youden"
        assert abs(each["bias"] + 1) < 0.6
        assert each["promise"]["sensitivity"]["n"] == each["positives"]
    card = Store(tmp_path / "store").read("theirs", 1).card
    assert [each.conformal is not None for each in card.findings or ()] == [
        True,
        True,
        False,
        False,
    ]
    assert nodule["calibration"] == pneumonia["calibration"] == "none"
    assert (nodule["threshold"], pneumonia["threshold"]) == (0.5, 0.5)
    assert pneumonia["labeled"] == 0
    assert edema["labeled"] < 200
    expected = sigmoid(
        logits()[:, :2] / np.array([edema["temperature"], mass["temperature"]])
        + np.array([edema["bias"], mass["bias"]])
    )
    assert np.abs(found(done, path)[:, :2] - expected).max() < 1e-5


def test_a_table_decides_what_nobody_said(tmp_path: Path) -> None:
    path = of_findings(tmp_path / "model.onnx", linear())
    table = labeled_table(tmp_path / "labeled", 60)
    done = imported(path, "--data", str(table), "--classes", ",".join(NAMES), "--anyway")
    assert [each["name"] for each in done["findings"]] == [*NAMES]


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = of_findings(tmp_path / "model.onnx", linear())
    table = labeled_table(tmp_path / "labeled", 30)
    for options in (
        ("--scores", "softmax", "--classes", ",".join(NAMES)),
        ("--classes", "Cyst,Scar,Fracture,Effusion", "--scores", "sigmoid"),
    ):
        done = run_import(path, "--data", str(table), *options, *SAID)
        assert isinstance(done.exception, LabeledFolderRefused)
    table.write_text(table.read_text().replace("Path", "where"))
    assert "no column path" in str(run_import(path, "--data", str(table), *FINDINGS).exception)
