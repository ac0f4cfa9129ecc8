"""What the reader of a page has before its commands, and what is there after them."""

import csv
import json
import re
import shutil
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from candor.demo.sample import publish_sample
from model_store.store.store import Store
from tests.builders.bundles import (
    build_bundle,
    color_weights,
    encode,
    foreign_onnx,
    labeled_folder,
    linear,
    picture,
)
from tests.builders.datasets import write_images
from tests.builders.dicoms import dicom
from tests.builders.processes import candor
from tests.documentation.commands import ROOT

CLASSES = ("normal", "pneumonia")


def chest(folder: Path, versions: int = 3) -> None:
    """A store whose first version is in production, and four images to send."""
    store = Store(folder / "model_store/models")
    for seed in range(versions):
        store.publish("chest", partial(build_bundle, name="chest", classes=CLASSES, seed=seed))
    store.promote("chest", 1)
    for file in ("scan.png", "scan-1.png", "x-ray.png"):
        (folder / file).write_bytes(encode(picture(), "PNG"))
    (folder / "scan-2.dcm").write_bytes(dicom(np.zeros((8, 8), dtype=np.uint16)))


def sample(folder: Path) -> None:
    """The sample model of `candor traffic` in production."""
    publish_sample(Store(folder / "model_store/models"))


def answers_of_another(folder: Path) -> None:
    """Answers of a model that Candor does not serve, and their labels."""
    classes = ("healthy", "mild", "severe")
    rows = [
        (f"scan-{number:04}", classes[number % 3], 0.6 + number % 4 / 10) for number in range(40)
    ]
    _table(folder / "answers.csv", ("request_id", "predicted", "confidence"), rows)
    _table(
        folder / "labels.csv", ("request_id", "label"), [(key, classes[0]) for key, _, _ in rows]
    )


def newcomer(folder: Path) -> None:
    """What README.md starts from: predictions or images, with labels, and a model."""
    predictions(folder)
    foreign(folder)


def foreign(folder: Path) -> None:
    """classifier.onnx of another tool, labeled images, and images to ask it about."""
    foreign_onnx(
        folder / "classifier.onnx", linear("Softmax"), constants={"weights": color_weights()}
    )
    labeled_folder(folder / "labeled", images=40)
    (folder / "new").mkdir()
    rows = []
    for image in sorted(labeled_folder(folder / "others").rglob("*.png")):
        name = f"{image.parent.name}_{image.name}"
        image.rename(folder / "new" / name)
        rows.append((name, image.parent.name))
    _table(folder / "labels.csv", ("file", "label"), rows)


def foreign_pair(folder: Path) -> None:
    """classifier.onnx of two classes, and labeled images."""
    foreign_onnx(
        folder / "classifier.onnx",
        linear("Softmax"),
        constants={"weights": color_weights()[:, :2].copy()},
    )
    labeled_folder(folder / "labeled", ("benign", "malignant"), images=40)


def predictions(folder: Path) -> None:
    """predictions.csv: 200 rows of a model that is too sure."""
    random = np.random.default_rng(0)
    positive = random.uniform(0.02, 0.98, 200)
    label = np.where(random.uniform(size=200) < 0.3 + 0.4 * positive, "ill", "healthy")
    rows = zip((1 - positive).round(4), positive.round(4), label, strict=True)
    _table(folder / "predictions.csv", ("p_healthy", "p_ill", "label"), rows)


def data(folder: Path) -> None:
    """A folder of images with splits."""
    for split, count in (("train", 24), ("val", 12), ("test", 12)):
        for at, name in enumerate(CLASSES):
            write_images(folder / "images" / split / name, count, mode="L")
            for file in (folder / "images" / split / name).iterdir():
                pixels = np.asarray(Image.open(file)) // 2 + 100 * at
                Image.fromarray(pixels.astype(np.uint8)).save(file)


def clone(folder: Path) -> None:
    """What a clone holds beside the code: manifests, rules, and the build's files."""
    for name in ("deploy", "monitoring"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.py")
        )


