"""Addresses that nobody meant: each gets a page that says what was wrong."""

import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
from prometheus_client import CollectorRegistry

from console.monitor import open_monitor
from console.monitor_server import DECLARED, build, guarded
from hosting.settings import Settings
from model_store.store.store import Store
from monitoring.http.endpoint import Endpoint
from serving.process.server import ENDPOINTS
from tests.builders.bundles import png
from tests.builders.postgres import Cluster
from tests.builders.services import running

pytestmark = pytest.mark.anyio
PAGE = {"accept": "text/html"}
MARKUP = "<script>alert(1)</script>"
ODD = ("", "x", "-1", "1.5", "9" * 30, "1e3", "٣", MARKUP, "\0", "\ud800", "a" * 5_000)
MODELS = ("nowhere", MARKUP, "..", "a" * 5_000, "\0", "%ff", "*", "'; drop table prediction; --")
ANY_WORDS = {"next", "back", "status", "q"}  # where to go on, a label that was given, a search
EMPTY_IS_LEFT_OUT = {  # forms send every field
    "/recalibrate/{model}",
    *(f"/models/{{model}}/answers{file}" for file in ("", "/page", "/answers.csv")),
}
# The form above the charts sends a date that was cleared; an empty flag is not set.
MAY_BE_EMPTY = {"since", "until", "done", "images"}


Pages = tuple[httpx.AsyncClient, list[Endpoint]]


@pytest.fixture(params=["serve", "monitor"])
async def pages(
    request: pytest.FixtureRequest, tiny_store: Store, tmp_path: Path
) -> AsyncIterator[Pages]:
    """A client of a process whose ledger knows `tiny`, and the pages and reports of the process."""
    async with running(tiny_store, tmp_path) as server:
        assert (await server.predict(png())).status_code == 200
        if request.param == "serve":
            yield server.client, exact(ENDPOINTS)
            return
    settings = Settings(store=tiny_store.root, ledger=f"sqlite:///{tmp_path / 'ledger.db'}")
    with open_monitor(settings, CollectorRegistry()) as monitor:
        transport = httpx.ASGITransport(guarded(build(monitor, tiny_store), settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://candor") as client:
            yield client, exact(DECLARED)


def exact(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    return [
        each
        for each in endpoints
        if each.is_exact and each.method == "GET" and "{prediction_id}" not in each.path
    ]


def address(endpoint: Endpoint, *, model: str = "tiny") -> str:
    return endpoint.path.replace("{model}", quoted(model))


def quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))


def require_refusal(answer: httpx.Response, *, says: str = "") -> None:
    """An answer must be a page with a 4xx, a sentence, and no markup of others."""
    where = str(answer.request.url)[:200]
    assert 400 <= answer.status_code < 500, (answer.status_code, where)
    assert answer.headers["content-type"].startswith("text/html"), where
    sentence = re.search(r'<p class="sentence"[^>]*>(.+?)</p>', answer.text, re.DOTALL)
    assert sentence, where
    assert says in sentence[1], sentence[1]
    assert len(sentence[1]) < 1_000, where
    assert "<script>alert" not in answer.text
    assert "Traceback" not in answer.text


async def test_every_page_refuses_what_it_does_not_know_what_is_twice_and_garbage(
    pages: Pages,
) -> None:
    client, declared = pages
    others = {"first": "second=1&", "second": "first=1&"}
    asked = 0
    # What reads a parameter is the same on every page, and for a monitor.
    is_server = len(declared) == len(exact(ENDPOINTS))
    tried = set[str]() if is_server else {name for page in declared for name in page.known}
    for endpoint in declared:
        for name in ("compare", MARKUP, "\0"):
            answer = await client.get(f"{address(endpoint)}?{quoted(name)}=9", headers=PAGE)
            require_refusal(answer, says="does not know the parameter")
        for name in endpoint.known:
            twice = f"{address(endpoint)}?{name}=1&{name}=2"
            require_refusal(await client.get(twice, headers=PAGE), says="2 times")
            if name in ANY_WORDS:
                continue
            may_be_empty = endpoint.path in EMPTY_IS_LEFT_OUT or name in MAY_BE_EMPTY
            values = ODD[:3] if name in tried else ODD
            tried.add(name)
            for odd in values[may_be_empty:]:
                query = f"{others.get(name, '')}{name}={quoted(odd)}"
                require_refusal(await client.get(f"{address(endpoint)}?{query}", headers=PAGE))
                asked += 1
    assert asked > 50


async def test_a_version_that_is_not_there_is_named(pages: Pages) -> None:
    client, declared = pages
    for endpoint in declared:
        for query in ("version=9", "first=1&second=9", "first=9&second=1", "first=1", "second=1"):
            if {each for each, _ in parse_qsl(query)} <= {*endpoint.known}:
                answer = await client.get(f"{address(endpoint)}?{query}", headers=PAGE)
                require_refusal(answer, says="9" if "9" in query else "both")
                assert answer.status_code == (404 if "9" in query else 422)


async def test_a_model_that_is_not_there_has_no_page(pages: Pages) -> None:
    client, declared = pages
    for endpoint in declared:
        if "{model}" in endpoint.path:
            for model in MODELS:
                answer = await client.get(address(endpoint, model=model), headers=PAGE)
                require_refusal(answer)
                assert answer.status_code == 404, (endpoint.path, model[:50])


async def test_programs_may_send_parameters_of_their_own(pages: Pages) -> None:
    client, _ = pages
    for path in ("/metrics", "/readyz", "/healthz", "/openapi.json"):
        assert (await client.get(f"{path}?name[]=a&name[]=b")).status_code in (200, 503), path


async def test_programs_get_the_refusal_as_json(pages: Pages) -> None:
    client, _ = pages
    report = "/models/tiny/report"
    for path in ("/reports", report, f"{report}/slices", f"{report}/history"):
        answer = await client.get(f"{path}?verison=2")
        assert (answer.status_code, answer.json()["error"]) == (422, "invalid_query"), path
        assert "does not know the parameter 'verison'" in answer.json()["detail"]
    for number in ("0", "9" * 21, "1e3"):
        answer = await client.get(f"/models/tiny/report?version={number}")
        assert "must be a whole number from 1 to 999,999,999; got" in answer.json()["detail"]


async def test_a_label_an_answer_or_an_acknowledgment_with_a_misspelled_parameter_is_not_taken(
    pages: Pages,
) -> None:
    client, _ = pages
    known = {"model": "tiny", "request_id": "a", "label": "benign"}
    for path, body in (
        ("/feedback?source=biopsy", known),
        ("/predictions-log?modle=tiny", known),
        ("/models-log?version=2", {"model": "retina", "classes": ["a", "b"]}),
        ("/models/tiny/report/acknowledge?verison=1", {"note": "known"}),
        ("/models/tiny/report/reset?version=1&version=2", {"note": "known"}),
    ):
        answer = await client.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]) == (422, "invalid_query"), path
    assert [each["model"] for each in (await client.get("/reports")).json()["models"]] == ["tiny"]
    kinds = {
        each["kind"] for each in (await client.get("/models/tiny/report/history")).json()["events"]
    }
    assert kinds.isdisjoint({"acknowledged", "reset"})


