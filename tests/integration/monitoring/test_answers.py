"""Answers are searched, listed, shown and exported: what leads where, and who may see it."""

import base64
import csv
import io
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl
from uuid import UUID

import httpx
import numpy as np
import pytest

from calibration.bins import BIN_EDGES
from console.answer_links import ImageLinks
from model_store.tags import tags_of
from monitoring.errors import QueryInvalid
from monitoring.ledger import answer_search
from monitoring.ledger.pictures import Picture, keep_pictures
from monitoring.ledger.versions import load
from monitoring.reports.answers import list_answers
from monitoring.routes.answers import read_filter
from monitoring.routes.queries import AnswerFilter
from tests.builders.answers import (
    CLASSES,
    DAY_NS,
    NOW_NS,
    SECOND_NS,
    label,
    make_row,
    prediction_id,
)
from tests.builders.findings import findings_card
from tests.builders.monitored import BOTH_DATABASES, MonitoredModel, page_client_of

both = pytest.mark.parametrize("ledger_url", BOTH_DATABASES, indirect=True)
FIRST_DAY = NOW_NS // DAY_NS - 40
COUNT = 300
RNG = np.random.default_rng(5)
CONFIDENCE = RNG.uniform(0.5, 1.0, COUNT).astype(np.float32).astype(float)
CONFIDENCE[:5] = BIN_EDGES[-5:]
SITE = RNG.choice(["A", "B", 'C"site": "A', "ä"], COUNT)
DEVICE = RNG.choice(["1", "2", "10"], COUNT)
SAID = RNG.integers(0, 2, COUNT)
TRUE = np.where(RNG.random(COUNT) < 0.4, np.where(RNG.random(COUNT) < 0.7, SAID, 1 - SAID), -1)
DAY = FIRST_DAY + np.sort(RNG.choice([0, 1, 2, 10, 30], COUNT))


def time_ns(number: int) -> int:
    return int(DAY[number]) * DAY_NS + number * SECOND_NS


def fill(monitored: MonitoredModel) -> None:
    """Serve and label the answers; every third one has no tags."""
    for n in range(COUNT):
        row = make_row(
            n,
            confidence=CONFIDENCE[n],
            predicted=int(SAID[n]),
            request_id=f"scan-{n}",
            served_at_ns=time_ns(n),
        )
        tags = tags_of({"device": str(DEVICE[n]), "site": str(SITE[n])}) if n % 3 else None
        audit, scope_p = 0.5 if n % 7 == 0 else None, 0.01 if n % 11 == 0 else 0.5
        monitored.recorder.record(
            [row._replace(tags=tags, audit=audit, scope_p=scope_p)], lambda _: None
        )
    labeled = [n for n in range(COUNT) if TRUE[n] >= 0]
    monitored.label(*(label(n, CLASSES[TRUE[n]], at_ns=time_ns(n)) for n in labeled))


def by_hand(keep: Callable[[int], bool]) -> list[str]:
    """The request ids of the answers that are to be found, newest first."""
    return [f"scan-{number}" for number in reversed(range(COUNT)) if keep(number)]


SEARCHES: dict[str, Callable[[int], bool]] = {
    "": lambda n: True,
    "site=A": lambda n: n % 3 > 0 and SITE[n] == "A",
    "site=A,B": lambda n: n % 3 > 0 and SITE[n] in ("A", "B"),
    "site=A,a": lambda n: False,
    "site=a": lambda n: False,
    "site=A,B&others=1": lambda n: n % 3 == 0 or SITE[n] not in ("A", "B"),
    "site=A&bin=0.87-0.93&others=1": lambda n: (
        not (n % 3 and SITE[n] == "A" and BIN_EDGES[12] < CONFIDENCE[n] <= BIN_EDGES[13])
    ),
    "predicted=normal&others=1&wrong=1": lambda n: SAID[n] == 1 and TRUE[n] == 0,
    "predicted=normal,pneumonia": lambda n: True,
    "site=%C3%A4&device=1": lambda n: n % 3 > 0 and SITE[n] == "ä" and DEVICE[n] == "1",
    "ward=A": lambda n: False,
    "wrong=1": lambda n: TRUE[n] >= 0 and TRUE[n] != SAID[n],
    "wrong=0": lambda n: TRUE[n] == SAID[n],
    "labeled=0": lambda n: TRUE[n] < 0,
    "labeled=1&predicted=normal": lambda n: TRUE[n] >= 0 and SAID[n] == 0,
    "predicted=pneumonia&label=normal": lambda n: SAID[n] == 1 and TRUE[n] == 0,
    "audit=1&labeled=1": lambda n: n % 7 == 0 and TRUE[n] >= 0,
    "doubtful=1&site=B": lambda n: n % 11 == 0 and n % 3 > 0 and SITE[n] == "B",
    "bin=0.87-0.93": lambda n: BIN_EDGES[12] < CONFIDENCE[n] <= BIN_EDGES[13],
    "bin=0.93-1&wrong=1": lambda n: CONFIDENCE[n] > BIN_EDGES[13] and 0 <= TRUE[n] != SAID[n],
    "bin=0.9-0.91": lambda n: 0.9 < CONFIDENCE[n] <= 0.91,
    "bin=0-0.4": lambda n: False,
}
WITHIN: dict[str, Callable[[int], bool]] = {
    "": lambda n: True,
    f"from={np.datetime64(FIRST_DAY + 2, 'D')}": lambda n: DAY[n] >= FIRST_DAY + 2,
    f"to={np.datetime64(FIRST_DAY + 10, 'D')}": lambda n: DAY[n] <= FIRST_DAY + 10,
}


