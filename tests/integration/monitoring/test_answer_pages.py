"""The page of answers, its file and its pictures: what leads where, and who may see it."""

import base64
import csv
import io
import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from console.answer_links import ImageLinks
from console.answers import SHOWN
from monitoring.ledger.pictures import Picture, keep_pictures
from tests.builders.answers import label, make_row, prediction_id
from tests.builders.monitored import Clock, MonitoredModel, page_client_of

pytestmark = pytest.mark.anyio
PAGE = "/models/pneumonia/answers/page"
LINK = "https://pacs.example/viewer?accession={request_id}"
PNG = b"\x89PNG not really"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    with MonitoredModel(tmp_path / "ledger.db", Clock()) as monitored:
        for number in range(60):
            row = make_row(
                number, confidence=0.9, request_id=f"scan {number}&x" if number else None
            )
            monitored.serve(
                row._replace(tags='{"from": "x", "site": "<A>"}' if number < 30 else None)
            )
        first, second = label(58, "normal", source="report"), label(58, "pneumonia")
        monitored.label(first._replace(reader="ann"), second._replace(reader="bob"))
        monitored.label(label(57, "pneumonia", source="=cmd"))
        with monitored.ledger.write() as connection:
            pictures = [Picture(prediction_id(59), PNG)]
            keep_pictures(connection, pictures, expires_at_ns=2**62, limit_bytes=2**20)
        async with page_client_of(monitored, tmp_path, links=ImageLinks(LINK)) as opened:
            yield opened


async def read(client: httpx.AsyncClient, address: str) -> str:
    answer = await client.get(address)
    assert answer.status_code == 200, answer.text
    return answer.text


def links(page: str) -> dict[str, str]:
    """The addresses of a page by their words."""
    found = re.findall(r'<a [^>]*?href="([^"]+)"[^>]*>(.*?)</a>', page)
    return {re.sub("<[^>]+>", "", words): address.replace("&amp;", "&") for address, words in found}


async def test_pages_follow_each_other_to_the_oldest_answer(client: httpx.AsyncClient) -> None:
    seen, address = [], PAGE
    while address:
        page = await read(client, address)
        seen += re.findall(r"(?:scan (\d+)&amp;x</a>)", page)
        address = links(page).get("Older", "")
    assert seen == [str(number) for number in range(59, 0, -1)]


async def test_the_most_confident_and_the_most_doubtful_come_first(tmp_path: Path) -> None:
    """The most confident wrong answers could not be had: only the newest came first."""
    with MonitoredModel(tmp_path / "ledger.db", Clock()) as monitored:
        for number in range(40):
            row = make_row(
                number, confidence=0.5 + number * 7 % 40 / 100, request_id=f"scan-{number}"
            )
            monitored.serve(row._replace(scope_p=number * 11 % 40 / 40))
        monitored.label(*(label(number, "normal") for number in range(0, 40, 2)))
        async with page_client_of(monitored, tmp_path) as client:
            first = {}
            for order in ("confidence", "doubt"):
                page = await read(client, f"{PAGE}?wrong=1&sort={order}")
                first[order] = [
                    int(each) for each in re.findall(r'class="explain">scan-(\d+),', page)
                ]
            wrong = range(0, 40, 2)
            assert first["confidence"] == sorted(wrong, key=lambda at: -(at * 7 % 40))[:SHOWN]
            assert first["doubt"] == sorted(wrong, key=lambda at: at * 11 % 40)[:SHOWN]
            for refused in (f"{PAGE}?sort=age", "/models/pneumonia/answers?sort=doubt"):
                assert (await client.get(refused)).json()["error"] == "invalid_query"


async def test_an_answer_leads_to_its_image_its_label_and_its_picture(
    client: httpx.AsyncClient,
) -> None:
    page = await read(client, PAGE)
    assert links(page)["scan 59&amp;x"] == "https://pacs.example/viewer?accession=scan%2059%26x"
    to_label = links(page)["Label scan 59&amp;x"]
    asked = await read(client, to_label)
    assert "scan%2059%26x" in asked
    assert str(UUID(bytes=prediction_id(59))) in asked
    (picture,) = set(re.findall(r'src="(/pictures/[^"]+)"', page))
    answer = await client.get(picture)
    assert (answer.headers["content-type"], answer.content) == ("image/png", PNG)
    for missing in (UUID(bytes=prediction_id(58)), "x"):
        answer = await client.get(f"/pictures/{missing}")
        assert (answer.status_code, answer.json()["error"]) == (404, "no_picture")
    oldest = await read(client, f"{PAGE}?site=%3CA%3E&tag=from%3Dx&to=2026-09-21")
    without_id = (await client.get("/models/pneumonia/answers?limit=500")).json()["answers"][-1]
    assert without_id["request_id"] is None
    assert f"/viewer?accession={without_id['prediction_id']}" not in oldest


async def test_labels_name_their_source_and_second_readings(client: httpx.AsyncClient) -> None:
    (answer,) = (await client.get("/models/pneumonia/answers?wrong=1")).json()["answers"]
    assert (answer["predicted"], answer["label"], answer["right"]) == ("pneumonia", "normal", False)
    assert [(each["reader"], each["counts_as"]) for each in answer["labels"]] == [
        ("ann", "truth"),
        ("bob", "second_reading"),
    ]
    page = await read(client, f"{PAGE}?wrong=1")
    assert "scan 58" in page
    assert "scan 57" not in page
    for words in ("report, ann", "second reading", 'aria-label="without: wrong"'):
        assert words in page


