"""Bundles: written whole, read back the same, and refused by name for each thing that can be wrong
with them.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import model_store
from calibration.calibrators.temperature import softmax
from model_store.bundle.bundle import CARD_FILE, MODEL_FILE, Bundle, read_bundle, write_bundle
from model_store.bundle.card import Card
from model_store.bundle.graph import with_calibrator
from model_store.bundle.manifest import MANIFEST_FILE, write_manifest
from model_store.errors import BundleError, CardError, FileError, GraphError, ManifestError

Edit = Callable[[onnx.ModelProto], None]


@pytest.fixture
def folder(tmp_path: Path, make_bundle: Callable[..., Bundle]) -> Path:
    """A sound bundle's folder."""
    return make_bundle(tmp_path / "tiny" / "1").folder


@pytest.fixture
def edited(make_onnx: Callable[..., bytes]) -> Callable[[Edit], bytes]:
    """Give the tiny model after an edit of its graph."""

    def edit_model(edit: Edit) -> bytes:
        model = onnx.load_model_from_string(make_onnx())
        edit(model)
        return bytes(model.SerializeToString())

    return edit_model


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def edit_card(folder: Path, **changes: Any) -> None:
    data = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    write_card(folder, json.dumps(data | changes))


def write_card(folder: Path, text: str) -> None:
    """Replace the card, and make a manifest that fits."""
    (folder / CARD_FILE).write_text(text, encoding="utf-8")
    write_manifest(folder, name="tiny", version=1)


def temperature_of(model: onnx.ModelProto) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == "temperature")


def test_what_was_written_is_read(
    tmp_path: Path, make_card: Callable[..., Card], make_onnx: Callable[..., bytes]
) -> None:
    card = write_bundle(tmp_path, card=make_card(), onnx=make_onnx())
    bundle = read_bundle(tmp_path)
    assert (bundle.card, bundle.onnx, bundle.folder) == (card, make_onnx(), tmp_path)
    assert card == make_card().model_copy(update={"files": card.files})
    assert sorted(card.files) == ["model.onnx", "tiny.mar"]
    written = [
        "card.json",
        "manifest.json",
        "model.onnx",
        "model_card.md",
        "reliability.svg",
        "tiny.mar",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == written


@pytest.mark.parametrize("name", [MODEL_FILE, "tiny.mar", CARD_FILE])
@pytest.mark.parametrize("place", [0, 0.5, -1])
def test_a_flipped_bit_is_found(folder: Path, name: str, place: float) -> None:
    data = bytearray((folder / name).read_bytes())
    data[int(place * len(data)) if place >= 0 else -1] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(FileError, match=rf"{name}.*sha256"):
        read_bundle(folder)


def test_a_card_that_is_no_utf8_is_refused(folder: Path) -> None:
    sound = (folder / CARD_FILE).read_bytes()
    for place in range(0, len(sound), 97):
        data = bytearray(sound)
        data[place] ^= 0x80  # no longer ASCII, hence no UTF-8
        (folder / CARD_FILE).write_bytes(data)
        write_manifest(folder, name="tiny", version=1)
        with pytest.raises(CardError, match="not JSON"):
            read_bundle(folder)


@pytest.mark.parametrize("name", [MODEL_FILE, "tiny.mar", CARD_FILE])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(
        FileError, match=rf"tiny/1 is refused: '{name}' cannot be read \(No such file"
    ):
        read_bundle(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"tiny/7 is refused: there is no such folder"):
        read_bundle(tmp_path / "tiny" / "7")


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
    name = name.format(root=folder.parent)
    if where == CARD_FILE:
        edit_card(
            folder,
            files={
                MODEL_FILE: _sha256((folder / MODEL_FILE).read_bytes()),
                name: _sha256(b"secret"),
            },
        )
    else:
        data = json.loads((folder / MANIFEST_FILE).read_text())
        data["files"][name] = {"sha256": _sha256(b"secret"), "size_bytes": 6}
        (folder / MANIFEST_FILE).write_text(json.dumps(data, indent=2, sort_keys=True) + "\n")
    with pytest.raises(FileError if where == CARD_FILE else ManifestError):
        read_bundle(folder)


@pytest.mark.parametrize("name", [MODEL_FILE, "tiny.mar", CARD_FILE, MANIFEST_FILE])
def test_a_symbolic_link_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="is a symbolic link"):
        read_bundle(folder)


def test_a_card_that_lists_no_model_is_refused(folder: Path) -> None:
    edit_card(folder, files={})
    with pytest.raises(CardError, match=r"lists no model\.onnx"):
        read_bundle(folder)