FIELDS = {
    "/sign-in": "token",
    "/sign-out": "",
    "/label/tiny": "label",
    "/models/tiny/answers/page": "back",
    "/versions/tiny": "why",
    "/recalibrate/tiny": "seen",
    "/models/tiny/report/page": "note",
    "/try/tiny": "explain",
}


async def test_a_form_refuses_strays_and_repetitions_in_its_address_and_fields(
    pages: Pages,
) -> None:
    client, declared = pages
    is_server = "/try/{model}" in {each.path for each in declared}
    for path, name in FIELDS.items():
        if path == "/try/tiny" and not is_server:
            continue
        fields = [(stray, "9") for stray in ("compare", MARKUP)]
        sent = [(f"{path}?compare=9", [("why", "y")], "does not know the parameter")]
        sent += [(path, [field], "does not know the field") for field in fields]
        sent += [(path, [(name, "a"), (name, "b")], "give it once.")] if name else []
        for where, form, says in sent:
            if path == "/try/tiny":
                files = [(field, (None, value)) for field, value in form]
                answer = await client.post(where, files=files, headers=PAGE)
            else:
                kind = {"content-type": "application/x-www-form-urlencoded"}
                answer = await client.post(where, content=urlencode(form), headers=PAGE | kind)
            require_refusal(answer, says=says)
            assert "set-cookie" not in answer.headers
    answer = await client.post("/sign-in?next=/&next=/", headers=PAGE)
    require_refusal(answer, says="2 times")


async def test_a_name_that_postgresql_cannot_hold_is_a_model_that_is_not_there(
    postgres: Cluster, tiny_store: Store
) -> None:
    settings = Settings(store=tiny_store.root, ledger=postgres.make_database())
    with open_monitor(settings, CollectorRegistry()) as monitor:
        transport = httpx.ASGITransport(build(monitor, tiny_store))
        async with httpx.AsyncClient(transport=transport, base_url="http://candor") as client:
            for path in ("/models/a%00b/report/page", "/label/a%00b"):
                answer = await client.get(path, headers=PAGE)
                require_refusal(answer)
                assert answer.status_code == 404
