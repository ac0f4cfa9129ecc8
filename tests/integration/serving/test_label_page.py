"""Labels that people give on the page: blind, audit draws first, corrected with a history."""

import base64
import io
import re
from html import unescape
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image
from pydantic import SecretStr
from sqlalchemy import func, select

from model_store.bundle.card import NO_PROMISE
from model_store.store.store import Store
from monitoring.ledger.schema import picture
from monitoring.maintenance.erasure import forget
from tests.builders.bundles import encode, png
from tests.builders.scoped import publish_scoped
from tests.builders.services import PAGE, Running, running, until

pytestmark = [pytest.mark.anyio, pytest.mark.world(audit_share=0.3)]
LABEL, WAITING = "/label/tiny", "/models/tiny/report/waiting"
UNKNOWN_ID = "0193a0f0-0000-7000-8000-000000000000"


async def serve(server: Running, n: int) -> dict[str, dict[str, Any]]:
    """Answers by prediction id."""
    answers = [
        (await server.predict(png(seed), X_Request_Id=f"scan-{seed}")).json() for seed in range(n)
    ]
    return {each["prediction_id"]: each for each in answers}


def asked(page: str) -> str:
    return re.findall(r'name="prediction_id" value="([^"]+)"', page)[0]


async def label(server: Running, prediction_id: str, name: str) -> str:
    """The page after the label."""
    form = {"prediction_id": prediction_id, "label": name}
    answered = await server.client.post(LABEL, data=form)
    assert answered.status_code == 303, answered.text
    return await server.page(answered.headers["location"], PAGE)


async def test_the_page_hides_what_the_model_said_until_a_label_is_given(server: Running) -> None:
    answers = await serve(server, 1)
    page = await server.page(LABEL, PAGE)
    answer = answers[asked(page)]
    assert "scan-0" in page
    assert f"{100 * answer['confidence']:.0f} %" not in page
    peeking = await server.page(f"{LABEL}?done={asked(page)}", PAGE)
    for hidden in (page, peeking):
        assert "The model had said" not in hidden
    told = await label(server, asked(page), answer["predicted"])
    assert "The model had said the same" in told
    assert 'name="prediction_id"' not in told


async def test_audit_draws_come_first_then_those_to_refer(server: Running) -> None:
    answers = await serve(server, 30)
    order = []
    for _ in answers:
        prediction_id = asked(await server.page(LABEL, PAGE))
        order.append(answers[prediction_id])
        await label(server, prediction_id, "normal")
    ranks = [(not each["audit"], not each["refer"], each["prediction_id"]) for each in order]
    assert ranks == sorted(set(ranks))
    report = (await server.client.get("/models/tiny/report")).json()
    assert report["coverage"]["labeled"] == 30


async def test_the_report_leads_to_labels_at_random(tiny_store: Store, tmp_path: Path) -> None:
    """Those of which the model is unsure do not come first."""
    async with running(tiny_store, tmp_path) as server:
        answers = await serve(server, 12)
        report = await server.page("/models/tiny/report/page", PAGE)
        (step,) = set(re.findall(rf'href="({LABEL}[^"]*queue=random)"', report))
        waiting = (await server.client.get(f"{WAITING}?queue=random")).json()["answers"]
        order = [each["prediction_id"] for each in waiting]
        assert order == sorted(answers, key=lambda each: each[19:])
        assert asked(await server.page(unescape(step), PAGE)) == order[0]


async def test_another_reader_gives_a_second_reading(tiny_store: Store, tmp_path: Path) -> None:
    tokens = SecretStr("a-token-of-the-first admin ann; a-token-of-the-other admin bob")
    async with running(tiny_store, tmp_path, tokens=tokens) as server:
        ann, bob = ({"authorization": f"Bearer a-token-of-the-{who}"} for who in ("first", "other"))
        predicted = await server.predict(png(1), Authorization=ann["authorization"])
        prediction_id = predicted.json()["prediction_id"]
        for who, name in ((ann, "benign"), (bob, "normal")):
            form = {"prediction_id": prediction_id, "label": name}
            answered = await server.client.post(LABEL, data=form, headers=who)
            shown = await server.page(answered.headers["location"], who | PAGE)
        assert "beside that of the first reader: “benign”" in shown
        (answer,) = (await server.client.get("/models/tiny/answers", headers=ann)).json()["answers"]
        assert answer["label"] == "benign"
        said = [(each["reader"], each["label"], each["counts_as"]) for each in answer["labels"]]
        assert said == [("ann", "benign", "truth"), ("bob", "normal", "second_reading")]


