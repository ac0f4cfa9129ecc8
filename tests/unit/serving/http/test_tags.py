"""Tags: what a caller may send, in every spelling, and the audit draw."""

import json
import tracemalloc

import pytest
import uuid_utils
from hypothesis import given
from hypothesis import strategies as st

from hosting.errors import MalformedRequest
from serving.http.items import read_items
from serving.http.request import RequestHead, read_head, read_tags, tags_of
from serving.inference.answer import AuditSampler, with_audit

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