@pytest.mark.parametrize("text", ["", "{", "[1, 2", "[" * 100_000])
def test_a_card_that_is_no_json_is_refused(folder: Path, text: str) -> None:
    write_card(folder, text)
    with pytest.raises(CardError, match="not JSON"):
        read_bundle(folder)


def test_a_card_of_another_format_is_refused(folder: Path) -> None:
    for version in (2, 0, "1", None, [1]):
        edit_card(folder, format_version=version, unheard_of=1)
        with pytest.raises(CardError, match=r"format version .* this Candor reads 1"):
            read_bundle(folder)
    write_card(folder, "[]")
    with pytest.raises(CardError, match="format version None"):
        read_bundle(folder)


def test_a_card_against_the_schema_is_refused_with_the_place(folder: Path) -> None:
    edit_card(
        folder, input={"channels": 3, "height": 8, "width": float("nan"), "resize": "stretch"}
    )
    with pytest.raises(CardError, match=r"card\.json: input\.width: "):
        read_bundle(folder)
    edit_card(folder, input={"channels": 3, "height": 8, "width": 8}, classes=["one"])
    with pytest.raises(CardError, match=r"card\.json: classes: "):
        read_bundle(folder)


def test_a_field_of_a_later_candor_is_ignored(folder: Path) -> None:
    known = read_bundle(folder).card
    edit_card(folder, later={"any": ["thing"]})
    assert read_bundle(folder).card == known


def test_a_card_of_another_size_or_temperature_is_refused(folder: Path) -> None:
    edit_card(folder, input={"channels": 1, "height": 8, "width": 8})
    with pytest.raises(
        GraphError, match=r"uint8 \[N, 1, 8, 8\]; it has 'image' uint8 \[N, 3, 8, 8\]"
    ):
        read_bundle(folder)


def _rename_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "pixels"


def _float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def _fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def _fixed_output_batch(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 4


def _second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, ["N", 1]))


def _no_input(model: onnx.ModelProto) -> None:
    del model.graph.input[:]


def _scalar_input(model: onnx.ModelProto) -> None:
    del model.graph.input[0].type.tensor_type.shape.dim[:]


def _rename_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "logits"


def _double_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def _fewer_classes(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2


def _no_temperature(model: onnx.ModelProto) -> None:
    temperature_of(model).name = "T"


def _other_temperature(model: onnx.ModelProto) -> None:
    temperature_of(model).CopyFrom(
        numpy_helper.from_array(np.array([1.6], np.float32), "temperature")
    )


def _scalar_temperature(model: onnx.ModelProto) -> None:
    temperature_of(model).CopyFrom(
        numpy_helper.from_array(np.array(1.5, np.float32), "temperature")
    )


def _double_temperature(model: onnx.ModelProto) -> None:
    temperature_of(model).CopyFrom(numpy_helper.from_array(np.array([1.5]), "temperature"))


def _cut_temperature(model: onnx.ModelProto) -> None:
    temperature_of(model).raw_data = b"\0\0"


def _external(tensor: onnx.TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")


def _external_weights(model: onnx.ModelProto) -> None:
    _external(model.graph.initializer[1])


def _external_constant(model: onnx.ModelProto) -> None:
    value = numpy_helper.from_array(np.zeros(1, np.float32), "constant")
    _external(value)
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=value))


def _external_in_a_branch(model: onnx.ModelProto) -> None:
    value = numpy_helper.from_array(np.zeros(1, np.float32), "hidden")
    _external(value)
    branch = helper.make_graph([], "branch", [], [], [value])
    model.graph.node.append(
        helper.make_node("If", ["condition"], ["unused"], then_branch=branch, else_branch=branch)
    )


def _custom_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("hospital.ops", 1))
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    softmax.domain, softmax.op_type = "hospital.ops", "SoftmaxOfOurOwn"


def _custom_in_a_branch(model: onnx.ModelProto) -> None:
    node = helper.make_node("Hidden", [], ["x"], domain="hospital.ops")
    branch = helper.make_graph([node], "branch", [], [])
    model.graph.node.append(
        helper.make_node("If", ["condition"], ["unused"], then_branch=branch, else_branch=branch)
    )


