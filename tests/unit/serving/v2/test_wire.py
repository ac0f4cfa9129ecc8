"""Fields of a protobuf message are counted before it is parsed."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import MalformedRequest
from serving.v2.rpc_messages import FIELDS_LIMIT, check_fields

protocol = pytest.importorskip("open_inference.grpc.protocol")


def message(**fields: object) -> bytes:
    return bytes(protocol.ModelInferRequest(**fields).SerializeToString())


def test_honest_requests_pass() -> None:
    tensor = protocol.ModelInferRequest.InferInputTensor
    packed = tensor(name="image", datatype="UINT8", shape=[1, 3, 8, 8])
    packed.contents.uint_contents.extend(range(200_000))
    packed.contents.fp32_contents.extend([0.5] * 1000)
    encoded = tensor(name="image", datatype="BYTES", shape=[256])
    encoded.contents.bytes_contents.extend([b"image"] * 256)
    for inputs in ([packed], [encoded], []):
        check_fields(
            message(model_name="tiny", inputs=inputs, raw_input_contents=[bytes(1_000_000)])
        )


def test_a_flood_of_fields_is_refused() -> None:
    for flood in [
        b"\x2a\x00",  # empty inputs
        b"\x3a\x00",  # empty raw contents
        b"\x32\x00",  # empty outputs
        b"\x78\x01",  # an unknown number
        b"\x79" + bytes(8),
        b"\x7d" + bytes(4),
    ]:
        check_fields(flood * FIELDS_LIMIT)
        with pytest.raises(MalformedRequest, match="over 10,000 fields"):
            check_fields(flood * (FIELDS_LIMIT + 1))


def test_elements_are_counted_too() -> None:
    tensor = protocol.ModelInferRequest.InferInputTensor(name="image", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.extend([b""] * FIELDS_LIMIT)
    with pytest.raises(MalformedRequest, match="over 10,000 fields"):
        check_fields(message(inputs=[tensor]))


@given(st.binary(max_size=200))
def test_rubbish_is_refused_or_left_to_the_parser(data: bytes) -> None:
    with contextlib.suppress(MalformedRequest):
        check_fields(data)


def test_an_endless_number_is_refused() -> None:
    with pytest.raises(MalformedRequest, match="not a protobuf"):
        check_fields(b"\xff" * 1_000_000)
