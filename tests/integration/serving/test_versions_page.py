"""Promote, roll back and compare on the page: what is done, what is refused with a sentence, and who did it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from model_store.bundle import write_bundle
from model_store.store import Store
from tests.builders.bundles import build_card, build_onnx
from tests.builders.services import Running, running

pytestmark = pytest.mark.anyio
PAGE = {"accept": "text/html"}
ADMIN = {"authorization": "Bearer a-token-for-everything"} | PAGE
READER = {"authorization": "Bearer a-token-for-reading"} | PAGE


@pytest.fixture
async def server(tiny_store: Store, tmp_path: Path) -> AsyncIterator[Running]:
    tiny_store.publish(
        "tiny",
        lambda folder, version: write_bundle(folder, card=build_card(version=version), onnx=build_onnx(seed=2)),
    )
    tokens = SecretStr("a-token-for-everything admin eve; a-token-for-reading read")
    async with running(tiny_store, tmp_path, tokens=tokens) as started:
        yield started


async def act(server: Running, headers: dict[str, str] = ADMIN, **form: str) -> Any:
    return await server.client.post("/versions/tiny", data=form, headers=headers)


async def test_promote_and_roll_back_say_who_and_why(server: Running, tiny_store: Store) -> None:
    promoted = await act(server, action="promote", version="2", why="<better>")
    assert (promoted.status_code, promoted.headers["location"]) == (303, "/versions/tiny?done=2")
    assert tiny_store.production("tiny") == 2
    page = (await server.client.get("/versions/tiny?done=2", headers=ADMIN)).text
    assert "Version 2 is in production." in page
    assert "<td>eve</td>" in page
    assert "&lt;better&gt;" in page
    assert "Roll back to version 1" in page
    back = await act(server, action="rollback", why="worse")
    assert back.status_code == 303
    assert tiny_store.production("tiny") == 1


async def test_two_versions_are_compared(server: Running) -> None:
    page = (await server.client.get("/versions/tiny?first=1&second=2", headers=READER)).text
    assert "file model.onnx" in page
    same = (await server.client.get("/versions/tiny?first=1&second=1", headers=READER)).text
    assert "the same in every byte" in same
    for second in ("x", "9", "99999999999999"):
        odd = await server.client.get(f"/versions/tiny?first=1&second={second}", headers=READER)
        assert odd.status_code == 200


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"action": "promote", "version": "7"}, 409),
        ({"action": "promote", "version": "x"}, 422),
        ({"action": "promote"}, 422),
        ({"action": "rollback"}, 409),  # nothing is before
        ({"action": "burn"}, 422),
        ({}, 422),
        ({"action": "promote", "version": "2", "why": "w" * 2000}, 409),
    ],
)
async def test_what_cannot_be_done_is_a_sentence_and_changes_nothing(
    server: Running, tiny_store: Store, form: dict[str, str], status: int
) -> None:
    refused = await act(server, **form)
    assert refused.status_code == status
    assert refused.headers["content-type"].startswith("text/html")
    assert tiny_store.production("tiny") == 1


async def test_a_bundle_that_was_changed_is_not_promoted(server: Running, tiny_store: Store) -> None:
    card = tiny_store.folder("tiny", 2) / "card.json"
    card.write_text(card.read_text().replace("benign", "banign"))
    refused = await act(server, action="promote", version="2", why="try")
    assert (refused.status_code, 'role="alert"' in refused.text) == (409, True)
    assert tiny_store.production("tiny") == 1


@pytest.mark.parametrize("file", ["history.jsonl", "production", "2/card.json", "2/manifest.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b"[]", b"9" * 100])
async def test_a_broken_store_is_shown_and_no_error_of_the_server(
    server: Running, tiny_store: Store, file: str, content: bytes
) -> None:
    (tiny_store.root / "tiny" / file).write_bytes(content)
    for query in ("", "?first=1&second=2"):
        shown = await server.client.get(f"/versions/tiny{query}", headers=READER)
        assert shown.status_code == 200, shown.text
    assert (await act(server, action="rollback", why="x")).status_code in (303, 409)


async def test_only_admins_act_and_everyone_stays_on_this_server(server: Running, tiny_store: Store) -> None:
    assert (await act(server, READER, action="promote", version="2")).status_code == 403
    assert (
        await act(server, ADMIN | {"origin": "https://elsewhere.example"}, action="promote", version="2")
    ).status_code == 403
    assert tiny_store.production("tiny") == 1
    assert (await server.client.get("/versions/none", headers=READER)).status_code == 404


async def test_an_alarm_is_acknowledged_on_the_page(server: Running, png: Callable[..., bytes]) -> None:
    done = await server.client.post("/calibration/tiny/page?version=1", data={"note": "new device"}, headers=ADMIN)
    assert (done.status_code, done.headers["location"]) == (303, "/calibration/tiny/page?version=1")
    page = (await server.client.get("/calibration/tiny/page", headers=READER)).text
    assert "new device" in page
    assert "eve" in page
