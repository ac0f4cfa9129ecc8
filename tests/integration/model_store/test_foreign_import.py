"""What `candor import` finds out from labeled images and files, and what it makes of it."""

import io
import json
import re
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import onnx
import pytest
from PIL import Image

import candor
from candor.commands.importing import labeled_images
from model_store.errors import ForeignModelUnclear
from model_store.runtime import ort
from model_store.store.store import Store
from tests.builders.bundles import SIDE, color_weights, foreign_onnx, labeled_folder, linear
from tests.builders.foreign import imported
from tests.builders.processes import candor_here

EXCLUSIVE = ("--scores", "softmax", "--channels", "rgb")


def card(done: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads((Path(done["folder"]) / "card.json").read_text()))


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_order_of_channels_is_found_on_labeled_images(tmp_path: Path, order: str) -> None:
    path = foreign_onnx(
        tmp_path / "model.onnx", constants={"weights": color_weights(bgr=order == "bgr")}
    )
    said = ("--data", str(labeled_folder(tmp_path / "labeled")))
    done = candor_here("import", path, "--store", tmp_path / "store", *said)
    assert f"--channels {order}" in str(done.exception)  # any scale fits the labels
    done = imported(path, *said, "--anyway")
    assert f", {order.upper()} " in done["found"]["preprocessing"]
    assert done["tried"][0]["accuracy"] == 1
    assert min(each["accuracy"] for each in done["tried"]) < 0.5
    assert len(done["tried"]) == 11
    assert any(each["accuracy"] < 0.5 for each in done["tried"])


def test_gray_pictures_in_color_leave_the_order_of_channels_as_it_is_said(tmp_path: Path) -> None:
    weights = np.linspace(-1, 1, 9 * SIDE**2, dtype=np.float32).reshape(-1, 3)
    path = foreign_onnx(tmp_path / "model.onnx", constants={"weights": weights})
    folder = labeled_folder(tmp_path / "labeled")
    for at, name in enumerate("abc"):
        for image in sorted((folder / name).glob("*.png")):
            Image.new("L", (SIDE, SIDE), 60 * at + 20).save(image)
    done = imported(path, "--data", str(folder), "--pixels", "unit", "--anyway")
    assert not [each for each in done["notes"] if "--channels bgr" in each]


def test_images_that_do_not_tell_preprocessings_apart_publish_nothing(tmp_path: Path) -> None:
    """All are right with several, so any NLL can be had by a temperature."""
    path = foreign_onnx(tmp_path / "model.onnx", constants={"weights": color_weights()})
    said = ("--data", str(labeled_folder(tmp_path / "labeled")))
    done = candor_here("import", path, "--store", tmp_path / "store", *said, "--promote")
    assert isinstance(done.exception, ForeignModelUnclear)
    assert all(each in str(done.exception) for each in ("raw", "unit", "--pixels", "--anyway"))
    assert not list((tmp_path / "store").rglob("card.json"))
    assert candor_here("import", path, *said, "--promote", "--anyway").exit_code == 2
    (doubt,) = [
        each for each in imported(path, *said, "--anyway")["notes"] if "do not tell" in each
    ]
    assert "--pixels" in doubt
    assert imported(path, *said, "--pixels", "unit")["notes"]


def test_a_preparation_that_nobody_said_is_never_taken_without_a_word(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", constants={"weights": color_weights()})
    said = ("--data", str(labeled_folder(tmp_path / "labeled")), "--anyway")
    unsaid = "Nobody said how pixels are prepared"
    assert any(unsaid in each for each in imported(path, *said)["notes"])
    told = imported(path, *said, "--pixels", "unit", "--channels", "rgb")
    assert not [each for each in told["notes"] if unsaid in each]


def test_one_half_fits_and_the_other_measures(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", constants={"weights": color_weights()})
    folder = labeled_folder(tmp_path / "labeled", images=30, name="p{patient}_{number}.png")
    done = imported(
        path, "--data", str(folder), "--pixels", "unit", "--group-pattern", "(p[0-9]+)_"
    )
    described = card(done)
    images = labeled_images(folder, pattern="(p[0-9]+)_")
    held_out = int(images.held_out.sum())
    assert described["calibration"]["measures"]["n"] == held_out
    assert abs(held_out - 45) <= 3
    groups = [set(), set()]  # type: list[set[str]]
    for image, held in zip(images.paths, images.held_out, strict=True):
        groups[int(held)] |= {found[1] for found in [re.match("(p[0-9]+)_", image.name)] if found}
    assert not groups[0] & groups[1]
    assert described["calibration"]["method"] == "temperature"
    assert described["calibration"]["temperature"] != 1
    assert described["input_reference"]["n"] == 90
    assert described["provenance"]["dataset"] == "labeled"
    assert described["provenance"]["imported"]["file"] == "model.onnx"
    assert described["verification"]["max_difference"] < 1e-5


def test_identical_files_stay_in_one_half(tmp_path: Path) -> None:
    folder = labeled_folder(tmp_path / "labeled")
    for image in sorted(folder.rglob("*.png")):
        image.with_name(f"copy_{image.name}").write_bytes(image.read_bytes())
    images = labeled_images(folder, group="none")
    halves = {False: set(), True: set()}  # type: dict[bool, set[bytes]]
    for image, held in zip(images.paths, images.held_out, strict=True):
        halves[bool(held)].add(image.read_bytes())
    assert not halves[False] & halves[True]


def test_folders_whose_names_a_mac_decomposed_are_the_classes(tmp_path: Path) -> None:
    composed, decomposed = (normalize(form, "Fibröse") for form in ("NFC", "NFD"))
    folder = labeled_folder(tmp_path, ("Polyp", decomposed))
    images = labeled_images(folder)
    for spelled in (composed, decomposed):
        assert images.labels((spelled, "Polyp")).argmax(axis=1).tolist() == [0] * 12 + [1] * 12


def test_independent_probabilities_become_exclusive_if_the_caller_says_so(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", linear("Sigmoid"))
    done = imported(path, "--classes", "a,b,c", "--pixels", "unit", *EXCLUSIVE)
    session = ort.InferenceSession((Path(done["folder"]) / "model.onnx").read_bytes())
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, SIDE, SIDE), dtype=np.uint8)
    weights = onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0])
    logits = (pixels.reshape(4, -1) / np.float32(255)) @ weights
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.abs(session.run(None, {"image": pixels})[0] - expected).max() < 1e-5