def _table(file: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(head)
        writer.writerows(rows)


TUTORIALS: Final = ROOT / "docs" / "tutorials"


def imported(folder: Path, _printed: str) -> None:
    """README.md: a calibrator, and a foreign model in production."""
    assert (folder / "calibrated/calibrator.json").is_file()
    assert _store(folder).production("chest") == 1


def filed(folder: Path, _printed: str) -> None:
    """The report of a quality manager."""
    assert "<html" in (folder / "report.html").read_text()


def trained(folder: Path, _printed: str) -> None:
    """A run was published and promoted."""
    assert _store(folder).production("chest") == 1


def second_is_in_production(folder: Path, _printed: str) -> None:
    """The canary was promoted."""
    assert _store(folder).production("chest") == 2


def third_is_gone(folder: Path, _printed: str) -> None:
    """What was retired was removed, and nothing else."""
    assert _store(folder).versions("chest") == [1, 2, 4, 5, 6]


def tokens_are_made(folder: Path, _printed: str) -> None:
    """Three tokens, each with its scopes."""
    lines = [line.split() for line in (folder / "tokens").read_text().splitlines()]
    names = [("predict,feedback", "gateway"), ("read", "prometheus"), ("admin", "dr-weber")]
    assert [(scopes, name) for _, scopes, name in lines] == names
    assert (folder / "tokens").stat().st_mode & 0o077 == 0


def calibrated(folder: Path, _printed: str) -> None:
    """The tutorial on predictions, and the page about the calibrator's file."""
    found = json.loads((folder / "calibrated/report.json").read_text())
    assert (found["standing"], found["groups"], found["calibrator"]["method"]) == (
        "overconfident",
        400,
        "temperature",
    )
    flat = " ".join((TUTORIALS / "calibrate-predictions.md").read_text().split())
    for sentence in (found["verdict"], found["calibrator_sentence"]):
        assert sentence in flat, "the page prints what the command says"


def loop_is_closed(folder: Path, printed: str) -> None:
    """An alarm on the other camera, and a second version that is better there."""
    assert "Fine: confidence matches accuracy" in printed
    assert re.search("^Alarm: .* too confident$", printed, re.MULTILINE)
    drifted, later = (_report(folder, "digits", "--version", number) for number in "12")
    assert (drifted["drift"]["active"], drifted["drift"]["direction"]) == (True, "over")
    assert drifted["drift"]["alarm_label"] > 359, (
        "no alarm on the images of the place that the model was made for"
    )
    assert later["measures"]["ece"] < drifted["measures"]["ece"]
    assert _store(folder).versions("digits") == [1, 2]
    assert _store(folder).production("digits") == 1


def findings_are_reported(folder: Path, printed: str) -> None:
    """The images are those of the page, and each finding has labels of its own."""
    page = (ROOT / "docs/tutorials/findings.md").read_text("utf-8")
    counts = page.partition("```text\n")[2].partition("...\n")[0]
    assert counts.startswith("images with the finding")
    assert counts in printed
    overview = _report(folder, "plates")
    assert {each["finding"] for each in overview["findings"]} == {"three", "seven", "nought"}
    labels = _report(folder, "plates", "--finding", "seven")["coverage"]["labeled"]
    assert 250 < labels < 400  # a label of five is missing
    assert "three" in printed


def digits_are_imported(folder: Path, printed: str) -> None:
    """A foreign model came in and is watched."""
    assert "a fixed batch of 1; served in batches" in printed
    assert "its last operator is cut off" in printed
    assert "mnist (0 to 1, minus 0.1307, divided by 0.3081)" in printed
    card = json.loads((folder / "model_store/models/digits/1/card.json").read_text())
    assert card["calibration"]["temperature"] != 1
    assert card["calibration"]["measures"]["n"] == 399  # the halves are rounded by class
    assert card["calibration"]["measures"]["accuracy"] > 0.85
    found = _report(folder, "digits")
    assert found["measures"]["n"] == 597
    assert found["drift"]["labels"] == 597


def alarm_was_acknowledged(folder: Path, _printed: str) -> None:
    """The alarm of another server's model came near the fault."""
    found = _report(folder, "retina")
    (alarm,) = (event["detail"] for event in found["history"] if event["kind"] == "alarm")
    assert alarm["direction"] == "over"
    assert not found["drift"]["active"], "it was acknowledged"
    assert found["diagnosis"]["state"] == "look", "the labels before the repair show the fault"


def _store(folder: Path) -> Store:
    return Store(folder / "model_store/models")


def _report(folder: Path, *arguments: str) -> Any:
    done = candor("report", *arguments, "--json", folder=folder, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
