"""What `candor import` refuses: each file and each lie by name, without a trace or all memory."""

import json
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from model_store import kernel
from model_store.bundle.graph import check_graph
from model_store.errors import ForeignModelRefused, ModelStoreError
from model_store.foreign import sandbox as sandbox_module
from model_store.foreign.frames import MAX_HEAD_BYTES
from model_store.foreign.inspection import inspect_model
from model_store.foreign.onnx_file import read_onnx
from model_store.foreign.sandbox import Sandbox
from model_store.store.store import Store
from tests.builders.bundles import SIDE, color_weights, foreign_onnx, labeled_folder, linear
from tests.builders.processes import candor_here
from tests.builders.triggered import KINDS, publish_triggered, triggered_onnx
from training.datasets.errors import BadDataset


def refusal(path: Path, *options: str) -> str:
    """Run the command; it must end with an error that Candor raises, and publish nothing."""
    store = path.parent / "store"
    command = [
        "import",
        str(path),
        "--classes",
        "a,b,c",
        "--pixels",
        "unit",
        "--channels",
        "rgb",
    ]
    done = candor_here(*command, "--store", store, *options)
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, ModelStoreError | BadDataset), done.exception
    assert not list(store.rglob("card.json"))
    said = str(done.exception)
    assert "\n" not in said
    assert len(said) < 700
    return said


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def model(*nodes: onnx.NodeProto, **options: Any) -> Callable[[Path], object]:
    """Write a graph of these nodes."""
    return lambda path: foreign_onnx(path, nodes, **options)


def data(content: bytes) -> Callable[[Path], object]:
    """Write a file that is no graph."""
    return lambda path: path.write_bytes(content)


def body(name: str, *nodes: onnx.NodeProto, output: str) -> onnx.GraphProto:
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph(nodes, name, [], [value])


