"""Recalibrating on the page: what is shown, what is published, and when nothing is."""

import asyncio
import json
import re
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import pytest

from model_store.store.canary import running_canary, start_canary
from model_store.store.store import Store
from tests.builders.bundles import CLASSES, build_bundle, png
from tests.builders.services import ADMIN, PAGE, TOKENS, Running, record_labeled, running

pytestmark = [pytest.mark.anyio, pytest.mark.world(tokens=TOKENS)]
RECALIBRATE = "/recalibrate/tiny"


async def labeled(server: Running, **options: Any) -> list[bytes]:
    recorder = server.service.recorder
    assert recorder is not None
    (watched_version_id,) = server.service.models.find("tiny").watched_version_ids
    return await asyncio.to_thread(record_labeled, recorder, watched_version_id, CLASSES, **options)


async def sites(server: Running) -> None:
    """Calibrated answers of site A, overconfident ones of site B, in turns."""
    for turn in range(16):
        site, sharpness = (("A", 1.0), ("B", 4.0))[turn % 2]
        tags = json.dumps({"site": site})
        first = 100 * turn
        await labeled(server, count=100, sharpness=sharpness, first=first, tags=tags, seed=turn)


async def preview(server: Running, query: str = "") -> str:
    return await server.page(f"{RECALIBRATE}?preview=yes{query}")


def form(page: str) -> dict[str, str]:
    """The hidden fields of the form that publishes."""
    hidden = r'<input type="hidden" name="(\w+)" value="([^"]*)">'
    return dict(re.findall(hidden, page.split("<h2>Use it</h2>")[1].split("</form>")[0]))


async def publish(server: Running, fields: dict[str, str], headers: dict[str, str] = ADMIN) -> Any:
    form = {"why": "too <sure>", "then": "canary"} | fields
    return await server.client.post(RECALIBRATE, data=form, headers=headers)


async def test_what_was_previewed_is_published_though_labels_keep_coming(
    server: Running, tiny_store: Store
) -> None:
    await labeled(server)
    page = await preview(server)
    assert "240 labels of version 1" in page
    assert tiny_store.versions("tiny") == [1]
    await labeled(server, count=100, sharpness=1.0, first=400)
    done = await publish(server, form(page))
    assert done.status_code == 303
    assert done.headers["location"] == "/versions/tiny?done=yes"
    card = tiny_store.read("tiny", 2).card
    assert f"-&gt; {card.calibration.temperature:.3f})" in page
    assert card.calibration.reference_split.endswith("of 400 labeled answers of version 1")
    assert tiny_store.production("tiny") == 1
    canary = running_canary(tiny_store, "tiny")
    assert canary is not None
    assert (canary.version, canary.share) == (2, 0.1)
    versions = await server.page(done.headers["location"])
    assert 'role="status"' in versions
    assert "tried beside production" in versions
    assert "<b>eve</b> published version 2: “too &lt;sure&gt;”" in versions
    history = await server.client.get("/models/tiny/report/history", headers=ADMIN)
    sentence = history.json()["events"][-1]["sentence"]
    assert "Version 2 was published by eve" in sentence
    assert "Why: too <sure>." in sentence
    promised = re.findall(r"\(<dfn[^>]+>ECE</dfn>\) ([\d.]+ %) → ([\d.]+ %)", page)
    assert promised == re.findall(r"the ECE is ([\d.]+ %) before and ([\d.]+ %) after", sentence)


async def test_a_remedy_goes_into_production_at_once_but_never_beside_another_trial(
    server: Running, tiny_store: Store
) -> None:
    await labeled(server)
    fields = form(await preview(server))
    for then in ("", "retire"):
        assert (await publish(server, fields | {"then": then})).status_code == 422
    tiny_store.publish("tiny", build_bundle)
    start_canary(tiny_store, "tiny", 2, mode="share", share=0.5, by="eve", why="x")
    page = await preview(server)
    assert 'value="canary"' not in page
    assert (await publish(server, form(page))).status_code == 409
    assert tiny_store.versions("tiny") == [1, 2]
    done = await publish(server, form(page) | {"then": "promote"})
    assert (done.status_code, tiny_store.production("tiny")) == (303, 3)


async def test_the_outcome_names_whom_the_remedy_mends_and_whom_it_harms(server: Running) -> None:
    await sites(server)
    everybody = await preview(server)
    assert "; site A gets worse" in everybody
    alone = await preview(server, "&subgroup=site%3DB")
    assert '<h2 class="word">Mends site B</h2>' in alone
    described = re.findall(r'aria-label="(Confidence minus accuracy before and after[^"]*)"', alone)
    assert len(described) == 2  # for wide and for narrow pages
    assert re.match(r".*? after\. site B: .*, mended", described[0])
    assert "gets worse beyond chance" in alone


async def test_a_second_click_publishes_nothing(server: Running, tiny_store: Store) -> None:
    await labeled(server)
    fields = form(await preview(server))
    both = await asyncio.gather(publish(server, fields), publish(server, fields))
    assert sorted(each.status_code for each in both) == [303, 409]
    assert tiny_store.versions("tiny") == [1, 2]


async def test_a_corrected_label_is_another_fit(server: Running, tiny_store: Store) -> None:
    known = [str(UUID(bytes=each)) for each in await labeled(server)]
    fields = form(await preview(server))
    corrected = [{"prediction_id": each, "label": CLASSES[0]} for each in known[:40]]
    assert (await server.client.post("/feedback", json=corrected, headers=ADMIN)).status_code == 200
    refused = await publish(server, fields)
    assert refused.status_code == 409
    assert tiny_store.versions("tiny") == [1]
    assert (await publish(server, form(refused.text))).status_code == 303  # the preview of now


