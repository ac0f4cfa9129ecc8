"""Promote, roll back and compare on the page: what is done, what is refused with a sentence, and
who did it.
"""

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from calibration.bins import BinSums
from calibration.measures.summary import Measures
from model_store.bundle.bundle import write_bundle
from model_store.bundle.card import CalibrationCard
from model_store.lifecycle.canary import read_canary
from model_store.store.store import Store
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
        lambda folder, version: write_bundle(
            folder, card=build_card(version=version), onnx=build_onnx(seed=2)
        ),
    )
    tokens = SecretStr("a-token-for-everything admin eve; a-token-for-reading read")
    async with running(tiny_store, tmp_path, tokens=tokens) as started:
        yield started


async def act(server: Running, headers: dict[str, str] = ADMIN, **form: str) -> Any:
    """Send a form of the page, with the version in production that the page shows now if `form`
    names none.
    """
    page = (await server.client.get("/versions/tiny", headers=ADMIN)).text
    shown = re.findall(r'name="seen" value="(\w+)"', page)
    return await server.client.post(
        "/versions/tiny", data={"seen": (shown or ["1"])[0]} | form, headers=headers
    )


async def test_a_form_that_does_not_say_what_it_saw_does_nothing(
    server: Running, tiny_store: Store
) -> None:
    """Sent twice, a rollback would go back twice."""
    assert (await act(server, action="promote", version="2", why="better")).status_code == 303
    for action in (
        "promote",
        "rollback",
        "canary",
        "change-canary",
        "promote-canary",
        "end-canary",
    ):
        form = {"action": action, "version": "1", "why": "worse", "mode": "shadow"}
        refused = await server.client.post("/versions/tiny", data=form, headers=ADMIN)
        assert refused.status_code == 422
        assert "which version the page showed in production" in refused.text
    assert tiny_store.production("tiny") == 2
    back = {"action": "rollback", "why": "worse", "seen": "2"}
    sent = [
        (await server.client.post("/versions/tiny", data=back, headers=ADMIN)).status_code
        for _ in range(2)
    ]
    assert (sent, tiny_store.production("tiny")) == ([303, 409], 1)


async def test_promote_and_roll_back_say_who_and_why(server: Running, tiny_store: Store) -> None:
    promoted = await act(server, action="promote", version="2", why="<better>")
    assert (promoted.status_code, promoted.headers["location"]) == (
        303,
        "/versions/tiny?done=promoted&of=2",
    )
    assert tiny_store.production("tiny") == 2
    page = (await server.client.get("/versions/tiny?done=promoted&of=2", headers=ADMIN)).text
    assert "Version 2 is in production." in page
    assert "<b>eve</b> production: set version 2: “&lt;better&gt;”" in page
    assert "Roll back to version 1" in page
    back = await act(server, action="rollback", why="worse")
    assert back.status_code == 303
    assert tiny_store.production("tiny") == 1


async def test_two_versions_are_compared(server: Running) -> None:
    page = (await server.client.get("/versions/tiny?first=1&second=2", headers=READER)).text
    assert "Files that differ: card.json, model.onnx" in page
    assert re.search(
        r"measured on</th><td[^>]*>[^<]+ labels?</td><td[^>]*>[^<]+ labels?</td>", page
    )
    assert (
        "{&#39;" not in page
    )  # what only one card has is a row for each of its fields, not Python
    same = (await server.client.get("/versions/tiny?first=1&second=1", headers=READER)).text
    assert "the same in every byte" in same
    for second, status in (("x", 422), ("9", 404), ("99999999999999", 422)):
        odd = await server.client.get(f"/versions/tiny?first=1&second={second}", headers=READER)
        assert odd.status_code == status


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"action": "promote", "version": "7"}, 409),
        ({"action": "promote", "version": "x"}, 422),
        ({"action": "promote"}, 422),
        ({"action": "rollback"}, 409),  # nothing is before
        ({"action": "burn"}, 422),
        ({}, 422),
        ({"action": "promote", "version": "2", "why": "w" * 2000}, 422),
        ({"action": "promote", "version": "2"}, 422),  # the page asks why, and so does the server
        ({"action": "canary", "version": "2", "mode": "shadow", "why": "  "}, 422),
    ],
)
async def test_what_cannot_be_done_is_a_sentence_and_changes_nothing(
    server: Running, tiny_store: Store, form: dict[str, str], status: int
) -> None:
    refused = await act(server, **form)
    assert refused.status_code == status
    assert refused.headers["content-type"].startswith("text/html")
    assert tiny_store.production("tiny") == 1


async def test_a_bundle_that_was_changed_is_not_promoted(
    server: Running, tiny_store: Store
) -> None:
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