def _unknown_operator(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Softmax").op_type = "Softmaximum"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            _custom_operator,
            r"operators outside of the ONNX standard: hospital\.ops\.SoftmaxOfOurOwn; export",
        ),
        (_custom_in_a_branch, r"standard: hospital\.ops\.Hidden"),
        (_unknown_operator, "no valid ONNX graph: No Op registered for Softmaximum"),
        (_rename_input, r"one input 'image' uint8 \[N, 3, 8, 8\]; it has 'pixels'"),
        (_float_input, r"it has 'image' float \[N, 3, 8, 8\]"),
        (_fixed_batch, r"it has 'image' uint8 \[1, 3, 8, 8\]"),
        (_second_input, r"it has 'image' .*, 'age' float \[N, 1\]"),
        (_no_input, "it has none"),
        (_scalar_input, r"it has 'image' uint8 \[\]"),
        (_rename_output, r"one output 'probabilities' float \[N, 3\]; it has 'logits'"),
        (_double_output, r"'probabilities' double"),
        (_fixed_output_batch, r"'probabilities' float \[4, 3\]"),
        (_fewer_classes, r"'probabilities' float \[N, 2\]"),
        (_no_temperature, "no initializer named 'temperature'"),
        (_other_temperature, r"temperature \[1\.6.*\] \(float32\), the card says 1\.5"),
        (_scalar_temperature, r"temperature 1\.5 \(float32\)"),
        (_double_temperature, r"temperature \[1\.5\] \(float64\)"),
        (_cut_temperature, "damaged temperature"),
        (_external_weights, "another file"),
        (_external_constant, "another file"),
        (_external_in_a_branch, "another file"),
    ],
)
def test_a_graph_against_the_contract_is_refused_and_nothing_written(
    tmp_path: Path,
    make_card: Callable[..., Card],
    edited: Callable[[Edit], bytes],
    edit: Edit,
    message: str,
) -> None:
    with pytest.raises(GraphError, match=message):
        write_bundle(tmp_path, card=make_card(), onnx=edited(edit))
    assert list(tmp_path.iterdir()) == []


def test_a_graph_with_the_right_hash_is_checked_when_read(
    folder: Path, edited: Callable[[Edit], bytes]
) -> None:
    model = edited(_external_weights)
    (folder / MODEL_FILE).write_bytes(model)
    edit_card(folder, files={MODEL_FILE: _sha256(model)})
    with pytest.raises(GraphError, match="another file"):
        read_bundle(folder)


@pytest.mark.parametrize("data", [b"not a model", b"", b"\x80" * 50])
def test_what_is_no_onnx_is_refused(
    tmp_path: Path, make_card: Callable[..., Card], data: bytes
) -> None:
    with pytest.raises(GraphError, match=r"model\.onnx"):
        write_bundle(tmp_path, card=make_card(), onnx=data)


def run(model: bytes, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    result: npt.NDArray[np.float32] = ort.InferenceSession(model).run(
        ["probabilities"], {"image": images}
    )[0]
    return result


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.75, 20.0])
def test_another_temperature_is_that_power_of_the_old_probabilities(
    make_onnx: Callable[..., bytes], temperature: float
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (64, 3, 8, 8), dtype=np.uint8)
    old, new = (
        run(make_onnx(temperature=1.5), images),
        run(with_calibrator(make_onnx(), temperature=temperature), images),
    )
    powers = old.astype(np.float64) ** (1.5 / temperature)
    np.testing.assert_allclose(new, powers / powers.sum(axis=1, keepdims=True), atol=1e-6)


def test_the_graph_differs_in_the_temperature_alone(make_onnx: Callable[..., bytes]) -> None:
    assert with_calibrator(make_onnx(temperature=1.5), temperature=2.5) == make_onnx(
        temperature=2.5
    )


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf, 1e-50, 1e39])
def test_a_temperature_that_is_none_is_refused(
    make_onnx: Callable[..., bytes], temperature: float
) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        with_calibrator(make_onnx(), temperature=temperature)


def test_a_graph_without_temperature_cannot_be_given_one(edited: Callable[[Edit], bytes]) -> None:
    with pytest.raises(ValueError, match="no initializer"):
        with_calibrator(edited(_no_temperature), temperature=1.0)


BIASES = [np.array([0.5, -0.75, 0.25]), np.array([-1.0, 0.25, 0.75])]


def calibrated(old: npt.NDArray[np.float32], weight: Any, bias: Any) -> npt.NDArray[np.float64]:
    """softmax(weight * log p + bias) of probabilities (N, K)."""
    return softmax(weight * np.log(old.astype(np.float64)) + bias)