async def test_another_version_in_production_or_in_the_store_stops_it(
    server: Running, tiny_store: Store
) -> None:
    await labeled(server)
    fields = form(await preview(server))
    tiny_store.publish("tiny", build_bundle)
    assert (await publish(server, fields)).status_code == 409
    tiny_store.promote("tiny", 2)
    assert (await publish(server, fields | {"next": "3"})).status_code == 409
    assert tiny_store.versions("tiny") == [1, 2]


async def test_a_form_that_was_changed_publishes_nothing(
    server: Running, tiny_store: Store
) -> None:
    await labeled(server, count=200)
    fields = form(await preview(server))
    for name, value in (
        *(("seen", "0" * 32), ("seen", ""), ("until", "5"), ("min_labels", "4000")),
        *(("last", "150"), ("next", "1"), ("next", "9"), ("production", "")),
    ):
        assert (await publish(server, fields | {name: value})).status_code == 409, (name, value)
    for name in ("version", "until", "next"):
        for value in ("", "x", "-1", "9" * 30, "1; DROP"):
            assert (await publish(server, fields | {name: value})).status_code == 422, (name, value)
    assert tiny_store.versions("tiny") == [1]
    assert (await publish(server, fields)).status_code == 303


async def test_refusals_offer_no_form(server: Running) -> None:
    for query in ("", "&min_labels=5"):
        assert "Use it" not in await preview(server, query)
    await labeled(server, sharpness=1.0)  # as served is best
    for query in ("", "&min_labels=5000"):
        assert "Use it" not in await preview(server, query)
    for query, status in (
        *(("min_labels=999999999999", 422), ("last=999999999999", 422), ("last=x", 422)),
        ("preview=yes&version=7", 404),
    ):
        odd = await server.client.get(f"{RECALIBRATE}?{query}", headers=ADMIN)
        assert odd.status_code == status, query
    assert (await server.client.get("/recalibrate/none", headers=ADMIN)).status_code == 404


async def test_labels_that_may_be_chosen_are_shown_but_not_published(
    server: Running, tiny_store: Store
) -> None:
    await labeled(server)
    with server.service.recorder._ledger.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO prediction (prediction_id, watched_version_id, predicted, confidence, "
            "probabilities, served_at_ns, audit) SELECT randomblob(16), watched_version_id, "
            "predicted, confidence, probabilities, served_at_ns, audit FROM prediction"
        )
    page = await preview(server)
    assert "50.0 % of the answers have one" in page
    assert 'name="chosen_labels" value="yes" required' in page.split("<h2>Use it</h2>")[1]
    fields = form(page)
    assert (await publish(server, fields)).status_code == 409
    assert tiny_store.versions("tiny") == [1]
    assert (await publish(server, fields | {"chosen_labels": "yes"})).status_code == 303


async def test_a_server_that_keeps_no_labels_says_so(tiny_store: Store, tmp_path: Path) -> None:
    async with running(tiny_store, tmp_path, ledger="off") as server:
        assert "keeps no labels" in await server.page(f"{RECALIBRATE}?preview=yes", PAGE)


async def test_a_remedy_that_harms_a_site_needs_its_own_box(
    server: Running, tiny_store: Store
) -> None:
    await sites(server)
    page = await preview(server)
    assert "accept_harm" in page
    assert "it makes site A worse" in page.split("<h2>Use it</h2>")[1]
    fields = form(page)
    refused = await publish(server, fields)
    assert (refused.status_code, tiny_store.versions("tiny")) == (409, [1])
    refused = await publish(server, fields, ADMIN | {"accept": "application/json"})
    assert (refused.status_code, refused.json()["error"]) == (409, "harms_subgroup")
    done = await publish(server, fields | {"accept_harm": "yes"})
    assert (done.status_code, tiny_store.versions("tiny")) == (303, [1, 2])


async def test_a_site_alone_is_recalibrated_on_the_page_and_answers_by_its_calibrator(
    server: Running, tiny_store: Store
) -> None:
    await sites(server)
    page = await preview(server, "&subgroup=site%3DB")
    assert "accept_harm" not in page
    done = await publish(server, form(page))
    assert done.status_code == 303
    assert tiny_store.read("tiny", 1).onnx == tiny_store.read("tiny", 2).onnx
    tiny_store.promote("tiny", 2)
    await asyncio.to_thread(server.service.watcher.scan)
    token = {"authorization": ADMIN["authorization"]}
    before, after = [
        (
            await server.predict(
                png(1), f"/predictions/tiny/{version}", x_candor_tags="site=B", **token
            )
        ).json()
        for version in (1, 2)
    ]
    assert after["calibrator"] == "site=B"
    assert after["confidence"] < before["confidence"]
    other = (await server.predict(png(1), x_candor_tags="site=A", **token)).json()
    assert other["version"] == 2
    assert "calibrator" not in other
    assert other["probabilities"] == before["probabilities"]


async def test_the_report_leads_to_the_remedy_for_the_site_that_is_wrong(server: Running) -> None:
    await sites(server)
    report = await server.page("/models/tiny/report/page")
    (query,) = re.findall(rf'href="{RECALIBRATE}\?([^"]*subgroup[^"]*)"', report)
    given = parse_qs(unescape(query))
    assert (given["subgroup"], given["preview"], given["version"]) == (["site=B"], ["yes"], ["1"])
    page = await server.page(f"{RECALIBRATE}?{unescape(query)}")
    assert "with site=B" in page


@pytest.mark.parametrize("subgroup", ["site", "site=B,device=X"])
async def test_what_is_no_subgroup_is_refused(server: Running, subgroup: str) -> None:
    where = f"{RECALIBRATE}?preview=yes&subgroup={subgroup}"
    assert (await server.client.get(where, headers=ADMIN)).status_code == 422
