"""What `candor import` finds out from labeled images and files, and what it makes of it."""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

import candor
from model_store.errors import ForeignModelUnclear
from model_store.foreign.labeled_folder import read_labeled_folder
from model_store.runtime import ort
from model_store.store.store import Store
from tests.builders.bundles import SIDE, color_weights, foreign_onnx, labeled_folder, linear
from tests.builders.processes import candor_here

EXCLUSIVE = ("--exclusive", "--channels", "rgb")


def imported(path: Path, *options: str) -> dict[str, Any]:
    target = ["--name", "theirs", "--store", str(path.parent / "store"), "--json"]
    done = candor_here("import", path, *target, *options)
    assert done.exit_code == 0, (done.output, done.exception)
    return dict(json.loads(done.stdout))


def card(done: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads((Path(done["folder"]) / "card.json").read_text()))


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_order_of_channels_is_found_on_labeled_images(tmp_path: Path, order: str) -> None:
    path = foreign_onnx(
        tmp_path / "model.onnx", constants={"weights": color_weights(bgr=order == "bgr")}
    )
    done = imported(path, "--data", str(labeled_folder(tmp_path / "labeled")))
    assert f", {order.upper()} " in done["found"]["preprocessing"]
    assert done["tried"][0]["accuracy"] == 1
    assert min(each["accuracy"] for each in done["tried"]) < 0.5
    assert len(done["tried"]) == 11


