"""Promote, roll back and compare on the page: what is done, what is refused, and who did it."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from model_store.bundle.bundle import write_bundle
from model_store.store.canary import read_canary
from model_store.store.store import Store
from tests.builders.bundles import build_card, build_onnx, png
from tests.builders.services import ADMIN, READER, TOKENS, Running, running

pytestmark = pytest.mark.anyio
VERSIONS = "/versions/tiny"
ACTIONS = ("promote", "rollback", "canary", "change-canary", "promote-canary", "end-canary")


def publish(store: Store) -> None:
    def write(folder: Path, version: int) -> None:
        write_bundle(folder, card=build_card(version=version), onnx=build_onnx(seed=2))

    store.publish("tiny", write)


@pytest.fixture
async def server(tiny_store: Store, tmp_path: Path) -> AsyncIterator[Running]:
    publish(tiny_store)
    async with running(tiny_store, tmp_path, tokens=TOKENS) as started:
        yield started


async def act(server: Running, headers: dict[str, str] = ADMIN, **form: str) -> Any:
    """Send a form of the page, with the production that it shows if `form` has none."""
    shown = re.findall(r'name="seen" value="(\w+)"', await server.page(VERSIONS))
    form = {"seen": (shown or ["1"])[0]} | form
    return await server.client.post(VERSIONS, data=form, headers=headers)


async def test_a_form_that_does_not_say_what_it_saw_does_nothing(
    server: Running, tiny_store: Store
) -> None:
    """Sent twice, a rollback would go back twice."""
    assert (await act(server, action="promote", version="2", why="better")).status_code == 303
    for action in ACTIONS:
        form = {"action": action, "version": "1", "why": "worse", "mode": "shadow"}
        refused = await server.client.post(VERSIONS, data=form, headers=ADMIN)
        assert refused.status_code == 422
    assert tiny_store.production("tiny") == 2
    for status in (303, 409):
        assert (await act(server, action="rollback", why="worse", seen="2")).status_code == status
    assert tiny_store.production("tiny") == 1


async def test_a_promotion_says_who_and_why(server: Running, tiny_store: Store) -> None:
    promoted = await act(server, action="promote", version="2", why="<better>")
    assert promoted.status_code == 303
    assert promoted.headers["location"] == f"{VERSIONS}?done=yes"
    assert tiny_store.production("tiny") == 2
    page = await server.page(promoted.headers["location"])
    assert 'role="status"' in page
    assert "<b>eve</b> production: set version 2: “&lt;better&gt;”" in page
    assert "Roll back to version 1" in page


async def test_two_versions_are_compared(server: Running) -> None:
    page = await server.page(f"{VERSIONS}?first=1&second=2", READER)
    assert "Files that differ: card.json, model.onnx" in page
    assert re.search(
        r"measured on</th><td[^>]*>[^<]+ labels?</td><td[^>]*>[^<]+ labels?</td>", page
    )
    assert "{&#39;" not in page  # a row for each field that one card has alone, not Python
    assert "squared_error" not in page  # tables of numbers are drawn
    assert page.count('aria-label="Reliability diagram of the reference of version') == 2
    side_by_side = page[page.index('id="compared"') :]
    assert f'<a href="{VERSIONS}">its card</a>' in side_by_side
    assert not any(title in side_by_side for title in ("Brier", "NLL", ">Accuracy<"))
    said = re.sub("</?dfn[^>]*>", "", page)  # marks of terms
    assert re.search(r"version 2 minus version 1: accuracy \S+ points \(\S+ to \S+\);", said)
    assert "the same in every byte" in await server.page(f"{VERSIONS}?first=1&second=1", READER)
    for second, status in (("x", 422), ("9", 404), ("99999999999999", 422)):
        query = f"first=1&second={second}"
        odd = await server.client.get(f"{VERSIONS}?{query}", headers=READER)
        assert odd.status_code == status


async def test_what_cannot_be_done_is_a_page_and_changes_nothing(
    server: Running, tiny_store: Store
) -> None:
    forms: list[tuple[dict[str, str], int]] = [
        ({"action": "promote", "version": "7", "why": "w"}, 409),
        ({"action": "promote", "version": "x"}, 422),
        ({"action": "promote"}, 422),
        ({"action": "rollback"}, 409),  # nothing is before
        ({"action": "burn"}, 422),
        ({}, 422),
        ({"action": "promote", "version": "2", "why": "w" * 2000}, 422),
        ({"action": "promote", "version": "2"}, 422),  # the page asks why, and so does the server
        ({"action": "canary", "version": "2", "mode": "shadow", "why": "  "}, 422),
        *(
            ({"action": "canary", "version": "2", "why": "w", "mode": mode, "share": share}, 422)
            for mode, share in (("share", "0"), ("share", "x"), ("share", ""), ("x", "5"))
        ),
        ({"action": "end-canary", "version": "2", "why": "w"}, 409),
        ({"action": "promote", "version": "2", "why": "w", "seen": "2"}, 409),
        ({"action": "canary", "version": "2", "mode": "shadow", "why": "w", "seen": "2"}, 409),
    ]
    for form, status in forms:
        refused = await act(server, **form)
        assert refused.status_code == status, form
        assert refused.headers["content-type"].startswith("text/html")
        assert tiny_store.production("tiny") == 1
        assert read_canary(tiny_store, "tiny") is None


@pytest.mark.parametrize("file", ["history.jsonl", "2/card.json", "2/manifest.json"])
async def test_a_broken_store_is_shown_and_no_error_of_the_server(
    server: Running, tiny_store: Store, file: str
) -> None:
    for content in (b"", b"{", b"\xff\x00", b"[]", b"9" * 100):
        (tiny_store.root / "tiny" / file).write_bytes(content)
        for query in ("", "?first=1&second=2"):
            await server.page(f"{VERSIONS}{query}", READER)
        assert (await act(server, action="rollback", why="x")).status_code in (303, 409)
        if file.startswith("2/"):
            refused = await act(server, action="promote", version="2", why="try")
            assert refused.status_code == 409
            assert tiny_store.production("tiny") == 1


async def test_a_canary_is_started_widened_watched_and_promoted(
    server: Running, tiny_store: Store
) -> None:
    started = await act(server, action="canary", version="2", mode="share", share="5", why="new")
    assert started.headers["location"] == f"{VERSIONS}?done=yes"
    server.service.watcher.scan()
    page = await server.page(started.headers["location"])
    assert 'role="status"' in page
    assert "answers 5 % of the requests" in page
    began = read_canary(tiny_store, "tiny")
    change = {"action": "change-canary", "version": "2", "mode": "share", "share": "100 %"}
    assert (await act(server, **change, why="well")).status_code == 303
    server.service.watcher.scan()
    now = read_canary(tiny_store, "tiny")
    assert (now.share, now.started_at) == (1.0, began.started_at)
    token = ADMIN["authorization"]
    answers = [(await server.predict(png(seed), authorization=token)).json() for seed in range(3)]
    assert {each["version"] for each in answers} == {2}
    promote = {"action": "promote-canary", "version": "2", "why": "good"}
    assert (await act(server, **promote)).status_code == 409  # no answer of it has a label
    labels = [{"prediction_id": each["prediction_id"], "label": "normal"} for each in answers]
    assert (await server.client.post("/feedback", json=labels, headers=ADMIN)).status_code == 200
    counted = r"Canary, version 2</b>.*?<dt>answers</dt><dd>3</dd>.*?<dt>labels</dt><dd>3</dd>"
    assert re.search(counted, await server.page(VERSIONS), re.DOTALL)
    assert (await act(server, **promote)).status_code == 303
    assert tiny_store.production("tiny") == 2
    page = await server.page(VERSIONS)
    assert "canary changed version 2, which <span>answers 100 % of the requests</span>" in page


async def test_a_canary_ends_and_what_is_no_longer_so_is_refused(
    server: Running, tiny_store: Store
) -> None:
    start = {"action": "canary", "version": "2", "mode": "shadow", "why": "w"}
    promote = {"action": "promote-canary", "version": "2", "why": "w", "anyway": "yes"}
    assert (await act(server, **start)).status_code == 303
    assert (await act(server, **start)).status_code == 409
    assert (await act(server, action="end-canary", version="1", why="w")).status_code == 409
    assert (await act(server, **promote, seen="2")).status_code == 409
    ended = await act(server, action="end-canary", version="2", why="too slow")
    assert ended.headers["location"] == f"{VERSIONS}?done=yes"
    assert "too slow" in await server.page(VERSIONS, READER)
    assert tiny_store.production("tiny") == 1
    assert (await act(server, **start | {"mode": "header"})).status_code == 303
    assert (await act(server, **promote)).status_code == 303
    assert tiny_store.production("tiny") == 2


async def test_what_is_refused_of_a_canary_is_refused_of_its_version(
    server: Running, tiny_store: Store
) -> None:
    await act(server, action="canary", version="2", mode="shadow", why="try it")
    page = await server.page(VERSIONS)
    assert re.findall(r'<button name="action" value="([^"]+)"', page) == [
        *("change-canary", "promote-canary", "end-canary")
    ]
    refused = await act(server, action="promote", version="2", why="better")
    assert refused.status_code == 409
    assert "no answer of the <dfn" in refused.text.lower()
    assert tiny_store.production("tiny") == 1
    done = await act(server, action="promote", version="2", why="better", anyway="yes")
    assert done.status_code == 303