ALONE = "com.microsoft"
FLAT = linear()[0]
POOLED = [node("GlobalAveragePool", "pixels", "mean"), node("Flatten", "mean", "scores")]
MAGIC = node("Magic", "pixels", "x", domain="my.own")
BRANCH = node(
    "If",
    "yes",
    "scores",
    then_branch=body("then", MAGIC, output="x"),
    else_branch=body("else", node("Identity", "pixels", "y"), output="y"),
)
DETECTION = (node("MatMul", "flat boxes", "z"), node("Reshape", "z shape", "scores"))
BOXES = {
    "boxes": np.ones((3 * SIDE * SIDE, 30), np.float32),
    "shape": np.array([0, 5, 6], np.int64),
}
HUGE = (
    node("ConstantOfShape", "huge", "zeros"),
    node("ReduceSum", "zeros", "total", keepdims=0),
    node("MatMul", "flat weights", "z"),
    node("Add", "z total", "scores"),
)
CIRCLE = (node("Identity", "there", "scores"), node("Identity", "scores", "there"))
# What is written, and what the refusal must name.
CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "custom operator": (
        model(node("Magic", "pixels", "scores", domain="my.own"), domains=["my.own"]),
        "my.own.Magic",
    ),
    "custom operator inside a branch": (
        model(BRANCH, constants={"yes": np.array(True)}),
        "my.own.Magic",
    ),
    "opset of 2017": (model(opset=6), "opset 6"),
    "an opset to come": (model(opset=99), "again with opset 17"),
    "operator of ONNX Runtime alone": (
        model(node("Attention", "pixels", "scores", domain=ALONE), domains=[ALONE]),
        f"{ALONE}.Attention",
    ),
    "graph that reads a file": (
        model(
            node("EPContext", "pixels", "scores", domain=ALONE, ep_cache_context="/etc/passwd"),
            domains=[ALONE],
        ),
        "EPContext",
    ),
    "percent": (
        model(
            *linear("Softmax")[:2],
            node("Softmax", "logits", "shares"),
            node("Mul", "shares hundred", "scores"),
            constants={"hundred": np.float32(100)},
        ),
        "from Softmax, with numbers",
    ),
    "segmentation": (
        model(
            node("Conv", "pixels kernel", "scores"),
            constants={"kernel": np.ones((3, 3, 1, 1), np.float32)},
        ),
        "segmentation",
    ),
    "detection": (model(FLAT, *DETECTION, constants=BOXES), "detector"),
    "a softmax for each finding": (
        model(
            FLAT,
            node("MatMul", "flat pairs", "z"),
            node("Reshape", "z shape", "y"),
            node("Softmax", "y", "scores", axis=2),
            constants={
                "pairs": np.ones((3 * SIDE * SIDE, 6), np.float32),
                "shape": np.array([0, 3, 2]),
            },
        ),
        "export the second column",
    ),
    "scores in order": (
        model(
            *linear("Softmax"),
            node("TopK", "scores three", "largest which", axis=1),
            outputs=("largest",),
            constants={"three": np.array([3])},
        ),
        "without TopK",
    ),
    "bfloat16": (
        model(node("Cast", "pixels", "scores", to=TensorProto.BFLOAT16)),
        "in 32 bits",
    ),
    "double precision that ONNX Runtime lacks": (
        model(
            node("Conv", "pixels kernel", "maps"),
            *linear(source="maps"),
            elem_type=TensorProto.DOUBLE,
            constants={"kernel": np.ones((3, 3, 1, 1)), "weights": np.ones((3 * SIDE**2, 3))},
        ),
        "in 32 bits",
    ),
    "dropout as in training": (
        model(
            node("Dropout", "pixels half yes", "x"),
            *linear(source="x"),
            constants={"half": np.float32(0.5), "yes": np.array(True)},
        ),
        "model.eval()",
    ),
    "multi-label": (model(*linear("Sigmoid")), "--scores softmax"),
    "evidence": (model(*linear("Relu")), "no probabilities"),
    "several inputs": (lambda path: _with_second_input(path), "'pixels', 'age'"),
    "labels only": (lambda path: _labels_only(path), "'label'"),
    "no image": (model(*POOLED, shape=("N", 7, SIDE, SIDE)), "export it for [N, 1, H, W]"),
    "no batch": (model(node("Relu", "pixels", "scores"), shape=(3, SIDE, SIDE)), "no batch"),
    "absurd size": (model(*POOLED, shape=("N", 3, 10**9, 10**9)), "4096"),
    "text": (model(elem_type=TensorProto.STRING), "cannot run"),
    "memory": (
        model(FLAT, *HUGE, constants={"huge": np.array([1 << 20, 1 << 20], np.int64)}),
        "memory",
    ),
    "damaged": (lambda path: path.write_bytes(foreign_onnx(path).read_bytes()[:900]), "damaged"),
    "a picture": (data(b"\x89PNG\r\n\x1a\n" + bytes(200)), "not an ONNX file"),
    "ONNX as text": (data(b"<\n   ir_version: 8\n>"), "how-to/import-a-model.md"),
    "empty": (data(b""), "not an ONNX file"),
    "Keras": (data(b"\x89HDF\r\n\x1a\n" + bytes(99)), "how-to/import-a-model.md"),
    "TensorFlow Lite": (data(b"\0\0\0\0TFL3" + bytes(99)), "how-to/import-a-model.md"),
    "a pickle": (data(b"\x80\x04" + bytes(99)), "pickle"),
    "a circle": (model(*CIRCLE), "'there'"),
    "a circle of one operator": (
        model(*linear(), node("Identity", "scores", "scores")),
        "'scores'",
    ),
    "no inputs": (model(node("Softmax", "", "scores")), "no input"),
    "functions that call themselves": (
        lambda path: _functions(path, calls=1, depth=1),
        "must not be recursive",
    ),
    "outputs": (lambda path: _many(path, "output"), "1,000"),
    "metadata": (lambda path: _many(path, "metadata_props"), "1,000"),
    "operators of two bytes": (
        data(b"\x08\x08\x3a\x80\xda\xc4\x09" + b"\x0a\0" * 10**7),
        "damaged",
    ),
    "results of one operator": (
        model(*linear(), node("Split", "pixels", " ".join(f"o{each}" for each in range(60_001)))),
        "30,000",
    ),
    "not finite": (
        model(constants={"weights": np.full((3 * SIDE * SIDE, 3), np.nan, np.float32)}),
        "not finite",
    ),
    "whole numbers scaled to fractions": (
        model(
            node("Cast", "pixels", "x", to=TensorProto.FLOAT),
            *linear("Softmax", source="x"),
            elem_type=TensorProto.UINT8,
        ),
        "--pixels raw",
    ),
    "an order of channels of gray images": (
        model(
            *linear("Softmax"),
            shape=("N", 1, SIDE, SIDE),
            constants={"weights": np.eye(SIDE * SIDE, 3, dtype=np.float32)},
        ),
        "--channels",
    ),
    "logarithms of zero": (
        model(
            FLAT,
            node("MatMul", "flat weights", "z"),
            node("Softmax", "z", "p", axis=1),
            node("Log", "p", "scores"),
            constants={
                "weights": np.linspace(-99, 99, 9 * SIDE**2, dtype=np.float32).reshape(-1, 3)
            },
        ),
        "LogSoftmax",
    ),
}


