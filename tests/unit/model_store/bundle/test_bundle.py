"""Bundles: written whole, read back the same, and refused for each thing that can be wrong."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from calibration.calibrators.temperature import softmax
from model_store.bundle.bundle import CARD_FILE, MODEL_FILE, read_bundle, write_bundle
from model_store.bundle.graph import with_calibrator
from model_store.bundle.manifest import (
    MANIFEST_FILE,
    FileEntry,
    digest_of,
    read_manifest,
    write_manifest,
)
from model_store.errors import BundleError, CardError, FileError, GraphError, ManifestError
from tests.builders.bundles import build_bundle, build_card, build_onnx

Edit = Callable[[onnx.ModelProto], object]
EditModel = Callable[[Edit], bytes]
WRITTEN = (MODEL_FILE, "tiny.mar", CARD_FILE, MANIFEST_FILE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound bundle's folder."""
    return build_bundle(tmp_path / "tiny" / "1").folder


@pytest.fixture
def edited() -> Callable[[Edit], bytes]:
    """Give the tiny model after an edit of its graph."""

    def edit_model(edit: Edit) -> bytes:
        model = onnx.load_model_from_string(build_onnx())
        edit(model)
        return bytes(model.SerializeToString())

    return edit_model


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def edit_card(folder: Path, **changes: Any) -> None:
    data = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    write_card(folder, json.dumps(data | changes).encode())


def write_card(folder: Path, data: bytes) -> None:
    """Replace the card, and make a manifest that fits."""
    (folder / CARD_FILE).write_bytes(data)
    write_manifest(folder, name="tiny", version=1)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    card = write_bundle(tmp_path, card=build_card(), onnx=build_onnx())
    bundle = read_bundle(tmp_path)
    assert (bundle.card, bundle.onnx, bundle.folder) == (card, build_onnx(), tmp_path)
    assert card == build_card().model_copy(update={"files": card.files})
    assert sorted(card.files) == ["model.onnx", "tiny.mar"]
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {*WRITTEN, "model_card.md", "reliability.svg"}


@pytest.mark.parametrize(
    "name", ["../x", "below/x", "{root}/x", ".", "..", "", "x\0y", "x" * 300, ".hidden"]
)
@pytest.mark.parametrize("where", [CARD_FILE, MANIFEST_FILE])
def test_a_name_that_leads_elsewhere_is_refused_even_with_the_right_hash(
    folder: Path, name: str, where: str
) -> None:
    for place in (folder.parent, folder / ".below"):
        place.mkdir(exist_ok=True)
        (place / "x").write_bytes(b"secret")
    name, secret = name.format(root=folder.parent), _sha256(b"secret")
    if where == CARD_FILE:
        model = _sha256((folder / MODEL_FILE).read_bytes())
        edit_card(folder, files={MODEL_FILE: model, name: secret})
    else:
        data = json.loads((folder / MANIFEST_FILE).read_text())
        data["files"][name] = {"sha256": secret, "size_bytes": 6}
        (folder / MANIFEST_FILE).write_text(json.dumps(data, indent=2, sort_keys=True) + "\n")
    with pytest.raises(FileError if where == CARD_FILE else ManifestError):
        read_bundle(folder)


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_missing_or_no_plain_file_is_refused_and_not_waited_for(
    folder: Path, tmp_path: Path, name: str
) -> None:
    place = folder / name
    place.rename(tmp_path / "elsewhere")
    makers: tuple[Callable[[], object], ...] = (
        lambda: None,
        lambda: place.symlink_to(tmp_path / "elsewhere"),
        lambda: os.mkfifo(place),
    )
    for make in makers:
        make()
        with pytest.raises(BundleError, match=r"tiny/1 is refused"):
            read_bundle(folder)
        place.unlink(missing_ok=True)
    place.mkdir()
    with pytest.raises(BundleError, match=r"tiny/1 is refused"):
        read_bundle(folder)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="tiny/7"):
        read_bundle(tmp_path / "tiny" / "7")


