"""What `candor import` refuses, each with a sentence that says what to do, never a trace, and never
all the memory.
"""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from candor.command_line import app
from model_store.errors import ForeignModelRefused, ModelStoreError
from model_store.foreign.inspection import ModelWishes, inspect_model
from model_store.foreign.onnx_file import read_onnx
from model_store.foreign.sandbox import Sandbox
from tests.builders.bundles import SIDE, foreign_onnx, labeled_folder, linear


def refusal(path: Path, *options: str) -> str:
    """Run the command; it must end with an error that Candor raises on purpose, and publish
    nothing.
    """
    store = path.parent / "store"
    done = CliRunner().invoke(
        app,
        [
            "import",
            str(path),
            "--classes",
            "a,b,c",
            "--normalize",
            "unit",
            "--store",
            str(store),
            *options,
        ],
    )
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, ModelStoreError), done.exception
    assert not list(store.rglob("card.json"))
    said = str(done.exception)
    assert "\n" not in said
    assert len(said) < 700
    return said


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


POOLED = [node("GlobalAveragePool", "pixels", "mean"), node("Flatten", "mean", "scores")]
MAPS = {"kernel": np.ones((3, 3, 1, 1), np.float32)}
LOOP = helper.make_graph(
    [node("Identity", "go_on", "again"), node("Add", "sum sum", "sum_out")],
    "body",
    [
        helper.make_tensor_value_info("at", TensorProto.INT64, []),
        helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("sum", TensorProto.FLOAT, None),
    ],
    [
        helper.make_tensor_value_info("again", TensorProto.BOOL, []),
        helper.make_tensor_value_info("sum_out", TensorProto.FLOAT, None),
    ],
)
CASES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "custom operator": (
        lambda path: foreign_onnx(
            path, [node("Magic", "pixels", "scores", domain="my.own")], domains=["my.own"]
        ),
        (
            "operators outside of the ONNX standard (my.own.Magic)",
            "export the model with standard operators",
        ),
    ),
    "opset of 2017": (lambda path: foreign_onnx(path, opset=6), ("opset 6", "export it again")),
    "operator of ONNX Runtime alone": (
        lambda path: foreign_onnx(
            path,
            [node("Attention", "pixels", "scores", domain="com.microsoft")],
            domains=["com.microsoft"],
        ),
        ("com.microsoft.Attention", "without ONNX Runtime's optimizations"),
    ),
    "graph that reads a file": (
        lambda path: foreign_onnx(
            path,
            [
                node(
                    "EPContext",
                    "pixels",
                    "scores",
                    domain="com.microsoft",
                    ep_cache_context="/etc/passwd",
                )
            ],
            domains=["com.microsoft"],
        ),
        ("EPContext", "runs code or files"),
    ),
    "custom operator inside a branch": (
        lambda path: foreign_onnx(
            path,
            [
                node(
                    "If",
                    "yes",
                    "scores",
                    then_branch=helper.make_graph(
                        [node("Magic", "pixels", "x", domain="my.own")],
                        "then",
                        [],
                        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
                    ),
                    else_branch=helper.make_graph(
                        [node("Identity", "pixels", "y")],
                        "else",
                        [],
                        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
                    ),
                )
            ],
            constants={"yes": np.array(True)},
        ),
        ("my.own.Magic",),
    ),
    "segmentation": (
        lambda path: foreign_onnx(path, [node("Conv", "pixels kernel", "scores")], constants=MAPS),
        ("a map, as of a segmentation",),
    ),
    "detection": (
        lambda path: foreign_onnx(
            path,
            [
                *linear()[:1],
                node("MatMul", "flat boxes", "z"),
                node("Reshape", "z shape", "scores"),
            ],
            constants={
                "boxes": np.ones((3 * SIDE * SIDE, 30), np.float32),
                "shape": np.array([0, 5, 6], np.int64),
            },
        ),
        ("several rows for each image, as of a detector", "whole images"),
    ),
    "multi-label": (
        lambda path: foreign_onnx(path, linear("Sigmoid")),
        ("multi-label model", "--exclusive"),
    ),
    "several inputs": (
        lambda path: _with_second_input(path),
        ("several inputs ('pixels', 'age')", "with the others fixed"),
    ),
    "labels only": (
        lambda path: _labels_only(path),
        ("none of its outputs ('label')", "export the probabilities too"),
    ),
    "no image": (
        lambda path: foreign_onnx(path, POOLED, shape=("N", 7, SIDE, SIDE)),
        ("is no image of 1 or 3 channels and at most 4096 pixels a side",),
    ),
    "absurd size": (
        lambda path: foreign_onnx(path, POOLED, shape=("N", 3, 10**9, 10**9)),
        ("is no image of 1 or 3 channels and at most 4096 pixels a side",),
    ),
    "text": (
        lambda path: foreign_onnx(path, elem_type=TensorProto.STRING),
        ("cannot run the model",),
    ),
    "memory": (
        lambda path: foreign_onnx(
            path,
            [
                node("ConstantOfShape", "huge", "zeros"),
                node("ReduceSum", "zeros", "total", keepdims=0),
                *linear()[:1],
                node("MatMul", "flat weights", "z"),
                node("Add", "z total", "scores"),
            ],
            constants={"huge": np.array([1 << 20, 1 << 20], np.int64)},
        ),
        ("memory",),
    ),
    "damaged": (
        lambda path: path.write_bytes(foreign_onnx(path).read_bytes()[:900]),
        ("is not an ONNX file, or it is damaged",),
    ),
    "a picture": (
        lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200)),
        ("is not an ONNX file",),
    ),
    "empty": (lambda path: path.write_bytes(b""), ("is not an ONNX file",)),
    "Keras": (
        lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)),
        ("a Keras HDF5 file", "model.export("),
    ),
    "TensorFlow Lite": (
        lambda path: path.write_bytes(b"\0\0\0\0TFL3" + bytes(99)),
        ("TensorFlow Lite", "tf2onnx"),
    ),
    "a pickle": (
        lambda path: path.write_bytes(b"\x80\x04" + bytes(99)),
        ("a pickle, which Candor never loads",),
    ),
    "a circle": (
        lambda path: foreign_onnx(
            path, [node("Identity", "there", "scores"), node("Identity", "scores", "there")]
        ),
        ("Identity reads 'there', which nothing before it gives",),
    ),
    "no inputs": (
        lambda path: foreign_onnx(path, [node("Softmax", "", "scores")]),
        ("its scores need no input",),
    ),
    "functions that call themselves": (
        lambda path: _functions(path, calls=1, depth=1),
        ("call themselves",),
    ),
    "functions that multiply": (
        lambda path: _functions(path, calls=10, depth=12),
        ("more than 200,000 operators",),
    ),
    "not finite": (
        lambda path: foreign_onnx(
            path, constants={"weights": np.full((3 * SIDE * SIDE, 3), np.nan, np.float32)}
        ),
        ("is not finite",),
    ),
}


