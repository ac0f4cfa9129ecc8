"""Whatever stands in an ONNX file counts, wherever it stands, before it is parsed."""

from collections.abc import Iterable, Iterator
from typing import Any

import onnx
import pytest

from model_store.bundle.graph_part import tensors_of
from model_store.foreign import onnx_size
from model_store.foreign.onnx_size import TooLarge, weights_bytes

MUCH = 1_000
VALUES = {"raw_data": 1, "float_data": 4, "double_data": 8}
VALUES |= {"int32_data": 4, "int64_data": 8, "uint64_data": 8}


def fields(kind: Any, above: tuple[Any, ...] = (), *, turns: int = 1) -> Iterator[tuple[Any, ...]]:
    """The ways to every field of a message, each kind of message `turns` times on a way."""
    for field in kind.fields:
        if field.message_type is None:
            yield (*above, field)
        elif sum(field.message_type is each.message_type for each in above) < turns:
            yield from fields(field.message_type, (*above, field), turns=turns)


def reached(way: Iterable[Any]) -> tuple[onnx.ModelProto, Any]:
    """A model, and a message in it."""
    model = message = onnx.ModelProto()
    for field in way:
        inner = getattr(message, field.name)
        message = inner.add() if hasattr(inner, "add") else inner
    return model, message


def holding(way: tuple[Any, ...]) -> bytes | None:
    """A file with much in one field; None for a field that is one number."""
    model, message = reached(way[:-1])
    value = getattr(message, way[-1].name)
    if isinstance(value, (str, bytes)):
        setattr(message, way[-1].name, "a" * MUCH if isinstance(value, str) else b"a" * MUCH)
    elif hasattr(value, "extend"):
        text = {way[-1].TYPE_STRING: "", way[-1].TYPE_BYTES: b""}
        value.extend([text.get(way[-1].type, 1)] * MUCH)
    else:
        return None
    return bytes(model.SerializeToString())


def test_much_of_every_kind_is_weights_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_size, "MAX_PARTS", MUCH // 2)
    monkeypatch.setattr(onnx_size, "MAX_DESCRIBED_BYTES", MUCH // 2)
    monkeypatch.setattr(onnx_size, "SPARSE_PARTS", 8)
    seen = 0
    for way in fields(onnx.ModelProto.DESCRIPTOR):
        if (file := holding(way)) is None:
            continue
        name, seen = way[-1].name, seen + 1
        if way[-1].containing_type is onnx.TensorProto.DESCRIPTOR and name in VALUES:
            assert weights_bytes(file) == MUCH * VALUES[name]
        else:
            with pytest.raises(TooLarge):
                weights_bytes(file)
    assert seen > 100


def test_empty_messages_count_more_than_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_size, "MAX_PARTS", 20)
    model = onnx.ModelProto()
    model.graph.node.add()
    assert weights_bytes(model.SerializeToString()) == 0
    model.graph.node.add()
    with pytest.raises(TooLarge):
        weights_bytes(model.SerializeToString())


def test_every_tensor_of_a_graph_is_found() -> None:
    ways = [
        way[:-1]
        for way in fields(onnx.ModelProto.DESCRIPTOR, turns=2)
        if way[-1].name == "raw_data" and way[0].name != "training_info"  # which is never read
    ]
    for way in ways:
        model, tensor = reached(way)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        assert any(each.data_location for each in tensors_of(model)), [each.name for each in way]
    assert len(ways) > 20


def test_sparse_tensors_count_most() -> None:
    model = onnx.ModelProto()
    model.graph.sparse_initializer.extend([onnx.SparseTensorProto()] * 900)
    assert weights_bytes(model.SerializeToString()) == 0
    branch = model.graph.node.add().attribute.add().g
    branch.sparse_initializer.extend([onnx.SparseTensorProto()] * 200)
    with pytest.raises(TooLarge):
        weights_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (b"\x3a", "cut off"),
        (b"\x3a\x05\x0a", "longer"),
        (b"\x3b\x3c", "wire type 3"),
        (b"\x80" * 20, "too long"),
        (b"\x3a\x80\x80\x80\x80\x80\x01", "longer"),
    ],
)
def test_what_is_no_protobuf_is_refused(file: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        weights_bytes(file)