def test_a_note_names_preprocessings_that_the_images_do_not_tell_apart(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", constants={"weights": color_weights()})
    colored = labeled_folder(tmp_path / "colored")
    done = imported(path, "--data", str(colored), "--normalize", "unit")
    assert not [each for each in done["notes"] if "do not tell" in each]
    for at, name in enumerate("abc"):  # gray pictures: only brightness tells the classes apart
        for image in sorted((colored / name).glob("*.png")):
            Image.new("L", (SIDE, SIDE), 60 * at + 20).save(image)
    done = imported(
        path, "--data", str(colored), "--normalize", "unit", "--anyway", "--uncalibrated"
    )
    (doubt,) = [each for each in done["notes"] if "do not tell" in each]
    assert all(each in doubt for each in ("RGB", "BGR", "--channels"))
    assert not any(each in doubt for each in ("--normalize", "--resize"))
    given = imported(
        path, "--data", str(colored), "--normalize", "unit", "--channels", "bgr", "--anyway"
    )
    assert not [each for each in given["notes"] if "do not tell" in each]


def test_images_that_all_are_right_do_not_tell_preprocessings_apart(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", constants={"weights": color_weights()})
    done = imported(path, "--data", str(labeled_folder(tmp_path / "labeled")))
    perfect = [each for each in done["tried"] if each["accuracy"] == 1]
    assert len({each["nll"] for each in perfect}) > 1
    (doubt,) = [each for each in done["notes"] if "do not tell" in each]
    assert all(each in doubt for each in ("raw", "unit", "--normalize"))


def test_one_half_fits_and_the_other_measures(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", constants={"weights": color_weights()})
    folder = labeled_folder(tmp_path / "labeled", images=30)
    done = imported(
        path, "--data", str(folder), "--normalize", "unit", "--group-pattern", "(p[0-9]+)_"
    )
    described = card(done)
    images = read_labeled_folder(folder, group_pattern="(p[0-9]+)_")
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
    images = read_labeled_folder(folder)
    halves = {False: set(), True: set()}  # type: dict[bool, set[bytes]]
    for image, held in zip(images.paths, images.held_out, strict=True):
        halves[bool(held)].add(image.read_bytes())
    assert not halves[False] & halves[True]


def test_folders_whose_names_a_mac_decomposed_are_the_classes(tmp_path: Path) -> None:
    composed, decomposed = (normalize(form, "Fibröse") for form in ("NFC", "NFD"))
    images = read_labeled_folder(labeled_folder(tmp_path, ("Polyp", decomposed)))
    for spelled in (composed, decomposed):
        assert images.indices((spelled, "Polyp")).tolist() == [0] * 12 + [1] * 12


def test_uncalibrated_images_only_measure(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", constants={"weights": color_weights()})
    folder = labeled_folder(tmp_path / "labeled")
    described = card(imported(path, "--data", str(folder), "--normalize", "unit", "--uncalibrated"))
    assert (described["calibration"]["method"], described["calibration"]["temperature"]) == (
        "none",
        1,
    )
    assert described["calibration"]["measures"]["accuracy"] == 1


def test_independent_probabilities_become_exclusive_if_the_caller_says_so(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", linear("Sigmoid"))
    done = imported(path, "--classes", "a,b,c", "--normalize", "unit", *EXCLUSIVE)
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
    done = imported(path, "--classes", "a,b,c", "--normalize", "unit", *EXCLUSIVE)
    assert done["found"]["output"] == "'scores': logits, 3 classes; taken as logits"


@pytest.mark.parametrize("place", ["labels.txt", "metadata", "the graph", "index_to_name.json"])
def test_class_names_are_found_where_makers_write_them(tmp_path: Path, place: str) -> None:
    path = foreign_onnx(tmp_path / "model.onnx")
    if place == "labels.txt":
        lines = "0 lung\n1 heart\n2 bone\n"  # as Teachable Machine does
        (tmp_path / "labels.txt").write_text(lines)
    elif place == "metadata":
        model = onnx.load(path)
        helper.set_model_props(model, {"names": "{0: 'lung', 1: 'heart', 2: 'bone'}"})
        onnx.save(model, path)
    elif place == "the graph":
        largest = helper.make_node("ArgMax", ["scores"], ["at"], axis=1)
        named = helper.make_node("Gather", ["names", "at"], ["label"])
        names = np.array(["lung", "heart", "bone"], dtype=object)
        foreign_onnx(path, [*linear(), largest, named], constants={"names": names})
    else:
        with zipfile.ZipFile(tmp_path / "model.mar", "w") as archive:
            archive.write(path, "theirs.onnx")
            archive.writestr(
                "MAR-INF/MANIFEST.json", json.dumps({"model": {"serializedFile": "theirs.onnx"}})
            )
            archive.writestr(
                "index_to_name.json", json.dumps({"0": "lung", "1": ["n1", "heart"], "2": "bone"})
            )
        path = tmp_path / "model.mar"
    assert card(imported(path, "--normalize", "unit", *EXCLUSIVE))["classes"] == [
        "lung",
        "heart",
        "bone",
    ]


def test_a_larger_image_is_cut_to_the_models_size(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx")
    options = ["--classes", "a,b,c", "--normalize", "unit", "--crop-from", "20x24", *EXCLUSIVE]
    done = imported(path, *options, "--resize", "crop")
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
    numbers = ["--divisor", str(highest), "--bits", str(bits)]
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


def test_few_used_bits_are_asked_about(tmp_path: Path) -> None:
    path = foreign_onnx(
        tmp_path / "model.onnx",
        linear("Softmax"),
        shape=("N", 1, SIDE, SIDE),
        constants={"weights": np.ones((SIDE * SIDE, 3), np.float32)},
    )
    for name in "abc":
        (tmp_path / "labeled" / name).mkdir(parents=True)
        for at in range(8):
            pixels = np.random.default_rng(at).integers(0, 4096, (SIDE, SIDE)).astype(np.uint16)
            Image.fromarray(pixels).save(tmp_path / "labeled" / name / f"{at}.png")
    target = ["--store", str(tmp_path / "store"), "--data", str(tmp_path / "labeled")]
    done = candor_here("import", path, *target)
    assert isinstance(done.exception, ForeignModelUnclear)
    assert "--bits 12" in str(done.exception)
    deep = foreign_onnx(
        tmp_path / "deep.onnx",
        [helper.make_node("Cast", ["pixels"], ["x"], to=1), *linear("Softmax", "x")],
        elem_type=TensorProto.UINT16,
    )
    said = ["--classes", "a,b,c", "--channels", "rgb", "--store", str(tmp_path / "store")]
    assert "--bits" in str(candor_here("import", deep, *said).exception)
    assert candor_here("import", deep, *said, "--bits", "16").exit_code == 0


def test_the_window_is_on_the_card(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", linear("Softmax"))
    said = ("--classes", "a,b,c", "--normalize", "unit", "--channels", "rgb")
    assert card(imported(path, *said, "--window=-300,1400"))["input"]["window"] == [-300, 1400]


def test_from_python(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", constants={"weights": color_weights()})
    store = Store(tmp_path / "store")
    done = candor.import_model(
        path,
        name="theirs",
        classes=["c", "b", "a"],
        size=(SIDE, SIDE),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        divisor=255,
        data=labeled_folder(tmp_path / "labeled"),
        store=store.root,
    )
    assert done.card.calibration.method == "temperature"
    predictor = candor.open_predictor(store.read("theirs", done.version))
    assert predictor.difference is not None
    answer = predictor.classify((tmp_path / "labeled" / "b" / "p0_0.png").read_bytes())
    assert answer.predicted == "b"