def test_logits_that_happen_to_be_small_and_positive_are_no_probabilities(tmp_path: Path) -> None:
    weights = np.abs(np.random.default_rng(0).normal(0, 1e-6, (3 * SIDE * SIDE, 3))).astype(
        np.float32
    )
    path = foreign_onnx(tmp_path / "model.onnx", constants={"weights": weights})
    done = imported(path, "--classes", "a,b,c", "--pixels", "unit", *EXCLUSIVE)
    assert done["found"]["output"] == "'scores': logits, 3 classes; taken as logits"


def test_a_larger_image_is_cut_to_the_models_size(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx")
    done = imported(path, "--classes", "a,b,c", "--pixels", "unit", "--resize", "20x24", *EXCLUSIVE)
    assert card(done)["input"] | {"resize": "crop"} == card(done)["input"]
    assert (card(done)["input"]["height"], card(done)["input"]["width"]) == (20, 24)
    session = ort.InferenceSession((Path(done["folder"]) / "model.onnx").read_bytes())
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 20, 24), dtype=np.uint8)
    inner = pixels[:, :, 2:18, 4:20].reshape(2, -1) / np.float32(255)
    logits = inner @ onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0])
    found = session.run(None, {"image": pixels})[0]
    assert np.abs(np.log(found[:, 0] / found[:, 1]) - (logits[:, 0] - logits[:, 1])).max() < 1e-3


@pytest.mark.parametrize("bits", [12, 16])
def test_gray_images_of_more_than_eight_bits(tmp_path: Path, bits: int) -> None:
    """A model that divides by the highest value, and gets images of which nothing says it."""
    weights = np.random.default_rng(0).normal(0, 0.5, (SIDE * SIDE, 3)).astype(np.float32)
    path = foreign_onnx(
        tmp_path / "model.onnx",
        linear("Softmax"),
        shape=("N", 1, SIDE, SIDE),
        constants={"weights": weights},
    )
    highest = 2**bits - 1
    numbers = ["--pixels", f"{highest}/0/1", "--bits", str(bits)]
    done = imported(path, "--classes", "a,b,c", *numbers)
    coarse = np.random.default_rng(1).integers(0, 2**bits, (4, 4))
    pixels = coarse.repeat(4, axis=0).repeat(4, axis=1).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    answer = candor.open_predictor(Store(tmp_path / "store").read("theirs", done["version"]))
    found = list(answer.classify(buffer.getvalue()).probabilities.values())
    logits = (pixels.reshape(-1) / highest) @ weights
    expected = np.exp(logits - logits.max())
    assert np.abs(np.array(found) - expected / expected.sum()).max() < 0.02  # of 256 gray levels
    assert card(done)["input"]["bits"] == bits


def test_the_window_is_on_the_card(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", linear("Softmax"))
    said = ("--classes", "a,b,c", "--pixels", "unit", "--channels", "rgb")
    assert card(imported(path, *said, "--window=-300,1400"))["input"]["window"] == [-300, 1400]


def test_from_python(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", constants={"weights": color_weights()})
    store = Store(tmp_path / "store")
    done = candor.import_model(
        path,
        name="theirs",
        classes=["c", "b", "a"],
        size=(SIDE, SIDE),
        pixels="255/0.5/0.5",
        channels="bgr",
        data=labeled_folder(tmp_path / "labeled"),
        store=store.root,
    )
    assert done.card.calibration.method == "temperature"
    predictor = candor.open_predictor(store.read("theirs", done.version))
    assert predictor.difference is not None
    answer = predictor.classify((tmp_path / "labeled" / "b" / "image_00.png").read_bytes())
    assert answer.predicted == "b"