def test_the_class_bias_is_added_to_the_cooled_logits(make_onnx: Callable[..., bytes]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (64, 3, 8, 8), dtype=np.uint8)
    first = with_calibrator(make_onnx(temperature=1.5), temperature=1.5, class_bias=BIASES[0])
    np.testing.assert_allclose(
        run(first, images),
        calibrated(run(make_onnx(temperature=1.5), images), 1, BIASES[0]),
        atol=1e-6,
    )
    second = with_calibrator(first, temperature=1.5, class_bias=BIASES[1])
    assert second == with_calibrator(
        make_onnx(temperature=1.5), temperature=1.5, class_bias=BIASES[1]
    )


def test_a_class_weight_scales_log_probabilities(make_onnx: Callable[..., bytes]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (64, 3, 8, 8), dtype=np.uint8)
    weight = np.array([0.5, 1.0, 2.0])
    model = with_calibrator(
        make_onnx(temperature=1.5), temperature=1.5, class_bias=BIASES[0], class_weight=weight
    )
    np.testing.assert_allclose(
        run(model, images),
        calibrated(run(make_onnx(temperature=1.5), images), weight, BIASES[0]),
        atol=1e-6,
    )
    onnx.checker.check_model(model)


def test_a_calibrator_that_the_card_does_not_know_is_refused(
    tmp_path: Path, make_card: Callable[..., Card], make_onnx: Callable[..., bytes]
) -> None:
    card = make_card()
    biased = card.calibration.model_copy(update={"class_bias": tuple(BIASES[0].tolist())})
    model = with_calibrator(make_onnx(temperature=1.5), temperature=1.5, class_bias=BIASES[0])
    for name in ("sound", "unknown", "missing"):
        (tmp_path / name).mkdir()
    write_bundle(
        tmp_path / "sound", card=card.model_copy(update={"calibration": biased}), onnx=model
    )
    with pytest.raises(
        GraphError, match=r"class_bias \[0.5, -0.75, 0.25\] \(float32\), the card says None"
    ):
        write_bundle(tmp_path / "unknown", card=card, onnx=model)
    with pytest.raises(GraphError, match="no initializer named 'class_bias'"):
        write_bundle(
            tmp_path / "missing",
            card=card.model_copy(update={"calibration": biased}),
            onnx=make_onnx(temperature=1.5),
        )


def test_a_bias_needs_a_softmax_at_the_end(edited: Callable[[Edit], bytes]) -> None:
    with pytest.raises(ValueError, match="does not end in a Softmax"):
        with_calibrator(edited(_no_softmax), temperature=1.5, class_bias=BIASES[0])
    with pytest.raises(ValueError, match="class_bias must be finite"):
        with_calibrator(edited(lambda proto: None), temperature=1.5, class_bias=[np.nan, 0, 0])


def _no_softmax(proto: onnx.ModelProto) -> None:
    proto.graph.node[-1].CopyFrom(helper.make_node("Sigmoid", ["cooled"], ["probabilities"]))


def test_the_archive_holds_all_that_torchserve_needs(folder: Path) -> None:
    with zipfile.ZipFile(folder / "tiny.mar") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert set(members) == {
        "MAR-INF/MANIFEST.json",
        "model-config.yaml",
        "model.onnx",
        "card.json",
        "torchserve_handler.py",
        "calibration/__init__.py",
        "calibration/bins.py",
        *(f"model_store/{name}.py" for name in ("__init__", "errors", "runtime")),
        *(
            f"model_store/torchserve/{name}.py"
            for name in ("__init__", "answers", "counters", "delivery", "outbox")
        ),
        *(
            f"model_store/image/{name}.py"
            for name in (
                "__init__",
                "codecs",
                "cost",
                "decoder",
                "dicom",
                "frames",
                "gray",
                "plain_png",
            )
        ),
    }
    manifest = json.loads(members["MAR-INF/MANIFEST.json"])
    model = manifest["model"]
    assert (model["modelName"], model["modelVersion"]) == ("tiny", "1.0")
    assert {model["serializedFile"], model["handler"], model["configFile"]} <= set(members)
    assert members["model.onnx"] == (folder / MODEL_FILE).read_bytes()
    bundle = read_bundle(folder)
    assert Card.model_validate(json.loads(members["card.json"])) == bundle.card.model_copy(
        update={"files": {}}
    )
    code = Path(model_store.__file__).parent
    assert members["model_store/image/decoder.py"] == (code / "image/decoder.py").read_bytes()


def test_equal_bundles_are_equal_byte_by_byte(
    tmp_path: Path, make_bundle: Callable[..., Bundle]
) -> None:
    first, second = make_bundle(tmp_path / "a" / "tiny"), make_bundle(tmp_path / "b" / "tiny")
    assert first.card == second.card
    for name in (*first.card.files, CARD_FILE):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()
