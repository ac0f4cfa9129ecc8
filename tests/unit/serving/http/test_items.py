"""Several images in one body: what is refused, and that neighbors stay unharmed."""

import base64
import json
import tracemalloc

import pytest

from hosting.errors import MalformedRequest
from serving.http.items import ImageItem, read_items
from serving.http.request import RequestHead

IMAGE = b"\x89PNG"
ENCODED = base64.b64encode(IMAGE).decode()


def head(media_type: str, request_id: str | None = None) -> RequestHead:
    return RequestHead(media_type, media_type.encode(), request_id)


def read(value: object, limit: int = 8) -> list[ImageItem]:
    return read_items(json.dumps(value).encode(), head("application/json"), limit=limit)


def test_fields_that_mean_nothing_here_are_ignored() -> None:
    assert read([{"image": ENCODED, "age": 3, "\ud800": 1, "tags": {}}]) == [ImageItem(IMAGE)]


def test_ndjson_is_a_line_each_and_a_bad_line_stands_for_itself() -> None:
    body = f'"{ENCODED}"\n\n{{broken\n{{"image": "{ENCODED}", "request_id": "b"}}\n'.encode()
    items = read_items(body, head("application/x-ndjson"), limit=8)
    assert items[0] == ImageItem(IMAGE)
    assert isinstance(items[1].data, MalformedRequest)
    assert items[2] == ImageItem(IMAGE, "b")


def test_an_entry_that_is_no_image_is_an_error_in_its_place() -> None:
    bad = [{"image": ENCODED, "tags": "\ud800"}, {"image": ENCODED, "request_id": "x" * 201}]
    for entry in ("not base64!", 3, None, {}, {"image": 3}, *bad, [ENCODED]):
        first, second = read([entry, ENCODED])
        assert isinstance(first.data, MalformedRequest)
        assert second == ImageItem(IMAGE)


def test_a_body_that_is_no_list_or_too_long_a_list_is_malformed() -> None:
    for body in (b"{", b"\xff", b"[" * 60_000, b'{"image": ""}', b"[]", b'["", "", ""]'):
        with pytest.raises(MalformedRequest):
            read_items(body, head("application/json"), limit=2)


FLOODS = {
    "application/json": {
        "zeros": b"[" + b"0," * 10_000_000 + b"0]",
        "lists": b"[" + b"[]," * 6_000_000 + b"[]]",
        "depth": b"[" * 20_000_000,
        "inside one": b'[{"image":"","more":[' + b"0," * 10_000_000 + b"0]}]",
        "utf-16": ("[" + "0," * 5_000_000 + "0]").encode("utf-16"),
    },
    "application/x-ndjson": {
        "ones": b"1\n" * 10_000_000,
        "breaks": b"\n" * 20_000_000,
        "returns": b"\r" * 20_000_000,
        "one line": b"[" + b"0," * 10_000_000 + b"0]\n",
    },
}


def test_a_flood_is_counted_before_objects_are_made_of_it() -> None:
    """20 MB of zeros took 4 GB and 148 s before anybody looked at how many there were."""
    for media_type, name in [(kind, name) for kind, bodies in FLOODS.items() for name in bodies]:
        body = FLOODS[media_type][name]
        tracemalloc.start()
        with pytest.raises(MalformedRequest, match="send 1 to 8 images in one request"):
            read_items(body, head(media_type), limit=8)
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()


def test_a_large_image_in_base64_is_decoded_in_slices() -> None:
    image = bytes(range(256)) * 12_345
    assert read([base64.b64encode(image).decode()]) == [ImageItem(image)]
    padded = base64.b64encode(bytes(2**20 // 4 * 3 - 1)).decode() + "AAAA"  # padding in the middle
    assert isinstance(read([padded])[0].data, MalformedRequest)


def test_a_form_of_many_parts_ends_at_the_first_too_many() -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\r\n'
    form = RequestHead("multipart/form-data", b"multipart/form-data; boundary=b", None)
    rubbish = b"--b\r\nwhat follows is not read"
    with pytest.raises(MalformedRequest, match="over 8 files"):
        read_items(part * 9 + rubbish, form, limit=8)
    fields = (
        b'--b\r\nContent-Disposition: form-data; name="%d"\r\n\r\nA\r\n' % number
        for number in range(101)
    )
    with pytest.raises(MalformedRequest, match="over 100 fields"):
        read_items(b"".join(fields) + rubbish, form, limit=8)
    twice = b'--b\r\nContent-Disposition: form-data; name="tags"\r\n\r\nsite=A\r\n' * 2
    with pytest.raises(MalformedRequest, match="gives 'tags' more than once"):
        read_items(twice + rubbish, form, limit=8)


@pytest.mark.parametrize("escape", [b"\\u00e9", b"\\ud800", b"\\n"])
def test_escapes_that_base64_never_needs_are_refused_before_they_are_parsed(escape: bytes) -> None:
    """20 MB of them kept the interpreter's lock for a tenth of a second."""
    with pytest.raises(MalformedRequest, match="base64 needs none"):
        read_items(b'["' + escape * 100_000 + b'"]', head("application/json"), limit=8)


def test_base64_with_escaped_slashes_is_read() -> None:
    (item,) = (
        read_items(b'["' + (b"A" * 63 + b"\\/") * 1000 + b'"]', head("application/json"), limit=8)
        or []
    )
    assert isinstance(item.data, bytes)


def test_an_entry_that_gives_a_key_twice_is_an_error_in_its_place() -> None:
    twice = '{"image": "AAAA", "request_id": "a:1", "request_id": "b"}'
    tags = '{"image": "AAAA", "tags": {"site": "A", "site": "B"}}'
    for body, media in (
        (f'["AAAA", {twice}, {tags}]', "application/json"),
        (f'"AAAA"\n{twice}\n{tags}', "application/x-ndjson"),
    ):
        good, *bad = read_items(body.encode(), head(media), limit=8)
        assert good.sound == b"\0\0\0"
        assert all("twice" in str(each.data) for each in bad)
