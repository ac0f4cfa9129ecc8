"""JSON as types: what the json module alone decodes, and sentences of refusals."""

import json
import math
import tracemalloc
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from monitoring.errors import BodyNotJson
from monitoring.http.json_body import JsonReader, encode, parse


class Refused(ValueError):
    pass


class Part(Struct, forbid_unknown_fields=True):
    size: Annotated[int, Meta(ge=1)] = 1


class Whole(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=4)]
    share: Annotated[float, Meta(gt=0, le=1)] | None = None
    parts: Annotated[list[Part], Meta(max_length=2)] = []
    by_name: dict[str, float] | None = None


READER = JsonReader(Whole, Refused, whole="A whole")


def test_a_refusal_names_the_field_and_is_short() -> None:
    for value, place in [
        ({}, "`name`"),
        ({"name": 3}, "`$.name`"),
        ({"name": "abcde"}, "`$.name`"),
        ({"name": "a", "share": math.nan}, "`$.share`"),
        ({"name": "a", "share": True}, "`$.share`"),
        ({"name": "a", "parts": [{}, {"size": 0}]}, "`$.parts[1].size`"),
        ({"name": "a", "parts": [{"sise": 1}]}, "`sise`"),
        ({"name": "a", "by_name": {"b": "c"}}, "`$.by_name[...]`"),
        ({"name": "a", "nome" * 10**5: 1}, "nomenome"),
        ([], "A whole"),
    ]:
        for read in (READER.convert, lambda each: READER.read(json.dumps(each).encode())):
            with pytest.raises(Refused) as refusal:
                read(value)
            assert place in str(refusal.value)
            assert len(str(refusal.value)) < 250


@pytest.mark.parametrize("value", [{"name": "a", "\ud800": 1}, {"name": "a", "share": "\ud800"}])
def test_a_lone_surrogate_is_refused_where_it_cannot_be_text(value: Any) -> None:
    with pytest.raises(Refused) as refusal:
        READER.convert(value)
    str(refusal.value).encode()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_every_encoding_of_json_is_read(encoding: str) -> None:
    assert READER.read('{"name": "ä"}'.encode(encoding)) == Whole("ä")
    entries = READER.read_entries('[{"name": "ä"}]'.encode(encoding), limit=1)
    assert entries.items == [Whole("ä")]


@pytest.mark.slow
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["name", "share", "parts"]), st.text(max_size=5) | st.floats()
        )
    )
)
def test_a_list_is_read_item_by_item_whichever_way_it_is_decoded(values: list[Any]) -> None:
    body = json.dumps(values).encode()
    if not values:
        with pytest.raises(Refused):
            READER.read_entries(body, limit=10)
        return
    read = READER.read_entries(body, limit=len(values)).items
    assert len(read) == len(values)
    for each, value in zip(read, values, strict=True):
        if isinstance(each, Refused):
            with pytest.raises(Refused):
                READER.convert(value)
        else:
            assert each == READER.convert(value)


def test_what_is_not_json_is_malformed() -> None:
    for body in [b"", b"{", b"[" * 60_000, b"1" * 5_000, b"\xff"]:
        for read in (READER.read, parse, lambda each: READER.read_entries(each, limit=1)):
            with pytest.raises(BodyNotJson):
                read(body)


def test_what_is_not_a_number_is_null_and_a_number_of_numpy_is_one() -> None:
    assert encode({"a": math.nan, "b": np.float64(0.5), "c": np.int64(3), "d": np.bool_(True)}) == (
        b'{"a":null,"b":0.5,"c":3,"d":true}'
    )
    with pytest.raises((TypeError, NotImplementedError, msgspec.MsgspecError)):
        encode(object())


FLOODS = {
    "zeros": b"[" + b"0," * 4_000_000 + b"0]",
    "lists": b"[" + b"[]," * 2_600_000 + b"[]]",
    "objects": b"[" + b"{}," * 2_600_000 + b"{}]",
    "depth": b"[" * 8_000_000,
    "inside one": b'[{"a":[' + b"0," * 4_000_000 + b"0]}]",
}


def test_values_are_counted_before_objects_are_made_of_them() -> None:
    for name in FLOODS:
        tracemalloc.start()
        for read in (READER.read, lambda body: READER.read_entries(body, limit=10)):
            with pytest.raises(Refused):
                read(FLOODS[name])
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "a", "name": "b"}',
        b'{"name": "a", "name": "a"}',
        b'{"name": "a", "n\\u0061me": "b"}',
        b'{"name": "a", "by_name": {"x": 0, "x": 1}}',
        b'{"name": "a", "parts": [{"size": 1, "size": 2}]}',
    ],
)
def test_a_key_that_is_given_twice_is_refused(body: bytes) -> None:
    with pytest.raises(Refused, match="twice in one object"):
        READER.read(body)
    first, second = READER.read_entries(b'[{"name": "a"}, %s]' % body, limit=2).items
    assert (first.name, type(second)) == ("a", Refused)
    assert "twice in one object" in str(second)
