"""Class names as makers write them, and preprocessing in NumPy and as ONNX operators."""

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.class_names import find_names, given_names
from model_store.foreign.image_input import ImageInput
from model_store.foreign.preprocessing import Preprocessing, usual

LAYOUTS = {
    "NCHW": ImageInput("x", np.float32, None, (3, 4, 6), 3, 4, 6),
    "NHWC": ImageInput("x", np.float32, None, (4, 6, 3), 3, 4, 6, channels_last=True),
    "flat": ImageInput("x", np.float64, None, (24,), 1, 4, 6),
    "gray": ImageInput("x", np.float32, None, (4, 6), 1, 4, 6),
    "uint8": ImageInput("x", np.uint8, None, (4, 6, 3), 3, 4, 6, channels_last=True),
    "int8": ImageInput("x", np.int8, None, (3, 4, 6), 3, 4, 6),
}


def test_operators_do_what_numpy_does() -> None:
    for layout in LAYOUTS:
        image = LAYOUTS[layout]
        for plain, decoded in itertools.product(usual(image), (None, (6, 10))):
            preprocessing = Preprocessing(
                plain.name, plain.normalization, plain.order, "stretch", decoded
            )
            size = preprocessing.decoded_size(image)
            pixels = np.random.default_rng(0).integers(
                0, 256, (2, image.channels, *size), dtype=np.uint8
            )
            part = preprocessing.part("image", "native", image)
            graph = helper.make_graph(
                part.nodes,
                "before",
                [
                    helper.make_tensor_value_info(
                        "image", TensorProto.UINT8, ["N", image.channels, *size]
                    )
                ],
                [helper.make_tensor_value_info("native", image.elem_type, ["N", *image.shape])],
                part.constants,
            )
            model = helper.make_model(
                graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8
            )
            onnx.checker.check_model(model)
            (found,) = ReferenceEvaluator(model).run(None, {"image": pixels})
            expected = image.arrange(preprocessing.apply(pixels, image))
            assert found.dtype == expected.dtype
            assert found.shape == expected.shape
            assert np.abs(found.astype(float) - expected.astype(float)).max() < 1e-5


def test_the_usual_ones_by_hand() -> None:
    pixels = np.full((1, 3, 4, 6), 255, np.uint8)
    pixels[:, 2] = 0  # yellow: no blue
    image = LAYOUTS["NCHW"]
    first = {
        (each.name, each.order): each.apply(pixels, image)[0, :, 0, 0]
        .astype(float)
        .round(3)
        .tolist()
        for each in usual(image)
    }
    assert first["unit", "rgb"] == [1, 1, 0]
    assert first["unit", "bgr"] == [0, 1, 1]
    assert first["symmetric", "rgb"] == [1, 1, -1]
    assert first["raw", "rgb"] == [255, 255, 0]
    assert first["imagenet", "rgb"] == [2.249, 2.429, -1.804]
    assert first["caffe", "bgr"] == [-103.939, 138.221, 131.32]
    assert ("caffe", "rgb") not in first
    assert {each.name for each in usual(LAYOUTS["gray"])} == {"unit", "symmetric", "raw", "mnist"}
    assert {each.name for each in usual(LAYOUTS["uint8"])} == {"raw"}
    assert {each.name for each in usual(LAYOUTS["int8"])} == {"symmetric"}


@pytest.mark.parametrize(
    "text",
    [
        "lung\nheart\n",
        "0 lung\n1 heart",
        "0: lung\n1: heart\n",
        '["lung", "heart"]',
        '{"labels": ["lung", "heart"]}',
        '{"0": "lung", "1": "heart"}',
        "{1: 'heart', 0: 'lung'}",
        "\ufefflung\r\nheart\r\n",
    ],
)
def test_a_file_of_names(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.txt").write_text(text, encoding="utf-8")
    assert given_names(str(tmp_path / "labels.txt")).names == ("lung", "heart")


def test_names_with_commas_between_and_a_file_that_is_no_text(tmp_path: Path) -> None:
    assert given_names("lung, heart ,bone").names == ("lung", "heart", "bone")
    many = tuple(f"finding {number}" for number in range(80))  # longer than a file's name may be
    assert given_names("|".join(many)).names == given_names(",".join(many)).names == many
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ForeignModelRefused):
        given_names(str(tmp_path / "labels.txt"))


@pytest.mark.parametrize("hostile", ["[" * 5_000, "{" * 5_000, "(" * 5_000, "[1," * 2_000])
def test_nested_brackets_are_no_list(tmp_path: Path, hostile: str) -> None:
    (tmp_path / "labels.txt").write_text(hostile)
    assert given_names(str(tmp_path / "labels.txt")).names


def test_folders_are_the_last_resort_and_must_be_as_many() -> None:
    empty = onnx.ModelProto()
    for labels, folders, names in (
        ("", "ab", "ab"),
        ("xy", "ab", "xy"),
        ("01", "ab", "ab"),
        ("012", "01", "012"),
    ):
        found = find_names(None, empty, len(names), labels=tuple(labels), folders=tuple(folders))
        assert found.names == tuple(names)
    with pytest.raises(ForeignModelUnclear, match="classes="):
        find_names(None, empty, 4, labels=(), folders=("a", "b"))