@pytest.mark.parametrize("data", [b"", b"{", b"[1, 2", b"[" * 100_000, b'{"name": "\x80"}', b"[]"])
def test_a_card_that_is_no_json_object_is_refused(folder: Path, data: bytes) -> None:
    write_card(folder, data)
    with pytest.raises(CardError):
        read_bundle(folder)


NOT_A_NUMBER = {"channels": 3, "height": 8, "width": float("nan")}


@pytest.mark.parametrize(
    ("changes", "error", "place"),
    [
        ({"files": {}}, CardError, "model.onnx"),
        *(({"format_version": each}, CardError, "format version") for each in (1, 3, "2", None)),
        ({"input": NOT_A_NUMBER}, CardError, r"input\.width"),
        ({"classes": ["one"]}, CardError, "classes"),
        ({"input": {"channels": 1, "height": 8, "width": 8}}, GraphError, r"\[N, 1, 8, 8\]"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_with_the_place(
    folder: Path, changes: dict[str, Any], error: type[Exception], place: str
) -> None:
    edit_card(folder, **changes)
    with pytest.raises(error, match=place):
        read_bundle(folder)


def _temperature(model: onnx.ModelProto) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == "temperature")


def _with_temperature(value: Any) -> Edit:
    tensor = numpy_helper.from_array(np.asarray(value), "temperature")
    return lambda model: _temperature(model).CopyFrom(tensor)


def _input(model: onnx.ModelProto) -> Any:
    return model.graph.input[0].type.tensor_type


def _output(model: onnx.ModelProto) -> Any:
    return model.graph.output[0].type.tensor_type


def _external(tensor: onnx.TensorProto) -> onnx.TensorProto:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    return tensor


def _branch(model: onnx.ModelProto, *nodes: onnx.NodeProto, constants: Any = ()) -> None:
    """Add an If whose branches hold these nodes and constants."""
    branch = helper.make_graph(nodes, "branch", [], [], constants)
    model.graph.node.append(
        helper.make_node("If", ["condition"], ["unused"], then_branch=branch, else_branch=branch)
    )


def _softmax(model: onnx.ModelProto, operator: str, domain: str = "") -> None:
    """Replace the softmax by another operator."""
    node = next(node for node in model.graph.node if node.op_type == "Softmax")
    node.op_type, node.domain = operator, domain
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))


def _constant() -> onnx.TensorProto:
    return _external(numpy_helper.from_array(np.zeros(1, np.float32), "constant"))