def _with_second_input(path: Path) -> None:
    foreign_onnx(
        path, [*linear()[:1], node("MatMul", "flat weights", "z"), node("Add", "z age", "scores")]
    )
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, [1]))
    onnx.save(model, path)


def _functions(path: Path, *, calls: int, depth: int) -> None:
    """Functions each of which calls the next one often; with one of them, it calls itself."""
    foreign_onnx(path, [node("F0", "pixels", "scores", domain="own")], domains=["own"])
    model = onnx.load(path)
    for at in range(depth):
        inner = f"F{at + 1}" if at + 1 < depth else "F0" if depth == 1 else "Last"
        body = [node(inner, "x", f"y{call}", domain="own") for call in range(calls)]
        body.append(node("Identity", "y0", "y"))
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        model.functions.append(helper.make_function("own", f"F{at}", ["x"], ["y"], body, imports))
    last = [node("Identity", "x", "y")]
    model.functions.append(
        helper.make_function("own", "Last", ["x"], ["y"], last, [helper.make_opsetid("", 17)])
    )
    path.write_bytes(model.SerializeToString())


def _labels_only(path: Path) -> None:
    foreign_onnx(path, [*linear(), node("ArgMax", "scores", "label", axis=1)], outputs=["label"])
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, path)


@pytest.mark.parametrize("case", CASES)
def test_is_refused_by_name(tmp_path: Path, case: str) -> None:
    write, expected = CASES[case]
    write(tmp_path / "model.onnx")
    said = refusal(tmp_path / "model.onnx")
    for part in expected:
        assert part in said


def test_a_loop_without_end_is_ended(tmp_path: Path) -> None:
    body = node("Loop", "often yes one", "total", body=LOOP)
    path = foreign_onnx(
        tmp_path / "loop.onnx",
        [
            *linear()[:1],
            node("MatMul", "flat weights", "z"),
            body,
            node("Add", "z total", "scores"),
        ],
        constants={
            "often": np.array(1 << 60, np.int64),
            "yes": np.array(True),
            "one": np.array(1.0, np.float32),
        },
    )
    with (
        Sandbox(0, seconds=2) as sandbox,
        pytest.raises(ForeignModelRefused, match="did not finish within 2 s"),
    ):
        inspect_model(read_onnx(path), ModelWishes(), sandbox)