def _with_second_input(path: Path) -> None:
    foreign_onnx(path, [FLAT, node("MatMul", "flat weights", "z"), node("Add", "z age", "scores")])
    read = onnx.load(path)
    read.graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, [1]))
    onnx.save(read, path)


def _many(path: Path, listed: str) -> None:
    """A file with much of one kind, each of a few bytes."""
    foreign_onnx(path, linear())
    read = onnx.load(path)
    of = read if hasattr(read, listed) else read.graph
    of.MergeFrom(type(of)(**{listed: [getattr(of, listed).add()] * 1_001}))
    path.write_bytes(read.SerializeToString())


def _functions(path: Path, *, calls: int, depth: int) -> None:
    """Functions each of which calls the next one often; with one of them, it calls itself."""
    foreign_onnx(path, [node("F0", "pixels", "scores", domain="own")], domains=["own"])
    read = onnx.load(path)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    bodies = {"Last": [node("Identity", "x", "y")]}
    for at in range(depth):
        inner = f"F{at + 1}" if at + 1 < depth else "F0" if depth == 1 else "Last"
        called = [node(inner, "x", f"y{call}", domain="own") for call in range(calls)]
        bodies[f"F{at}"] = [*called, node("Identity", "y0", "y")]
    read.functions.extend(
        helper.make_function("own", name, ["x"], ["y"], nodes, imports)
        for name, nodes in bodies.items()
    )
    path.write_bytes(read.SerializeToString())


def _labels_only(path: Path) -> None:
    foreign_onnx(path, [*linear(), node("ArgMax", "scores", "label", axis=1)], outputs=["label"])
    read = onnx.load(path)
    read.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(read, path)


@pytest.mark.parametrize("case", CASES)
def test_is_refused_by_name(tmp_path: Path, case: str) -> None:
    write, named = CASES[case]
    write(tmp_path / "model.onnx")
    assert named in refusal(tmp_path / "model.onnx")


