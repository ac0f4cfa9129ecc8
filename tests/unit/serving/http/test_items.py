"""Several images in one body: what is taken, what is refused, and that one bad item leaves its neighbors alone."""

import base64
import json

import pytest

from serving.errors import MalformedRequest
from serving.http.items import ImageItem, read_items, write_answers
from serving.http.request import RequestHead

IMAGE = b"\x89PNG"
ENCODED = base64.b64encode(IMAGE).decode()


def head(media_type: str, request_id: str | None = None) -> RequestHead:
    return RequestHead(media_type, media_type.encode(), request_id)


def read(value: object, limit: int = 8) -> list[ImageItem]:
    items = read_items(json.dumps(value).encode(), head("application/json"), limit=limit)
    assert items is not None
    return items


def test_an_image_by_itself_is_no_list() -> None:
    assert read_items(IMAGE, head("image/png"), limit=8) is None
    assert read_items(IMAGE, head(""), limit=8) is None


def test_an_array_takes_strings_and_objects() -> None:
    assert read([ENCODED, {"image": ENCODED, "request_id": "a"}]) == [ImageItem(IMAGE), ImageItem(IMAGE, "a")]


def test_fields_that_mean_nothing_here_are_ignored() -> None:
    assert read([{"image": ENCODED, "age": 3, "\ud800": 1, "tags": {}}]) == [ImageItem(IMAGE)]


def test_ndjson_is_a_line_each_and_a_bad_line_stands_for_itself() -> None:
    body = f'"{ENCODED}"\n\n{{broken\n{{"image": "{ENCODED}", "request_id": "b"}}\n'.encode()
    items = read_items(body, head("application/x-ndjson"), limit=8)
    assert items is not None
    assert items[0] == ImageItem(IMAGE)
    assert isinstance(items[1].data, MalformedRequest)
    assert items[2] == ImageItem(IMAGE, "b")


@pytest.mark.parametrize(
    "entry",
    [
        "not base64!",
        3,
        None,
        {},
        {"image": 3},
        {"image": ENCODED, "tags": "\ud800"},
        {"image": ENCODED, "request_id": "x" * 201},
        [ENCODED],
    ],
)
def test_an_entry_that_is_no_image_is_an_error_in_its_place(entry: object) -> None:
    first, second = read([entry, ENCODED])
    assert isinstance(first.data, MalformedRequest)
    assert second == ImageItem(IMAGE)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"image": ""}', "is a JSON dict"),
        (b"[]", "holds 0 images"),
        (b'["", "", ""]', "holds 3 images; send 1 to 2"),
    ],
)
def test_a_body_that_is_no_list_is_malformed(body: bytes, said: str) -> None:
    with pytest.raises(MalformedRequest, match=said):
        read_items(body, head("application/json"), limit=2)


def test_answers_keep_the_shape_and_the_names_of_what_came() -> None:
    answers = [b'{"label":"a"}', MalformedRequest("no image.")]
    array = json.loads(
        write_answers(answers, [ImageItem(b"", name="x.png"), ImageItem(b"")], media_type="application/json")
    )
    assert array == [
        {"file": "x.png", "label": "a"},
        {"error": "malformed_request", "detail": "no image."},
    ]
    lines = write_answers(answers, [ImageItem(b""), ImageItem(b"")], media_type="application/x-ndjson").splitlines()
    assert [json.loads(line) for line in lines] == [{"label": "a"}, array[1]]
