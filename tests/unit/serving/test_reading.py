"""What a request may say: heads, bodies, lists of images, forms and tags, without a server."""

import asyncio
import base64
import json
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uuid_utils
from hypothesis import given
from hypothesis import strategies as st

from hosting.caller import read_body
from hosting.errors import ClientGone, MalformedRequest, UnsupportedMedia
from monitoring.errors import BodyTimeout, BodyTooLarge
from monitoring.http.body_budget import BodyBudget, Hold
from serving.http.items import ImageItem, read_items
from serving.http.request import RequestHead, form_files, read_head, read_tags, tags_of
from serving.inference.answer import AuditSampler, with_audit

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


BOUNDARY = b"multipart/form-data; boundary=xyz"
CURL = b"application/x-www-form-urlencoded"


def body_of(*messages: dict[str, Any]) -> Callable[[], Awaitable[dict[str, Any]]]:
    left = list(messages)

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    return receive


def held() -> Hold:
    return BodyBudget().hold(0)


def chunk(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def form(*files: bytes) -> bytes:
    parts = [
        b'--xyz\r\nContent-Disposition: form-data; name="f%d"; filename="a.png"\r\n\r\n%s\r\n'
        % (number, file)
        for number, file in enumerate(files)
    ]
    return b"".join(parts) + b"--xyz--\r\n"


def test_images_raw_bytes_forms_and_silence_are_accepted() -> None:
    for content_type in [
        b"",
        b"image/png",
        b"IMAGE/JPEG; q=1",
        b"application/octet-stream",
        BOUNDARY,
        CURL,
    ]:
        headers = [(b"content-type", content_type)] if content_type else []
        assert read_head(headers, limit_bytes=10).content_type == content_type


def test_what_a_head_may_not_say_is_refused() -> None:
    assert read_head([(b"x-request-id", "é-1".encode())], limit_bytes=10).request_id == "é-1"
    unsupported = (b"application/xml", b"text/plain; charset=utf-8", b"application/pdf", b"\xff/x")
    ids = (b"x" * 10**6, b"x" * 201, b"a\tb", b"\xff")
    deadlines = (b"", b"soon", b"0", b"-1", b"nan", b"inf", b"1e999", b"\xff")
    for name, values, error in (
        (b"content-type", unsupported, UnsupportedMedia),
        (b"content-length", [b"11"], BodyTooLarge),
        (b"x-request-id", ids, MalformedRequest),
        (b"x-candor-deadline-s", deadlines, MalformedRequest),
        (b"x-candor-canary", [b"", b"maybe"], MalformedRequest),
    ):
        for value in values:
            with pytest.raises(error):
                read_head([(name, value)], limit_bytes=10)


@pytest.mark.anyio
async def test_a_client_that_hangs_up_halfway_is_gone() -> None:
    with pytest.raises(ClientGone):
        await read_body(
            body_of(chunk(b"a", more=True), {"type": "http.disconnect"}),
            limit_bytes=3,
            timeout_s=60,
            hold=held(),
        )


@pytest.mark.anyio
async def test_a_client_that_does_not_go_on_is_timed_out() -> None:
    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(BodyTimeout):
        await read_body(never, limit_bytes=3, timeout_s=0.001, hold=held())


@pytest.mark.parametrize("body", [b"--xyz--\r\n", form(b"a")[:40], b""])
def test_a_form_without_a_whole_file_has_none(body: bytes) -> None:
    assert form_files(body, BOUNDARY, limit=8) == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (b"x-candor-tags", (b"site=A", b"site=B")),
        (b"x-candor-tags", (b"site=A", b"device=CT")),
        (b"x-candor-canary", (b"false", b"true")),
        (b"x-candor-deadline-s", (b"1", b"2")),
    ],
)
def test_a_header_of_candors_own_is_given_once(name: bytes, values: tuple[bytes, bytes]) -> None:
    """Else one of two sites, or deadlines, would be dropped without a word."""
    assert read_head([(name, values[0])], limit_bytes=10)
    with pytest.raises(MalformedRequest):
        read_head([(name, value) for value in values], limit_bytes=10)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [(b"multipart/form-data", form(b"x")), (BOUNDARY, b"\xe4" * 9), (BOUNDARY, b"not a form")],
)
def test_a_broken_form_is_no_error_in_the_servers_log(
    content_type: bytes, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(MalformedRequest):
        form_files(body, content_type, limit=3)
    assert not caplog.records


PLAIN = st.text("abcXYZ019 -_äß", min_size=1, max_size=64).filter(lambda text: text == text.strip())


@given(st.dictionaries(st.text("abcZ0._-", min_size=1, max_size=64), PLAIN, min_size=1, max_size=3))
def test_what_is_said_is_kept_however_it_is_said(tags: dict[str, str]) -> None:
    spelled = read_tags(", ".join(f"{key}={value}" for key, value in tags.items()))
    assert spelled == tags_of(tags) == json.dumps(tags, sort_keys=True)


@pytest.mark.parametrize("nothing", ["", "  "])
def test_no_tags_are_none(nothing: str) -> None:
    assert read_tags(nothing) is None
    assert tags_of({}) is None
    assert tags_of(None) is None


BAD = """site|site=|site= |=A|=,=|=A,=B|site=,site=|si te=A|site=A,site=B|a=1,b=2,c=3,d=4
site=a\x07b|site=(other)|site=\ufffd"""


def test_bad_tags_are_refused() -> None:
    texts = [*BAD.replace("\n", "|").split("|"), "site=" + "x" * 65, "k" * 65 + "=x"]
    for text in texts:
        with pytest.raises(MalformedRequest, match="site=A,device=B"):
            read_tags(text)
    for value in ("site=A", ["site"], {"site": 3}, {"site": None}, 7, {"": "A"}, {"site": ""}):
        with pytest.raises(MalformedRequest):
            tags_of(value)


def test_the_header_the_form_and_the_item_say_tags() -> None:
    head = read_head([(b"x-candor-tags", b"site=A")], limit_bytes=10)
    assert head.tags == '{"site": "A"}'
    with pytest.raises(MalformedRequest):
        read_head([(b"x-candor-tags", b"site")], limit_bytes=10)
    body = (
        b'--b\r\nContent-Disposition: form-data; name="tags"\r\n\r\nsite=B\r\n'
        b'--b\r\nContent-Disposition: form-data; name="i"; filename="x.png"\r\n\r\npng\r\n--b--\r\n'
    )
    form = RequestHead(
        "multipart/form-data", b"multipart/form-data; boundary=b", None, tags='{"site": "A"}'
    )
    (file,) = read_items(body, form, limit=9)
    assert (file.data, file.tags) == (b"png", '{"site": "B"}')
    items = json.dumps(
        [{"image": "AAAA", "tags": {"site": "C"}}, "AAAA", {"image": "AAAA", "tags": 3}]
    ).encode()
    tagged, plain, wrong = read_items(items, RequestHead("application/json", b"", None), limit=9)
    assert (tagged.tags, plain.tags) == ('{"site": "C"}', None)
    assert isinstance(wrong.data, MalformedRequest)


def test_a_draw_is_the_same_for_everybody_and_hits_its_share() -> None:
    ids = [uuid_utils.uuid7().bytes for _ in range(20_000)]
    drawn = [AuditSampler(0.1).drawn(each) for each in ids]
    assert drawn == [AuditSampler(0.1).drawn(each) for each in ids]
    assert abs(sum(drawn) / 20_000 - 0.1) < 0.01  # 4.7 standard deviations
    more = [AuditSampler(0.3).drawn(each) for each in ids]
    # a larger share keeps the smaller
    assert all(second for first, second in zip(drawn, more, strict=True) if first)
    assert (AuditSampler(0.0).on, AuditSampler(1e-12).on) == (False, True)
    assert json.loads(with_audit(b'{"predicted":"x"}', True)) == {"predicted": "x", "audit": True}


def test_what_is_remembered_is_bounded_in_bytes() -> None:
    """4,096 texts of 64 KB once stayed in memory: 430 MB."""
    with pytest.raises(MalformedRequest, match="tags are 60,007 characters long"):
        read_tags("site=A," + " " * 60_000)
    tracemalloc.start()
    for number in range(3000):
        read_tags(f"site={number}" + " " * 900)
    assert tracemalloc.get_traced_memory()[0] < 4 * 2**20
    tracemalloc.stop()