async def test_the_file_has_all_of_the_filter(client: httpx.AsyncClient) -> None:
    address = links(await read(client, f"{PAGE}?labeled=1&from=2026-01-01"))["CSV"]
    answer = await client.get(address)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["request_id"] for row in rows] == ["scan 58&x", "scan 57&x"]
    assert rows[0]["link"] == "https://pacs.example/viewer?accession=scan%2058%26x"
    assert (rows[0]["right"], rows[0]["second_reading"]) == ("False", "pneumonia")
    assert rows[1]["source"] == "'=cmd"  # what a spreadsheet would execute
    assert len(list(csv.reader(io.StringIO((await client.get(address.split("?")[0])).text)))) == 61


def case_of(number: int) -> str:
    return str(UUID(bytes=prediction_id(number)))


async def test_a_case_is_enlarged_with_its_record_and_its_neighbors(
    tmp_path: Path,
) -> None:
    with MonitoredModel(tmp_path / "ledger.db", Clock()) as monitored:
        for number in range(40):
            monitored.serve(make_row(number, request_id=f"scan-{number}"))
        monitored.label(*(label(number) for number in range(38)))
        async with page_client_of(monitored, tmp_path) as client:
            page = await read(client, f"{PAGE}?wrong=0&case={case_of(30)}")
            found = links(page)
            for words, number in (("Previous", 31), ("Next", 29)):
                assert found[words].endswith(f"wrong=0&case={case_of(number)}")
            assert found["All of these cases"].endswith(f"wrong=0#{case_of(30)}")
            assert "Of 38 such answers at 87 to 93 %" in page
            assert "38 were right" in page
            gone = await read(client, f"{PAGE}?wrong=0&case={case_of(0)}")  # on a later page
            assert "Next" not in links(gone)
            for case in ("x", case_of(99)):
                assert (await client.get(f"{PAGE}?case={case}")).status_code == 422


async def test_a_label_from_the_cases_comes_back_to_its_case_and_is_undone(
    client: httpx.AsyncClient,
) -> None:
    page = await read(client, f"{PAGE}?wrong=1")
    asked = await read(client, links(page)["Correct scan 58&amp;x"])
    sent = await client.post("/label/pneumonia", data=fields_of(asked) | {"label": "pneumonia"})
    page = await read(client, sent.headers["location"])
    assert "corrected to “pneumonia”" in page
    assert links(page)["All of these cases"].split("#")[0].endswith("wrong=1")
    undo = fields_of(page.split('role="status"')[1].split("</form>")[0])
    assert undo["label"] == "normal"
    undone = await read(
        client, (await client.post("/label/pneumonia", data=undo)).headers["location"]
    )
    assert "corrected to “normal”" in undone
    (answer,) = (await client.get("/models/pneumonia/answers?wrong=1")).json()["answers"]
    assert answer["label"] == "normal"


def fields_of(form: str) -> dict[str, str]:
    """The hidden fields of a form."""
    found = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form)
    return {name: unescape(value) for name, value in found if name not in ("keep", "drop")}


async def test_a_list_is_kept_for_a_meeting_and_leaves_as_a_table_and_a_file(
    client: httpx.AsyncClient,
) -> None:
    for number in (59, 3):
        sent = await client.post(
            PAGE, data={"keep": case_of(number), "back": "wrong=0&site=%3CA%3E"}
        )
        assert sent.headers["location"] == f"{PAGE}?wrong=0&site=%3CA%3E#{case_of(number)}"
    page = await read(client, f"{PAGE}?kept=yes")
    assert "for a meeting: 2" in page
    assert 'value="yes"' in page
    listed = csv.DictReader(io.StringIO(await read(client, links(page)["CSV"])))
    assert [row["prediction_id"] for row in listed] == [case_of(59), case_of(3)]
    data = base64.b64encode(PNG).decode()
    for query, has_picture in (("", False), ("?images=yes", True)):
        answer = await client.get(f"/models/pneumonia/answers/cases.html{query}")
        assert "attachment" in answer.headers["content-disposition"]
        assert (data in answer.text) is has_picture
        assert answer.text.count("scan ") >= 2
        assert not re.search(r'(src|href)="(?!data:)', answer.text)  # nothing is loaded
    await client.post(PAGE, data={"drop": case_of(3)})
    assert "for a meeting: 1" in await read(client, PAGE)
    for form in ({}, {"keep": "x"}):
        assert (await client.post(PAGE, data=form)).status_code == 422


async def test_empty_fields_of_the_form_ask_nothing(client: httpx.AsyncClient) -> None:
    page = await read(client, f"{PAGE}?wrong=&bin=&site=&from=&to=&predicted=&label=&labeled=")
    assert "scan 59" in page
    for query in ("patient_id=7", "wronk=1", "a b=1", "wrong=1&wrong=0", "predicted=cat"):
        answer = await client.get(f"{PAGE}?{query}")
        assert (answer.status_code, answer.json()["error"]) == (422, "invalid_query"), query