async def test_only_admins_act_and_everyone_stays_on_this_server(
    server: Running, tiny_store: Store
) -> None:
    assert (await act(server, READER, action="promote", version="2")).status_code == 403
    assert (
        await act(
            server, ADMIN | {"origin": "https://elsewhere.example"}, action="promote", version="2"
        )
    ).status_code == 403
    assert tiny_store.production("tiny") == 1
    assert (await server.client.get("/versions/none", headers=READER)).status_code == 404


async def test_a_canary_is_started_widened_watched_and_promoted(
    server: Running, tiny_store: Store, png: Callable[..., bytes]
) -> None:
    started = await act(
        server, action="canary", version="2", mode="share", share="5", why="new", seen="1"
    )
    assert started.headers["location"] == "/versions/tiny?done=started&of=2"
    server.service.watcher.scan()
    page = (await server.client.get("/versions/tiny?done=started&of=2", headers=ADMIN)).text
    assert "Version 2 is tried beside production." in page
    assert "It answers 5 % of the requests, since" in page
    began = read_canary(tiny_store, "tiny")
    widened = await act(
        server, action="change-canary", version="2", mode="share", share="100 %", why="well"
    )
    assert widened.status_code == 303
    server.service.watcher.scan()
    now = read_canary(tiny_store, "tiny")
    assert began is not None
    assert now is not None
    assert (now.share, now.started_at) == (1.0, began.started_at)
    answers = [
        (await server.predict(png(seed), authorization=ADMIN["authorization"])).json()
        for seed in range(3)
    ]
    assert {each["version"] for each in answers} == {2}
    refused = await act(server, action="promote-canary", version="2", why="good")
    assert (
        refused.status_code,
        "No answer of the canary, version 2, has a label" in refused.text,
    ) == (409, True)
    labels = [{"prediction_id": each["prediction_id"], "label": "normal"} for each in answers]
    assert (await server.client.post("/feedback", json=labels, headers=ADMIN)).status_code == 200
    page = (await server.client.get("/versions/tiny", headers=ADMIN)).text
    assert re.search(
        r"Canary, version 2</b>.*?<dt>answers</dt><dd>3</dd>.*?<dt>labels</dt><dd>3</dd>",
        page,
        re.S,
    )
    assert (await act(server, action="promote-canary", version="2", why="good")).status_code == 303
    assert tiny_store.production("tiny") == 2
    page = (await server.client.get("/versions/tiny?done=promoted&of=2", headers=ADMIN)).text
    assert (
        "<b>eve</b> canary changed version 2, which <span>answers 100 % of the requests</span>: "
        "“well”" in page
    )
    assert "Version 2 was put into production on" in page


async def test_a_canary_ends_and_what_is_no_longer_so_is_refused(
    server: Running, tiny_store: Store
) -> None:
    for how in (
        {"mode": "share", "share": "0"},
        {"mode": "share", "share": "x"},
        {"mode": "x"},
        {"mode": "share"},
    ):
        assert (await act(server, action="canary", version="2", why="w", **how)).status_code == 422
    assert (
        await act(server, action="canary", version="2", mode="shadow", why="w", seen="2")
    ).status_code == 409
    assert (await act(server, action="end-canary", version="2", why="w")).status_code == 409
    assert (
        await act(server, action="canary", version="2", mode="shadow", why="w", seen="1")
    ).status_code == 303
    assert (
        await act(server, action="canary", version="2", mode="shadow", why="w", seen="1")
    ).status_code == 409
    assert (await act(server, action="end-canary", version="1", why="w")).status_code == 409
    assert (
        await act(server, action="promote-canary", version="2", why="w", anyway="yes", seen="2")
    ).status_code == 409
    ended = await act(server, action="end-canary", version="2", why="too slow", seen="1")
    assert ended.headers["location"] == "/versions/tiny?done=ended&of=2"
    page = (await server.client.get("/versions/tiny", headers=READER)).text
    assert "too slow" in page
    assert tiny_store.production("tiny") == 1
    again = await act(server, action="canary", version="2", mode="header", why="w", seen="1")
    assert again.status_code == 303
    assert (
        await act(server, action="promote-canary", version="2", why="w", anyway="yes")
    ).status_code == 303
    assert tiny_store.production("tiny") == 2


async def test_a_page_that_is_out_of_date_does_nothing(server: Running, tiny_store: Store) -> None:
    tiny_store.promote("tiny", 2)
    for action in ("promote", "rollback"):
        refused = await act(server, action=action, version="1", why="w", seen="1")
        assert refused.status_code == 409
        assert "Version 2 was put into production since this page was made" in refused.text
    assert tiny_store.production("tiny") == 2