AGE = helper.make_tensor_value_info("age", TensorProto.FLOAT, ["N", 1])
HIDDEN = helper.make_node("Hidden", [], ["x"], domain="hospital.ops")
EDITS: dict[str, tuple[Edit, str]] = {
    "custom operator": (
        lambda model: _softmax(model, "Own", "hospital.ops"),
        r"hospital\.ops\.Own",
    ),
    "custom in a branch": (lambda model: _branch(model, HIDDEN), r"hospital\.ops\.Hidden"),
    "unknown operator": (lambda model: _softmax(model, "Softmaximum"), "Softmaximum"),
    "input's name": (lambda model: setattr(model.graph.input[0], "name", "pixels"), "'pixels'"),
    "float input": (
        lambda model: setattr(_input(model), "elem_type", TensorProto.FLOAT),
        r"'image' float \[N, 3, 8, 8\]",
    ),
    "fixed batch": (
        lambda model: setattr(_input(model).shape.dim[0], "dim_value", 1),
        r"uint8 \[1, 3, 8, 8\]",
    ),
    "second input": (lambda model: model.graph.input.append(AGE), r"'age' float \[N, 1\]"),
    "no input": (lambda model: model.graph.ClearField("input"), "it has none"),
    "scalar input": (lambda model: _input(model).shape.ClearField("dim"), r"'image' uint8 \[\]"),
    "fewer classes": (
        lambda model: setattr(_output(model).shape.dim[1], "dim_value", 2),
        r"float \[N, 2\]",
    ),
    "no temperature": (lambda model: setattr(_temperature(model), "name", "T"), "temperature"),
    "other temperature": (_with_temperature(np.float32([1.6])), r"temperature \[1\.6"),
    "scalar temperature": (_with_temperature(np.float32(1.5)), r"temperature 1\.5"),
    "double temperature": (_with_temperature([1.5]), "float64"),
    "cut temperature": (lambda model: setattr(_temperature(model), "raw_data", b"\0\0"), "damaged"),
    "external weights": (lambda model: _external(model.graph.initializer[1]), "another file"),
    "external constant": (
        lambda model: model.graph.node.append(
            helper.make_node("Constant", [], ["unused"], value=_constant())
        ),
        "another file",
    ),
    "external in a branch": (lambda model: _branch(model, constants=[_constant()]), "another file"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_graph_against_the_contract_is_refused_and_nothing_written(
    tmp_path: Path, edited: EditModel, name: str
) -> None:
    edit, said = EDITS[name]
    with pytest.raises(GraphError, match=said):
        write_bundle(tmp_path, card=build_card(), onnx=edited(edit))
    assert list(tmp_path.iterdir()) == []


def test_a_graph_with_the_right_hash_is_checked_when_read(folder: Path, edited: EditModel) -> None:
    for model in (edited(EDITS["external weights"][0]), b"not a model", b"", b"\x80" * 50):
        (folder / MODEL_FILE).write_bytes(model)
        edit_card(folder, files={MODEL_FILE: _sha256(model)})
        with pytest.raises(GraphError):
            read_bundle(folder)


IMAGES = np.random.default_rng(0).integers(0, 256, (64, 3, 8, 8), dtype=np.uint8)
BIASES = [np.array([0.5, -0.75, 0.25]), np.array([-1.0, 0.25, 0.75])]


def run(model: bytes) -> npt.NDArray[np.float64]:
    onnx.checker.check_model(model)
    found = ort.InferenceSession(model).run(["probabilities"], {"image": IMAGES})[0]
    return np.asarray(found, np.float64)


@pytest.mark.parametrize("temperature", [0.3, 2.75, 20.0])
def test_another_temperature_is_that_power_of_the_old_probabilities(temperature: float) -> None:
    model = with_calibrator(build_onnx(temperature=1.5), temperature=temperature)
    powers = run(build_onnx(temperature=1.5)) ** (1.5 / temperature)
    np.testing.assert_allclose(run(model), powers / powers.sum(axis=1, keepdims=True), atol=1e-6)
    assert model == build_onnx(temperature=temperature)  # nothing else differs


def test_weights_and_biases_act_on_log_probabilities() -> None:
    plain, weight = build_onnx(temperature=1.5), np.array([0.5, 1.0, 2.0])
    logs = np.log(run(plain))
    biased = with_calibrator(plain, temperature=1.5, class_bias=BIASES[0])
    np.testing.assert_allclose(run(biased), softmax(logs + BIASES[0]), atol=1e-6)
    again = with_calibrator(biased, temperature=1.5, class_bias=BIASES[1])
    assert again == with_calibrator(plain, temperature=1.5, class_bias=BIASES[1])
    model = with_calibrator(plain, temperature=1.5, class_bias=BIASES[0], class_weight=weight)
    np.testing.assert_allclose(run(model), softmax(weight * logs + BIASES[0]), atol=1e-6)


def test_a_calibrator_that_cannot_be_is_refused(edited: EditModel) -> None:
    sound = edited(lambda model: None)
    for temperature in (0.0, -1.0, np.nan, np.inf, 1e-50, 1e39):
        with pytest.raises(ValueError, match="positive and finite"):
            with_calibrator(sound, temperature=temperature)
    with pytest.raises(ValueError, match="class_bias must be finite"):
        with_calibrator(sound, temperature=1.5, class_bias=[np.nan, 0, 0])
    with pytest.raises(ValueError, match="no initializer"):
        with_calibrator(edited(EDITS["no temperature"][0]), temperature=1.0)
    other = edited(lambda model: _softmax(model, "Sigmoid"))
    with pytest.raises(ValueError, match="does not end in a Softmax"):
        with_calibrator(other, temperature=1.5, class_bias=BIASES[0])


def test_a_calibrator_that_the_card_does_not_know_is_refused(tmp_path: Path) -> None:
    card, plain = build_card(), build_onnx(temperature=1.5)
    calibration = card.calibration.model_copy(update={"class_bias": tuple(BIASES[0].tolist())})
    biased = card.model_copy(update={"calibration": calibration})
    model = with_calibrator(plain, temperature=1.5, class_bias=BIASES[0])
    write_bundle(tmp_path, card=biased, onnx=model)
    for each, onnx_model in ((card, model), (biased, plain)):
        with pytest.raises(GraphError, match="class_bias"):
            write_bundle(tmp_path, card=each, onnx=onnx_model)


FILES = (CARD_FILE, MANIFEST_FILE, MODEL_FILE, "tiny.mar")


def test_it_names_every_other_file_with_size_and_hash(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert (manifest.name, manifest.version) == ("tiny", 1)
    assert sorted(manifest.files) == [
        CARD_FILE,
        MODEL_FILE,
        "model_card.md",
        "probes.json",
        "reliability.svg",
        "tiny.mar",
    ]
    assert all(
        manifest.files[name] == FileEntry.of((folder / name).read_bytes())
        for name in manifest.files
    )
    assert (
        read_bundle(folder).digest
        == manifest.digest
        == digest_of((folder / MANIFEST_FILE).read_bytes())
        == read_bundle(folder, digest=manifest.digest).digest
    )
    with pytest.raises(ManifestError, match=f"its digest is {manifest.digest}"):
        read_bundle(folder, digest=digest_of(b""))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = build_bundle(tmp_path_factory.mktemp("sound") / "tiny" / "1").folder
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def damaged(
    tmp_path_factory: pytest.TempPathFactory, sound: dict[str, bytes]
) -> Callable[[str, bytes], Path]:
    """A bundle in which one file holds something else."""
    folder = tmp_path_factory.mktemp("damaged") / "tiny" / "1"
    folder.mkdir(parents=True)

    def write(name: str, data: bytes) -> Path:
        for each in FILES:
            (folder / each).write_bytes(data if each == name else sound[each])
        return folder

    return write


@pytest.mark.slow
@given(data=st.data(), name=st.sampled_from(FILES))
@settings(max_examples=100)
def test_every_change_of_bits_or_length_is_refused(
    data: st.DataObject, name: str, sound: dict[str, bytes], damaged: Callable[[str, bytes], Path]
) -> None:
    changed = bytearray(sound[name])
    bit = data.draw(st.integers(0, 8 * len(changed) - 1))
    changed[bit // 8] ^= 1 << bit % 8
    length = data.draw(st.integers(0, len(changed) - 1))
    for each in (bytes(changed), sound[name][:length], sound[name] + b"\0"):
        with pytest.raises(BundleError, match=r"bundle tiny/1 is refused"):
            read_bundle(damaged(name, each))


def test_a_file_that_it_does_not_name_is_refused_unless_hidden(folder: Path) -> None:
    (folder / ".nfs0001").write_bytes(b"")
    read_bundle(folder)
    (folder / "model.onnx.data").write_bytes(b"weights")
    with pytest.raises(FileError, match=r"model\.onnx\.data"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"format_version": 2}', "é"]
)
def test_what_is_no_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        read_bundle(folder)


def test_a_huge_manifest_is_not_read(folder: Path) -> None:
    with (folder / MANIFEST_FILE).open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(ManifestError, match="1,099,511,627,776 bytes"):
        read_bundle(folder)


def test_another_spelling_or_version_is_refused(folder: Path) -> None:
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text())))
    with pytest.raises(ManifestError, match="spelled"):
        read_bundle(folder)
    write_manifest(folder, name="tiny", version=2)
    with pytest.raises(BundleError, match="tiny/2"):
        read_bundle(folder)


def test_a_manifest_without_card_or_model_is_refused(folder: Path) -> None:
    for name in (MODEL_FILE, CARD_FILE):
        (folder / name).rename(folder.parent / name)
        write_manifest(folder, name="tiny", version=1)
        with pytest.raises(FileError, match=f"lists no {name}"):
            read_bundle(folder)
        (folder.parent / name).rename(folder / name)