SOFTMAX, SIGMOID = ("--scores", "softmax"), ("--scores", "sigmoid")
ONE = np.random.default_rng(6).normal(0, 0.05, (3 * SIDE * SIDE, 1)).astype(np.float32)
# What follows logits `z`, what is typed, and what the refusal must name: none are probabilities or
# logits, and each would come in as either.
NO_SCORES: dict[str, tuple[Sequence[onnx.NodeProto], Sequence[str], str]] = {
    "squared distances": ([node("Mul", "z z", "scores")], SOFTMAX, "comes from Mul"),
    "negative logarithms": (
        [node("LogSoftmax", "z", "y"), node("Neg", "y", "scores")],
        SOFTMAX,
        "comes from Neg",
    ),
    "evidence that is pooled": (
        [
            node("Relu", "z", "y"),
            node("Unsqueeze", "y axis", "maps"),
            node("ReduceMean", "maps", "scores", axes=[2], keepdims=0),
        ],
        SOFTMAX,
        "Relu",
    ),
    "kernels": (
        [node("Mul", "z z", "d"), node("Neg", "d", "n"), node("Exp", "n", "scores")],
        SOFTMAX,
        "Exp",
    ),
    "percent of findings": (
        [node("Sigmoid", "z", "p"), node("Mul", "p hundred", "scores")],
        SIGMOID,
        "numbers from",
    ),
    "logarithms of findings": (
        [node("Sigmoid", "z", "p"), node("Add", "p small", "q"), node("Log", "q", "scores")],
        SIGMOID,
        "comes from Log",
    ),
    "tanh": ([node("Tanh", "z", "scores")], SIGMOID, "Tanh"),
    "1 - softmax": (
        [node("Softmax", "z", "p"), node("Sub", "one p", "scores")],
        SOFTMAX,
        "from Softmax",
    ),
    "a softmax over images": ([node("Softmax", "z", "scores", axis=0)], SIGMOID, "last axis"),
    "votes": ([node("Hardmax", "z", "scores", axis=1)], (), "how sure"),
    "a product of probabilities": (
        [
            node("Softmax", "z", "p"),
            node("Mul", "z hundred", "y"),
            node("Softmax", "y", "q"),
            node("Mul", "p q", "scores"),
        ],
        SOFTMAX,
        "comes from Mul",
    ),
    "signs": (
        [node("Greater", "z nothing", "y"), node("Cast", "y", "scores", to=TensorProto.FLOAT)],
        SIGMOID,
        "how sure",
    ),
    "thresholds between grades": (
        [node("Add", "one_z steps", "y"), node("Sigmoid", "y", "scores")],
        SOFTMAX,
        "for each grade",
    ),
    "a normalization in training": (
        [
            node("BatchNormalization", "z ones zero zero ones", "scores m v", training_mode=1),
        ],
        SOFTMAX,
        "model.eval()",
    ),
}


@pytest.mark.parametrize("case", NO_SCORES)
def test_numbers_that_are_no_scores_are_refused(tmp_path: Path, case: str) -> None:
    nodes, options, named = NO_SCORES[case]
    constants = {
        "axis": np.array([2]),
        "hundred": np.float32(100),
        "one": np.float32(1),
        "nothing": np.float32(0),
        "small": np.float32(1e-6),
        "narrow": ONE,
        "steps": np.array([0.5, 0, -0.5], np.float32),
        "ones": np.ones(3, np.float32),
        "zero": np.zeros(3, np.float32),
    }
    logits = [FLAT, node("MatMul", "flat weights", "z"), node("MatMul", "flat narrow", "one_z")]
    path = foreign_onnx(tmp_path / "model.onnx", [*logits, *nodes], constants=constants)
    assert named in refusal(path, *options)