def found(monitored: MonitoredModel, query: str) -> list[str]:
    """The request ids of all pages, each of forty answers at most."""
    params = dict(parse_qsl(query))
    names: list[str] = []
    asked = read_filter(params, AnswerFilter)
    before = asked.before
    with monitored.ledger.read() as connection:
        (row,) = load(connection, [monitored.watched_version_id])
        for _ in range(COUNT):
            page = list_answers(connection, row, asked.answers, before=before, limit=40)
            names += [each.request_id or "" for each in page.answers]
            if page.before is None:
                return names
            before = UUID(page.before).bytes
    pytest.fail("the pages have no end")


@both
@pytest.mark.parametrize("searched", [answer_search.SEARCHED, 60])
def test_a_search_finds_what_a_reader_of_all_answers_finds(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch, searched: int
) -> None:
    monkeypatch.setattr(answer_search, "SEARCHED", searched)
    monkeypatch.setattr(answer_search, "_FIRST", min(searched, 20))
    fill(monitored)
    for query, keep in SEARCHES.items():
        for dates, holds in WITHIN.items():
            expected = by_hand(lambda n, keep=keep, holds=holds: keep(n) and holds(n))
            assert found(monitored, f"{query}&{dates}") == expected, (query, dates)
    for query in (
        *("wrong=2", "audit=0", "bin=0.9", "bin=0.9-0.8", "bin=-1-1", "bin=nan-1", "before=x"),
        *("from=yesterday", "from=2026-11-09&to=2026-11-08", "tag=site", "predicted=cat"),
    ):
        with pytest.raises(QueryInvalid):
            found(monitored, query)


@both
@pytest.mark.world(card=findings_card(thresholds=(0.3, 0.5, 0.5)))
def test_of_a_finding_its_threshold_says_what_was_answered(monitored: MonitoredModel) -> None:
    monitored.serve_findings(range(4), [[p, 0.9, 0.1] for p in (0.2, 0.4, 0.6, 0.8)])
    present = np.tile(np.array([[True], [False]] * 2), 3)
    monitored.label_findings(range(4), present)
    with monitored.ledger.read() as connection:
        (row,) = load(connection, monitored.watched_version_ids[:1])

        def numbers(**query: str) -> list[int]:
            page = list_answers(connection, row, read_filter(query, AnswerFilter).answers, limit=50)
            return [UUID(each.prediction_id).int & 0xFFFF for each in page.answers]

        assert numbers() == [3, 2, 1, 0]
        assert numbers(predicted="absent") == [0]
        assert numbers(predicted="present", label="absent") == [3, 1]
        assert numbers(wrong="1") == [3, 1, 0]
        assert numbers(wrong="0") == [2]
        assert numbers(bin="0.5-1") == [3, 2]


PAGE = "/models/pneumonia/answers/page"
LINK = "https://pacs.example/viewer?accession={request_id}"
PNG = b"\x89PNG not really"


def case_of(number: int) -> str:
    return str(UUID(bytes=prediction_id(number)))


@pytest.fixture
def served(monitored: MonitoredModel) -> MonitoredModel:
    """Sixty answers, of which the newest but two are labeled and the newest has a picture."""
    for n in range(60):
        row = make_row(
            n, confidence=0.5 + n * 7 % 40 / 100, request_id=f"scan {n}&x" if n else None
        )
        tags = '{"from": "x", "site": "<A>"}' if n < 30 else None
        monitored.serve(row._replace(tags=tags, scope_p=n * 11 % 40 / 40))
    first, second = label(58, "normal", source="report"), label(58, "pneumonia")
    monitored.label(first._replace(reader="ann"), second._replace(reader="bob"))
    monitored.label(label(57, "pneumonia", source="=cmd"))
    with monitored.ledger.write() as connection:
        pictures = [Picture(prediction_id(59), PNG)]
        keep_pictures(connection, pictures, expires_at_ns=2**62, limit_bytes=2**20)
    return monitored


async def read(client: httpx.AsyncClient, address: str) -> str:
    answer = await client.get(address)
    assert answer.status_code == 200, answer.text
    return answer.text


def links(page: str) -> dict[str, str]:
    """The addresses of a page by their words."""
    found = re.findall(r'<a [^>]*?href="([^"]+)"[^>]*>(.*?)</a>', page)
    return {re.sub("<[^>]+>", "", words): address.replace("&amp;", "&") for address, words in found}