def test_a_process_that_dies_is_a_sentence() -> None:
    with (
        Sandbox(0, memory_bytes=2**20) as sandbox,
        pytest.raises(ForeignModelRefused, match="crashed ONNX Runtime"),
    ):
        sandbox.load(b"")


@pytest.mark.parametrize(
    "location", ["../weights.bin", "/etc/passwd", "C:\\weights.bin", "link.bin", ""]
)
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(3 * SIDE * SIDE * 3 * 4))
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    path = _external(folder / "model.onnx", location)
    assert "outside its own folder" in refusal(path)


def test_external_data_that_is_cut_short_or_absent_is_refused(tmp_path: Path) -> None:
    path = _external(tmp_path / "model.onnx", "weights.bin")
    assert "which is not there: put that file beside it" in refusal(path)
    (tmp_path / "weights.bin").write_bytes(bytes(100))
    assert "does not hold them" in refusal(path)


def test_external_data_beside_the_file_are_taken_in(tmp_path: Path) -> None:
    foreign_onnx(tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    onnx.save(
        model,
        tmp_path / "split.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    command = ["import", str(tmp_path / "split.onnx"), "--classes", "a,b,c", "--normalize", "unit"]
    done = CliRunner().invoke(app, [*command, "--store", str(tmp_path / "store"), "--json"])
    assert done.exit_code == 0, done.output
    bundle = Path(json.loads(done.stdout)["folder"]) / "model.onnx"
    assert (tmp_path / "weights.bin").stat().st_size < bundle.stat().st_size
    said = bundle.with_name("model_card.md").read_text()
    for part in (
        "**not calibrated**",
        "Imported** from split.onnx",
        "nothing is known about its confidence",
        "made-up images",
    ):
        assert part in said
    assert "torch" not in said


def _external(path: Path, location: str) -> Path:
    foreign_onnx(path)
    model = onnx.load(path)
    (tensor,) = model.graph.initializer
    length = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    return path


def test_class_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx")
    assert "2 classes were named (a, b), but the model gives scores for 3" in refusal(
        path, "--classes", "a,b"
    )
    assert "the class 'a' is named twice" in refusal(path, "--classes", "a,a,b")


def test_a_labeled_folder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx")
    wrong = labeled_folder(tmp_path / "wrong", ("a", "b", "dog"))
    assert "has the folders dog, which are no classes of the model" in refusal(
        path, "--data", str(wrong)
    )
    one = labeled_folder(tmp_path / "one", ("a",))
    assert "images in 1 class folders; expected two or more" in refusal(path, "--data", str(one))
    few = labeled_folder(tmp_path / "few", images=1)
    assert "has 3 images; at least 10 are needed" in refusal(path, "--data", str(few))
    assert "is no folder" in refusal(path, "--data", str(path))
    good = labeled_folder(tmp_path / "good")
    assert "is no regular expression" in refusal(path, "--data", str(good), "--group-pattern", "(")
    assert "finds nothing in" in refusal(path, "--data", str(good), "--group-pattern", "patient")
    assert "always answering" in refusal(path, "--data", str(good))
    (good / "a" / "broken.png").write_bytes(b"no image")
    assert "broken.png: " in refusal(path, "--data", str(good))


def test_what_nobody_knows_is_asked(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", linear("Softmax"))
    store = ["--store", str(tmp_path / "store")]
    for given, asked in {
        (): "give --classes FIRST,SECOND,THIRD, in the order of its scores",
        ("--classes", "a,b,c"): "give --normalize (imagenet, unit, symmetric, raw, caffe, clip)",
    }.items():
        done = CliRunner().invoke(app, ["import", str(path), *given, *store])
        assert asked in str(done.exception)
    free = foreign_onnx(tmp_path / "free.onnx", POOLED, shape=("N", 3, "H", "W"))
    assert "give --size HEIGHTxWIDTH" in refusal(free)


@pytest.mark.parametrize("archive", ["no zip", "no manifest", "pickle"])
def test_archives_without_onnx_are_refused(tmp_path: Path, archive: str) -> None:
    path = tmp_path / "model.mar"
    path.write_bytes(b"no zip")
    if archive != "no zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("model.pt", b"\x80\x04")
            if archive == "pickle":
                file.writestr(
                    "MAR-INF/MANIFEST.json", json.dumps({"model": {"serializedFile": "model.pt"}})
                )
    expected = {
        "no zip": "is no TorchServe archive",
        "no manifest": "no TorchServe archive",
        "pickle": "no ONNX file",
    }
    assert expected[archive] in refusal(path)


def test_the_command_prints_one_sentence_and_no_trace(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x80\x04")
    command = [sys.executable, "-m", "candor", "import", str(tmp_path / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("candor: ")