@pytest.fixture(params=[True, False], ids=["kernel", "watched"])
def enforces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the kernel enforces limits, or this process does, as on macOS."""
    monkeypatch.setattr(kernel, "ENFORCES", request.param)


@pytest.mark.usefixtures("enforces")
def test_a_loop_without_end_is_ended(tmp_path: Path) -> None:
    values = {"at": (TensorProto.INT64, []), "go_on": (TensorProto.BOOL, [])}
    values |= {"sum": (TensorProto.FLOAT, None), "again": (TensorProto.BOOL, [])}
    at, go_on, total, again = (
        helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in values.items()
    )
    twice = helper.make_tensor_value_info("twice", TensorProto.FLOAT, None)
    nodes = [node("Identity", "go_on", "again"), node("Add", "sum sum", "twice")]
    loop = helper.make_graph(nodes, "body", [at, go_on, total], [again, twice])
    write = model(
        FLAT,
        node("MatMul", "flat weights", "z"),
        node("Loop", "often yes one", "total", body=loop),
        node("Add", "z total", "scores"),
        constants={
            "often": np.array(1 << 60, np.int64),
            "yes": np.array(True),
            "one": np.array(1.0, np.float32),
        },
    )
    write(tmp_path / "loop.onnx")
    with Sandbox(0, seconds=4) as sandbox, pytest.raises(ForeignModelRefused, match="within 4 s"):
        inspect_model(read_onnx(tmp_path / "loop.onnx", sandbox), sandbox, size=None)


@pytest.mark.parametrize("kind", KINDS)
def test_work_that_pixels_decide_is_refused_unless_trusted(tmp_path: Path, kind: str) -> None:
    path = triggered_onnx(tmp_path / "model.onnx", kind)
    assert "--trusted" in refusal(path)
    store = Store(tmp_path / "store")
    publish_triggered(store, kind, tmp_path)
    bundle = store.read("bad", 1)
    card = bundle.card.model_copy(deep=True)
    assert card.provenance.imported.trusted
    assert "**Trusted**" in (bundle.folder / "model_card.md").read_text()
    distrusted = card.provenance.imported.model_copy(update={"trusted": False})
    for imported in (distrusted, None):  # a store may be written by others
        provenance = card.provenance.model_copy(update={"imported": imported})
        card = card.model_copy(update={"provenance": provenance})
        assert "trusted=True" in str(check_graph(bundle.onnx, card))


@pytest.mark.usefixtures("enforces")
def test_a_graph_that_asks_for_too_much_memory_is_ended(tmp_path: Path) -> None:
    many = {"shape": np.array([1 << 29, 1], np.int64), "often": np.array([1 << 6], np.int64)}
    write = model(
        FLAT,
        node("MatMul", "flat weights", "scores"),
        node("Expand", "scores many", "large"),
        node("ReduceMax", "large", "scored"),
        constants={"many": many["shape"]},
    )
    write(tmp_path / "large.onnx")
    with Sandbox(0, memory_bytes=2**29) as sandbox, pytest.raises(ForeignModelRefused):
        sandbox.load((tmp_path / "large.onnx").read_bytes()).run(
            {"pixels": np.zeros((1, 3, SIDE, SIDE), np.float32)}, ["scored"]
        )


@pytest.mark.usefixtures("enforces")
def test_a_process_that_dies_is_a_sentence() -> None:
    with Sandbox(0, memory_bytes=2**20) as sandbox, pytest.raises(ForeignModelRefused):
        sandbox.load(b"")


def test_a_process_that_died_unread_is_a_sentence_and_leaves_no_error() -> None:
    before = set(psutil.Process().children())
    with Sandbox(0) as sandbox:
        (process,) = set(psutil.Process().children()) - before
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ForeignModelRefused):
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
    assert "not there" in refusal(path)
    (tmp_path / "weights.bin").write_bytes(bytes(100))
    assert "incomplete" in refusal(path)


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
    assert "(a, b)" in refusal(path, "--classes", "a,b")
    assert "'a'" in refusal(path, "--classes", "a,a,b")


def zipped(path: Path) -> None:
    names = node("ZipMap", "p", "scores", classlabels_strings=["B", "C", "A"])
    names.domain = "ai.onnx.ml"
    foreign_onnx(path, [*linear("Softmax")[:2], node("Softmax", "logits", "p"), names])
    graph = onnx.load(path)
    graph.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    graph.graph.output[0].type.sequence_type.elem_type.map_type.key_type = TensorProto.STRING
    graph.graph.output[0].type.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type = 1
    onnx.save(graph, path)


def in_metadata(path: Path) -> None:
    foreign_onnx(path, linear("Softmax"))
    graph = onnx.load(path)
    helper.set_model_props(graph, {"class_names": '["b", "c", "a"]'})
    onnx.save(graph, path)


@pytest.mark.parametrize("build", [zipped, in_metadata])
def test_classes_in_another_order_than_the_models_are_refused(
    tmp_path: Path, build: Callable[[Path], None]
) -> None:
    build(path := tmp_path / "model.onnx")
    said = refusal(path)
    assert "--classes b,c,a" in said.casefold()
    assert "--anyway" in said
    done = candor_here(
        *("import", path, "--pixels", "unit", "--channels", "rgb", "--classes", "b,c,a"),
        *("--store", tmp_path / "other"),
    )
    assert done.exit_code == 0, done.output


def test_findings_in_another_order_than_their_outputs_are_refused(tmp_path: Path) -> None:
    split = node("Split", "z", "b c a", axis=1, num_outputs=3)
    nodes = [*linear()[:1], node("MatMul", "flat weights", "z"), split]
    path = foreign_onnx(tmp_path / "model.onnx", nodes, outputs=("b", "c", "a"), opset=18)
    findings = ("--scores", "sigmoid", "--output")
    assert "--classes b,c,a" in refusal(path, *findings, "b,c,a")


def test_a_labeled_folder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx")
    good = labeled_folder(tmp_path / "good")
    for folder, options, named in (
        (labeled_folder(tmp_path / "wrong", ("a", "b", "dog")), (), "dog"),
        (labeled_folder(tmp_path / "one", ("a",)), (), "1 class"),
        (labeled_folder(tmp_path / "few", images=1), (), "3 images"),
        (path, (), "no folder"),
        (good, ("--group-pattern", "("), "regular expression"),
        (good, ("--group-pattern", "patient"), "finds nothing"),
        (good, (), "--anyway"),
    ):
        assert named in refusal(path, "--data", str(folder), *options)
    (good / "a" / "broken.png").write_bytes(b"no image")
    assert "broken.png: " in refusal(path, "--data", str(good))


def frame(head: object, body: bytes = b"") -> bytes:
    """A message with any head."""
    data = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<QQ", len(data), len(body)) + data + body


def arrays(*listed: object, body: bytes = b"") -> bytes:
    return frame({"said": {}, "arrays": list(listed)}, body)


RAW: dict[str, bytes] = {
    "nothing": b"",
    "a length of 2^63": struct.pack("<QQ", 2**63, 0),
    "a body of 2^63": struct.pack("<QQ", 10, 2**63) + b"{}",
    "a head that is too long": struct.pack("<QQ", MAX_HEAD_BYTES + 1, 0),
    "a body that never comes": struct.pack("<QQ", 30, 2**28) + b'{"said": {}, "arrays": []}    ',
    "a broken archive": struct.pack("<Q", 4) + b"PK\x03\x04" + bytes(20),
    "half a head": struct.pack("<QQ", 10, 0) + b"{",
    "no JSON": frame(b"\xff\xfe"),
    "deep JSON": frame(b"[" * 30_000),
    "a long number": frame(b'{"said": {"error": ' + b"9" * 10_000 + b'}, "arrays": []}'),
    "a list": frame([]),
    "no arrays": frame({"said": {"inputs": []}}),
    "an error that is a number": frame({"said": {"error": 1}, "arrays": []}),
    "missing fields": frame({"said": {}, "arrays": []}),
    "extra fields": frame({"said": {"inputs": [], "more": 1}, "arrays": []}),
    "wrong types": frame({"said": {"inputs": [{"name": 1}]}, "arrays": []}),
    "inputs that are others": frame(
        {
            "said": {"inputs": [{"name": "y", "type": "tensor(float)", "shape": [1, 3, 8, 8]}]},
            "arrays": [],
        }
    ),
    "a pickled array": arrays(["model", "object", [1]], body=bytes(8)),
    "a negative shape": arrays(["model", "uint8", [-1]]),
    "a shape of 2^63": arrays(["model", "uint8", [2**63]]),
    "a shape that is true": arrays(["model", "uint8", [True]], body=b"x"),
    "other lengths": arrays(["model", "uint8", [3]], body=b"x"),
    "no graph": frame(
        {"said": {"refused": None, "missing": []}, "arrays": [["model", "uint8", [4]]]}, b"\xff" * 4
    ),
    "files outside": frame({"said": {"missing": ["../../etc/passwd"]}, "arrays": []}),
    "endless output": b"endless",
}
_SAY = """
import json, os, sys
out = os.fdopen(os.dup(1), "wb")
said = bytes.fromhex({said!r})
try:
    while said == b"endless":
        out.write(bytes(2**16))
    out.write(said)
    out.flush()
    sys.stdin.buffer.read() if said[-3:] != b"]  " else None
