"""Recalibrating on the page: what is shown, what is published, and when nothing is."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from model_store.bundle.bundle import write_bundle
from model_store.store.store import Store
from tests.builders.bundles import CLASSES, build_card, build_onnx
from tests.builders.services import Running, record_labeled, running

pytestmark = pytest.mark.anyio
PAGE = {"accept": "text/html"}
ADMIN = {"authorization": "Bearer a-token-for-everything"} | PAGE
READER = {"authorization": "Bearer a-token-for-reading"} | PAGE


@pytest.fixture
async def server(tiny_store: Store, tmp_path: Path) -> AsyncIterator[Running]:
    tokens = SecretStr("a-token-for-everything admin eve; a-token-for-reading read")
    async with running(tiny_store, tmp_path, tokens=tokens) as started:
        yield started


async def labeled(server: Running, **options: Any) -> list[bytes]:
    recorder = server.service.recorder
    assert recorder is not None
    watched_version_id = server.service.models.find("tiny").watched_version_id
    return await asyncio.to_thread(record_labeled, recorder, watched_version_id, CLASSES, **options)


async def preview(server: Running, query: str = "preview=yes") -> str:
    page = await server.client.get(f"/recalibrate/tiny?{query}", headers=ADMIN)
    assert page.status_code == 200, page.text
    return page.text


def form(page: str) -> dict[str, str]:
    """The hidden fields of the form that publishes."""
    return dict(
        re.findall(
            r'<input type="hidden" name="(\w+)" value="([^"]*)">',
            page.split("<h2>Publish it</h2>")[1],
        )
    )


async def publish(server: Running, fields: dict[str, str], headers: dict[str, str] = ADMIN) -> Any:
    return await server.client.post(
        "/recalibrate/tiny", data=fields | {"why": "too <sure>"}, headers=headers
    )


async def test_what_was_previewed_is_published_though_labels_keep_coming(
    server: Running, tiny_store: Store
) -> None:
    await labeled(server)
    page = await preview(server)
    for part in (
        "A temperature was fitted on 240 labels of version 1",
        "As served",
        "Recalibrated",
        "Classes",
    ):
        assert part in page
    assert "No predicted class changes, only confidence does." in page
    assert tiny_store.versions("tiny") == [1]
    await labeled(server, count=100, sharpness=1.0, first=400)
    done = await publish(server, form(page))
    assert (done.status_code, done.headers["location"]) == (
        303,
        "/versions/tiny?done=published&of=2",
    )
    card = tiny_store.read("tiny", 2).card
    assert f"-&gt; {card.calibration.temperature:.3f})" in page
    assert card.calibration.reference_split.endswith("of 400 labeled answers of version 1")
    assert tiny_store.production("tiny") == 1
    versions = (await server.client.get("/versions/tiny?done=published&of=2", headers=ADMIN)).text
    assert "Version 2 is published, and answers nothing yet." in versions
    assert "<b>eve</b> published version 2: “too &lt;sure&gt;”" in versions
    history = (await server.client.get("/models/tiny/report/history", headers=ADMIN)).json()[
        "events"
    ][-1]["sentence"]
    assert history.startswith(
        "Version 2 was published by eve: a temperature, fitted on 240 labels."
    )
    assert "Why: too <sure>." in history


async def test_a_second_click_publishes_nothing(server: Running, tiny_store: Store) -> None:
    await labeled(server)
    fields = form(await preview(server))
    both = await asyncio.gather(publish(server, fields), publish(server, fields))
    assert sorted(each.status_code for each in both) == [303, 409]
    assert tiny_store.versions("tiny") == [1, 2]


async def test_a_corrected_label_is_another_fit(server: Running, tiny_store: Store) -> None:
    known = await labeled(server)
    fields = form(await preview(server))
    corrected = [
        {"prediction_id": str(UUID(bytes=each)), "label": CLASSES[0]} for each in known[:40]
    ]
    assert (await server.client.post("/feedback", json=corrected, headers=ADMIN)).status_code == 200
    refused = await publish(server, fields)
    assert refused.status_code == 409
    assert "Nothing was published: labels were corrected or erased" in refused.text
    assert tiny_store.versions("tiny") == [1]
    assert (await publish(server, form(refused.text))).status_code == 303  # the preview of now


async def test_another_version_in_production_or_in_the_store_stops_it(
    server: Running, tiny_store: Store
) -> None:
    await labeled(server)
    fields = form(await preview(server))
    for step in ("published", "put into production"):
        if step == "published":
            tiny_store.publish(
                "tiny",
                lambda folder, version: write_bundle(
                    folder, card=build_card(version=version), onnx=build_onnx(seed=2)
                ),
            )
        else:
            fields["next"] = "3"
            tiny_store.promote("tiny", 2)
        refused = await publish(server, fields)
        assert refused.status_code == 409
        assert f"Nothing was published: version 2 was {step} since the preview" in refused.text
    assert tiny_store.versions("tiny") == [1, 2]


async def test_a_form_that_was_changed_publishes_nothing(
    server: Running, tiny_store: Store
) -> None:
    await labeled(server, count=200)
    fields = form(await preview(server))
    for changes in (
        {"seen": "0" * 32},
        {"seen": ""},
        {"until": "5"},
        {"min_labels": "4000"},
        {"last": "150"},
        {"next": "1"},
        {"next": "9"},
        {"production": ""},
    ):
        assert (await publish(server, fields | changes)).status_code == 409, changes
    for name in ("version", "until", "next"):
        for value in ("", "x", "-1", "9" * 30, "1; DROP"):
            assert (await publish(server, fields | {name: value})).status_code == 422, (name, value)
    assert tiny_store.versions("tiny") == [1]
    assert (await publish(server, fields)).status_code == 303


async def test_refusals_are_sentences_and_offer_no_form(server: Running) -> None:
    page = await preview(server)
    assert "Got 0 labeled answers of tiny version 1; expected at least 100." in page
    assert "Publish it" not in page
    few = await preview(server, "preview=yes&min_labels=5")
    assert (
        "expected at least 20, the fewest on which a fit can be checked. Label more answers." in few
    )
    await labeled(server, sharpness=1.0)
    assert "No remedy improves on the model as served" in await preview(server)
    assert "expected at least 5,000" in await preview(server, "preview=yes&min_labels=5000")
    for name, words in (
        ("min_labels", "At least so many labels"),
        ("last", "Only the latest labels"),
    ):
        odd = await server.client.get(f"/recalibrate/tiny?{name}={'9' * 12}", headers=ADMIN)
        assert odd.status_code == 422
        assert (
            f"{words}&#39; ({name}) must be a whole number from 1 to 999,999,999, or left empty; "
            "got" in odd.text
        )
    gone = await server.client.get("/recalibrate/tiny?preview=yes&version=7", headers=ADMIN)
    assert (gone.status_code, "There is no version 7" in gone.text) == (404, True)
    assert (await server.client.get("/recalibrate/tiny?last=x", headers=ADMIN)).status_code == 422
    assert (await server.client.get("/recalibrate/none", headers=ADMIN)).status_code == 404


async def test_labels_that_may_be_chosen_are_shown_but_not_published(
    server: Running, tiny_store: Store
) -> None:
    known = await labeled(server)
    with server.service.recorder._ledger.write() as connection:  # type: ignore[union-attr]
        connection.exec_driver_sql(
            "INSERT INTO prediction SELECT randomblob(16), watched_version_id, request_id, "
            "predicted, "
            "confidence, "
            "probabilities, served_at_ns, tags, audit FROM prediction"
        )
    assert known
    page = await preview(server)
    assert (
        "50.0 % of the answers of that time have a label, and nothing shows how these were chosen."
        in page
    )
    assert "A temperature was fitted on" in page
    assert "<button>Publish" not in page
    accepted = await preview(server, "preview=yes&chosen_labels=yes")
    without = {name: value for name, value in form(accepted).items() if name != "chosen_labels"}
    assert (await publish(server, without)).status_code == 409
    assert tiny_store.versions("tiny") == [1]
    assert (await publish(server, form(accepted))).status_code == 303


async def test_only_admins_from_this_server_recalibrate(server: Running, tiny_store: Store) -> None:
    await labeled(server)
    fields = form(await preview(server))
    assert (await server.client.get("/recalibrate/tiny", headers=READER)).status_code == 403
    assert (await publish(server, fields, READER)).status_code == 403
    assert (
        await publish(server, fields, ADMIN | {"origin": "https://elsewhere.example"})
    ).status_code == 403
    assert tiny_store.versions("tiny") == [1]
    reader = (await server.client.get("/models/tiny/report/page", headers=READER)).text
    assert "/recalibrate/" not in reader
    assert (
        "/recalibrate/tiny?version=1"
        in (await server.client.get("/models/tiny/report/page", headers=ADMIN)).text
    )


async def test_a_server_that_keeps_no_labels_says_so(tiny_store: Store, tmp_path: Path) -> None:
    async with running(tiny_store, tmp_path, ledger="off") as server:
        page = await server.client.get("/recalibrate/tiny?preview=yes", headers=PAGE)
        assert page.status_code == 200
        assert "This server keeps no labels itself" in page.text