async def test_skipped_answers_stay_in_the_queue(server: Running) -> None:
    await serve(server, 2)
    pages = [await server.page(f"{LABEL}?skip={skip}", PAGE) for skip in range(3)]
    assert asked(pages[0]) != asked(pages[1])
    assert "Back to the 2 that you skipped" in pages[2]


async def test_doubtful_images_have_a_queue_apart_from_the_audit(tmp_path: Path) -> None:
    async with running(publish_scoped(tmp_path / "store"), tmp_path, audit_share=0.3) as server:
        levels = (128, 250) * 15
        answers = {}
        for level in levels:
            image = encode(Image.new("RGB", (8, 8), (level, level, level)), "PNG")
            answer = (await server.predict(image)).json()
            answers[answer["prediction_id"]] = answer
        chosen = [
            key for key, each in answers.items() if each["scope"] != "in" and not each["audit"]
        ]
        drawn = sum(each["audit"] for each in answers.values())
        waiting = (await server.client.get(f"{WAITING}?queue=doubtful")).json()
        assert [each["prediction_id"] for each in waiting["answers"]] == chosen
        assert waiting["counts"] == {
            "drawn": drawn,
            "others": len(levels) - drawn,
            "doubtful": len(chosen),
        }
        for key in chosen:
            page = await server.page(f"{LABEL}?queue=doubtful", PAGE)
            assert asked(page) == key
            assert NO_PROMISE in page
            form = {"prediction_id": key, "label": "normal", "queue": "doubtful"}
            assert (await server.client.post(LABEL, data=form)).status_code == 303
        page = await server.page(f"{LABEL}?queue=doubtful", PAGE)
        assert 'name="prediction_id"' not in page
        page = await server.page(f"{LABEL}?answer={chosen[0]}", PAGE)
        assert "by console, doubtful: local" in page
        left = (await server.client.get(WAITING)).json()
        assert left["counts"]["drawn"] == drawn
        assert (await server.client.get(f"{WAITING}?queue=best")).status_code == 422


@pytest.mark.parametrize(
    "form",
    [
        {"label": "normal"},
        {"label": "normal", "prediction_id": "none"},
        {"label": "none", "prediction_id": UNKNOWN_ID},
        {"label": "nor\x00mal", "prediction_id": UNKNOWN_ID},
        {f"field{number}": "x" for number in range(30)},
    ],
)
async def test_a_form_that_is_not_ours_is_refused(server: Running, form: dict[str, str]) -> None:
    refused = await server.client.post(LABEL, data=form, headers=PAGE)
    assert refused.status_code == 422
    assert refused.headers["content-type"].startswith("text/html")


async def test_a_picture_is_shown_only_where_the_settings_keep_it_and_gone_once_it_is_forgotten(
    tiny_store: Store, tmp_path: Path
) -> None:
    async with running(tiny_store, tmp_path) as server:
        [first] = await serve(server, 1)
        assert server.service._pictures is None
    async with running(tiny_store, tmp_path, keep_pictures_days=1) as server:
        trial = {"file": ("a.png", png(3))}  # which is not kept
        await server.client.post("/try/tiny", files=trial, headers=PAGE)
        [second] = (each for each in await serve(server, 1) if each != first)
        ledger = server.service.recorder._ledger if server.service.recorder else None

        def kept() -> int | None:
            with ledger.read() as connection:
                return connection.scalar(select(func.count()).select_from(picture))

        await until(kept)  # in the background
        page = await server.page(f"{LABEL}?answer={second}", PAGE)
        shown = r'src="data:image/png;base64,([^"]+)" alt="[^"]*" width="(\d+)" height="(\d+)"'
        [(data, width, height)] = re.findall(shown, page)
        size = Image.open(io.BytesIO(base64.b64decode(data))).size
        assert size == (int(width), int(height)) == (8, 8)  # the model's input
        assert "<img" not in await server.page(f"{LABEL}?answer={first}", PAGE)
        assert kept() == 1
        await anyio.to_thread.run_sync(lambda: forget(ledger, request_id="scan-0"))
        assert kept() == 0
