"""Heads, bounded bodies and multipart, without a server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hosting.caller import read_body
from hosting.errors import ClientGone, MalformedRequest, UnsupportedMedia
from monitoring.errors import BodyTimeout, BodyTooLarge
from monitoring.http.body_budget import BodyBudget, Hold
from serving.http.request import form_files, read_head

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