@pytest.mark.anyio
async def test_pages_follow_each_other_in_the_order_that_was_asked_for(
    served: MonitoredModel, client: httpx.AsyncClient
) -> None:
    seen, address = [], PAGE
    while address:
        page = await read(client, address)
        seen += [int(each) for each in re.findall(r'class="explain">scan (\d+)&amp;x,', page)]
        address = links(page).get("Older", "")
    assert seen == [*range(59, 0, -1)]
    served.label(*(label(n, "normal") for n in range(0, 40, 2)))
    for order, of in (("confidence", lambda n: -(n * 7 % 40)), ("doubt", lambda n: n * 11 % 40)):
        page = await read(client, f"{PAGE}?wrong=1&site=<A>&sort={order}")
        first = [int(each) for each in re.findall(r'class="explain">scan (\d+)&amp;x,', page)]
        assert first == [n for n in sorted(range(0, 30, 2), key=of) if n], order
    for refused in (
        *(f"{PAGE}?sort=age", "/models/pneumonia/answers?sort=doubt"),
        *(f"{PAGE}?{it}" for it in ("patient_id=7", "wronk=1", "a b=1", "wrong=1&wrong=0")),
    ):
        answer = await client.get(refused)
        assert (answer.status_code, answer.json()["error"]) == (422, "invalid_query"), refused
    # empty fields of the form ask nothing
    page = await read(client, f"{PAGE}?wrong=&bin=&site=&from=&to=&predicted=&label=&labeled=")
    assert "scan 59" in page


@pytest.mark.anyio
async def test_an_answer_leads_to_its_image_its_label_its_picture_and_its_file(
    served: MonitoredModel, tmp_path: Path
) -> None:
    async with page_client_of(served, tmp_path, links=ImageLinks(LINK)) as client:
        page = await read(client, PAGE)
        image = "https://pacs.example/viewer?accession=scan%2059%26x"
        assert links(page)["scan 59&amp;x"] == image
        asked = await read(client, links(page)["Label scan 59&amp;x"])
        assert "scan%2059%26x" in asked
        assert case_of(59) in asked
        (picture,) = set(re.findall(r'src="(/pictures/[^"]+)"', page))
        answer = await client.get(picture)
        assert (answer.headers["content-type"], answer.content) == ("image/png", PNG)
        for missing in (case_of(58), "x"):
            answer = await client.get(f"/pictures/{missing}")
            assert (answer.status_code, answer.json()["error"]) == (404, "no_picture")
        oldest = await read(client, f"{PAGE}?site=%3CA%3E&tag=from%3Dx&to=2026-09-21")
        without_id = (await client.get(f"{PAGE[:-5]}?limit=500")).json()["answers"][-1]
        assert without_id["request_id"] is None
        assert f"/viewer?accession={without_id['prediction_id']}" not in oldest
        address = links(await read(client, f"{PAGE}?labeled=1&from=2026-01-01"))
        answer = await client.get(address["CSV"])
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        first, second = csv.DictReader(io.StringIO(answer.text))
        assert (first["request_id"], second["request_id"]) == ("scan 58&x", "scan 57&x")
        assert first["link"] == image.replace("59", "58")
        assert (first["right"], first["second_reading"]) == ("False", "pneumonia")
        assert second["source"] == "'=cmd"  # what a spreadsheet would execute
        everything = await read(client, address["CSV"].split("?")[0])
        assert len(list(csv.reader(io.StringIO(everything)))) == 61


@pytest.mark.anyio
async def test_labels_name_their_source_and_second_readings(
    served: MonitoredModel, client: httpx.AsyncClient
) -> None:
    (answer,) = (await client.get("/models/pneumonia/answers?wrong=1")).json()["answers"]
    assert (answer["predicted"], answer["label"], answer["right"]) == ("pneumonia", "normal", False)
    readings = [(each["reader"], each["counts_as"]) for each in answer["labels"]]
    assert readings == [("ann", "truth"), ("bob", "second_reading")]
    page = await read(client, f"{PAGE}?wrong=1")
    for words in ("scan 58", "report, ann", "second reading", 'aria-label="without: wrong"'):
        assert words in page
    assert "scan 57" not in page


@pytest.mark.anyio
async def test_a_case_is_enlarged_with_its_record_and_its_neighbors(
    monitored: MonitoredModel, client: httpx.AsyncClient
) -> None:
    monitored.serve(*(make_row(number, request_id=f"scan-{number}") for number in range(40)))
    monitored.label(*(label(number) for number in range(38)))
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


@pytest.mark.anyio
async def test_a_label_from_the_cases_comes_back_to_its_case_and_is_undone(
    served: MonitoredModel, client: httpx.AsyncClient
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


@pytest.mark.anyio
async def test_a_list_is_kept_for_a_meeting_and_leaves_as_a_table_and_a_file(
    served: MonitoredModel, client: httpx.AsyncClient
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