except OSError:
    pass
"""


@pytest.mark.parametrize("lie", RAW)
def test_a_lie_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    monkeypatch.setattr(sandbox_module, "_START", _SAY.format(said=RAW[lie].hex()))
    monkeypatch.setattr(Sandbox.__init__, "__kwdefaults__", {"memory_bytes": None, "seconds": 2})
    path = foreign_onnx(tmp_path / "model.onnx", linear("Softmax"))
    said = ("--classes", "a,b,c", "--pixels", "unit")
    done = candor_here("import", path, "--store", tmp_path / "store", *said)
    assert done.exit_code == 1
    assert isinstance(done.exception, ForeignModelRefused), done.exception
    assert "\n" not in str(done.exception)
    assert len(str(done.exception)) < 500
    assert not (tmp_path / "store").exists()


# What the process does with the scores of a run, as source.
CHANGED: dict[str, str] = {
    "not a number": "{name: value * np.nan for name, value in given.items()}",
    "infinite": "{name: value + np.inf for name, value in given.items()}",
    "fewer rows": "{name: value[:-1] for name, value in given.items()}",
    "more classes": "{name: np.hstack([value, value]) for name, value in given.items()}",
    "one number": "{name: np.float32(1).reshape(()) for name, value in given.items()}",
    "no scores": "{}",
    "other names": "{name + 'x': value for name, value in given.items()}",
    "whole numbers": "{name: np.zeros(value.shape, 'int64') for name, value in given.items()}",
}
# From which run on it lies.
_FIRST: dict[str, Callable[[str], str]] = {
    "at once": lambda change: f"given = {change}",
    "later": lambda change: f"calls.append(1); given = {change} if len(calls) > 25 else given",
}


@pytest.mark.parametrize("first", _FIRST)
@pytest.mark.parametrize("change", CHANGED)
def test_scores_are_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, first: str
) -> None:
    hostile = f"""
import numpy as np
from model_store.foreign import sandbox_worker
honest, calls = sandbox_worker.run, []
def run(*asked):
    given = honest(*asked)
    {_FIRST[first](CHANGED[change])}
    return given
sandbox_worker.run = run
"""
    start, call = sandbox_module._START.split("importlib.import_module")
    monkeypatch.setattr(
        sandbox_module, "_START", f"{start}\n{hostile}\nimportlib.import_module{call}"
    )
    path = foreign_onnx(
        tmp_path / "model.onnx", linear("Softmax"), constants={"weights": color_weights()}
    )
    folder = labeled_folder(tmp_path / "labeled")
    said = ("--classes", "a,b,c", "--pixels", "unit", "--data", str(folder), "--anyway")
    done = candor_here("import", path, "--store", tmp_path / "store", *said)
    if change == "whole numbers" and done.exit_code == 0:
        return  # scores like any others
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, ForeignModelRefused), done.exception
    assert "\n" not in str(done.exception)
    assert not list((tmp_path / "store").rglob("card.json"))
