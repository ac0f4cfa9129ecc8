"""Labels that people give on the page: blind, audit draws first, corrected with a history."""

import base64
import io
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image
from sqlalchemy import func, select

from model_store.store.store import Store
from monitoring.ledger.schema import picture
from monitoring.maintenance.erasure import forget
from tests.builders.services import Running, running

pytestmark = pytest.mark.anyio
PAGE = {"accept": "text/html"}


@pytest.fixture
async def server(tiny_store: Store, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tiny_store, tmp_path, audit_share=0.3) as started:
        yield started


async def serve(server: Running, png: Callable[..., bytes], n: int) -> dict[str, dict[str, Any]]:
    """Answers by prediction id."""
    answers = [
        (await server.predict(png(seed), X_Request_Id=f"scan-{seed}")).json() for seed in range(n)
    ]
    return {each["prediction_id"]: each for each in answers}


def asked(page: str) -> str:
    return re.findall(r'name="prediction_id" value="([^"]+)"', page)[0]


async def label(server: Running, prediction_id: str, name: str) -> str:
    """The page after the label."""
    answered = await server.client.post(
        "/label/tiny", data={"prediction_id": prediction_id, "label": name}
    )
    assert answered.status_code == 303, answered.text
    return (await server.client.get(answered.headers["location"], headers=PAGE)).text


async def test_the_page_hides_what_the_model_said_until_a_label_is_given(
    server: Running, png: Callable[..., bytes]
) -> None:
    answers = await serve(server, png, 1)
    page = (await server.client.get("/label/tiny", headers=PAGE)).text
    answer = answers[asked(page)]
    assert "scan-0" in page
    assert f"{100 * answer['confidence']:.0f} %" not in page
    assert "The model had said" not in page
    peeking = (await server.client.get(f"/label/tiny?done={asked(page)}", headers=PAGE)).text
    assert "The model had said" not in peeking
    told = await label(server, asked(page), answer["predicted"])
    assert f"Your label is recorded: “{answer['predicted']}”. The model had said the same" in told
    assert "No answer waits" in told


async def test_audit_draws_come_first_then_those_to_refer(
    server: Running, png: Callable[..., bytes]
) -> None:
    answers = await serve(server, png, 30)
    order = []
    for _ in answers:
        prediction_id = asked((await server.client.get("/label/tiny", headers=PAGE)).text)
        order.append(answers[prediction_id])
        await label(server, prediction_id, "normal")
    ranks = [(not each["audit"], not each["refer"], each["prediction_id"]) for each in order]
    assert ranks == sorted(ranks)
    assert len({each["prediction_id"] for each in order}) == 30
    report = (await server.client.get("/models/tiny/report")).json()
    assert report["measures"]["n"] >= 1
    assert report["coverage"]["labeled"] == 30
    assert report["selection"]["sources"] == {"console: local": 30}


async def test_a_correction_keeps_the_history(server: Running, png: Callable[..., bytes]) -> None:
    [prediction_id] = await serve(server, png, 1)
    await label(server, prediction_id, "benign")
    page = (await server.client.get(f"/label/tiny?answer={prediction_id}", headers=PAGE)).text
    assert "benign, by console: local" in page
    told = await label(server, prediction_id, "normal")
    assert "Your label is corrected to “normal”." in told
    page = (await server.client.get(f"/label/tiny?answer={prediction_id}", headers=PAGE)).text
    assert page.index("benign, by console") < page.index("normal, by console")


async def test_skipped_answers_stay_in_the_queue(
    server: Running, png: Callable[..., bytes]
) -> None:
    await serve(server, png, 2)
    first = asked((await server.client.get("/label/tiny", headers=PAGE)).text)
    second = asked((await server.client.get("/label/tiny?skip=1", headers=PAGE)).text)
    assert first != second
    assert (
        "Back to the 2 that you skipped"
        in (await server.client.get("/label/tiny?skip=2", headers=PAGE)).text
    )


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"label": "normal"}, 422),
        ({"label": "normal", "prediction_id": "none"}, 422),
        ({"label": "none", "prediction_id": "0193a0f0-0000-7000-8000-000000000000"}, 422),
        ({"label": "nor\x00mal", "prediction_id": "0193a0f0-0000-7000-8000-000000000000"}, 422),
        ({f"field{number}": "x" for number in range(30)}, 422),
    ],
)
async def test_a_form_that_is_not_ours_is_refused(
    server: Running, form: dict[str, str], status: int
) -> None:
    refused = await server.client.post("/label/tiny", data=form, headers=PAGE)
    assert refused.status_code == status
    assert refused.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    "query",
    ["answer=none", "answer=0193a0f0-0000-7000-8000-000000000000", "version=none", "done=x"],
)
async def test_a_query_that_names_nothing_is_refused(server: Running, query: str) -> None:
    assert (await server.client.get(f"/label/tiny?{query}", headers=PAGE)).status_code in (404, 422)


async def test_an_unknown_model_has_no_queue(server: Running) -> None:
    assert (await server.client.get("/label/none", headers=PAGE)).status_code == 404


async def test_a_picture_is_shown_only_where_the_settings_keep_it_and_gone_once_it_is_forgotten(
    tiny_store: Store, tmp_path: Path, png: Callable[..., bytes]
) -> None:
    async with running(tiny_store, tmp_path) as server:
        [first] = await serve(server, png, 1)
        assert server.service._pictures is None
    async with running(tiny_store, tmp_path, keep_pictures_days=1) as server:
        await server.client.post(
            "/try/tiny", files={"file": ("a.png", png(3))}, headers=PAGE
        )  # a trial is not kept
        [second] = (each for each in await serve(server, png, 1) if each != first)
        ledger = server.service.recorder._ledger if server.service.recorder else None
        assert ledger is not None
        pages = {each: f"/label/tiny?answer={each}" for each in (first, second)}
        for _ in range(200):
            page = (await server.client.get(pages[second], headers=PAGE)).text
            if "as the model saw it" in page:
                break
            await anyio.sleep(0.05)
        shown = re.findall(
            r'src="data:image/png;base64,([^"]+)" alt="[^"]*" width="(\d+)" height="(\d+)"', page
        )
        size = Image.open(io.BytesIO(base64.b64decode(shown[0][0]))).size
        assert size == (int(shown[0][1]), int(shown[0][2])) == (8, 8)  # the model's input
        assert "<img" not in (await server.client.get(pages[first], headers=PAGE)).text
        assert (
            "no picture of it is kept here"
            in (await server.client.get(pages[first], headers=PAGE)).text
        )
        with ledger.read() as connection:
            assert connection.scalar(select(func.count()).select_from(picture)) == 1
        await anyio.to_thread.run_sync(lambda: forget(ledger, request_id="scan-0"))
        with ledger.read() as connection:
            assert connection.scalar(select(func.count()).select_from(picture)) == 0