async def test_a_made_up_address_says_nothing(server: Running) -> None:
    for query in (
        "done=promoted&of=2",
        "done=ended&of=1",
        "done=published&of=9",
        "done=x&of=1",
        "done=promoted",
    ):
        assert (
            'role="status"'
            not in (await server.client.get(f"/versions/tiny?{query}", headers=ADMIN)).text
        )


async def test_a_reader_sees_no_button_that_would_be_refused(server: Running) -> None:
    reader = (await server.client.get("/versions/tiny", headers=READER)).text
    assert 'method="post"' not in reader
    assert "needs a token with the scope admin" in reader
    assert "Compare two versions" in reader
    assert 'method="post"' in (await server.client.get("/versions/tiny", headers=ADMIN)).text
    index = (await server.client.get("/", headers=READER)).text
    assert "/versions/tiny" in index
    for needs_more in ("/try/tiny", "/label/tiny"):
        assert needs_more not in index
    sign_in = (await server.client.get("/sign-in", headers=PAGE)).text
    assert "Sign out" not in sign_in


async def test_tables_of_numbers_are_drawn_not_printed(server: Running) -> None:
    page = (await server.client.get("/versions/tiny?first=1&second=2", headers=READER)).text
    assert "squared_error" not in page
    assert page.count('aria-label="Reliability diagram of the reference of version') == 2
    assert '<th scope="row">Accuracy</th>' in page


async def test_an_alarm_is_acknowledged_on_the_page(
    tiny_store: Store, tmp_path: Path, png: Callable[..., bytes]
) -> None:
    tokens = SecretStr("a-token-for-everything admin eve; a-token-for-reading read")
    options = {"drift_average_run_length": 2.0, "drift_tolerance": 0.0}
    async with running(tiny_store, tmp_path, tokens=tokens, **options) as server:
        for _ in range(40):
            answer = (
                await server.predict(png(), authorization="Bearer a-token-for-everything")
            ).json()
            wrong = next(name for name in answer["probabilities"] if name != answer["predicted"])
            said = {"prediction_id": answer["prediction_id"], "label": wrong}
            assert (
                await server.client.post("/feedback", json=said, headers=ADMIN)
            ).status_code == 200
        page = (await server.client.get("/models/tiny/report/page", headers=ADMIN)).text
        (alarm,) = re.findall(r'name="alarm" value="(\d+)"', page)
        form = {"note": "new device", "alarm": alarm}
        done = await server.client.post(
            "/models/tiny/report/page?version=1", data=form, headers=ADMIN
        )
        assert (done.status_code, done.headers["location"]) == (
            303,
            "/models/tiny/report/page?version=1",
        )
        again = await server.client.post(
            "/models/tiny/report/page?version=1", data=form, headers=ADMIN
        )
        assert again.status_code == 409
        assert "acknowledged already by eve" in again.text
        page = (await server.client.get("/models/tiny/report/page", headers=READER)).text
    assert "new device" in page
    assert "eve" in page


async def test_a_single_version_is_offered_no_choice_of_nothing(
    tiny_store: Store, tmp_path: Path
) -> None:
    async with running(tiny_store, tmp_path) as alone:
        page = (await alone.client.get("/versions/tiny", headers=PAGE)).text
    assert "There is no other version to put into production." in page
    assert 'value="promote"' not in page
    assert "<select" not in page.partition("Change production")[2]


async def test_versions_beside_each_other_are_drawn_on_one_scale(
    tiny_store: Store, tmp_path: Path
) -> None:
    """Of two versions, of which one is sure of all its answers."""

    def sure(folder: Path, version: int) -> None:
        card = build_card(version=version)
        sums = BinSums.from_predictions([0.95] * 40, [True] * 38 + [False] * 2)
        found = CalibrationCard.from_reference(
            temperature=card.calibration.temperature,
            split="val",
            sums=sums,
            measures=Measures.from_probabilities(
                np.tile([0.95, 0.05], (40, 1)), np.repeat([0, 1], [38, 2])
            ),
        )
        write_bundle(
            folder, card=card.model_copy(update={"calibration": found}), onnx=build_onnx(seed=2)
        )

    tiny_store.publish("tiny", sure)
    async with running(tiny_store, tmp_path) as alone:
        page = (await alone.client.get("/versions/tiny?first=1&second=2", headers=PAGE)).text
    drawn = re.findall(
        r'aria-label="Reliability diagram of the reference.*?</svg>', page, re.DOTALL
    )
    first, second = (
        re.findall(r'<text x="([\d.]+)" y="446[.0]*" text-anchor="middle">(\d+)', each)
        for each in drawn
    )
    assert first == second
    assert len(first) >= 3
