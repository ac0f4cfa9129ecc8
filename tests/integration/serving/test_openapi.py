"""The API's description is complete: every route that is no page is in it, everything in it is a
route, and answers are as it says.

What needs no application is in tests/contract/test_routes.py.
"""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from console import monitor_server
from console.monitor import open_monitor
from console.monitor_server import DECLARED, build, guarded
from hosting.auth import NeededScopes
from hosting.openapi import document
from hosting.settings import Settings
from model_store.store.store import Store
from monitoring.http.endpoint import PAGES
from serving.deployment.loaded_models import LoadedModels
from serving.process.server import ENDPOINTS, Service

ALL = (*ENDPOINTS, *monitor_server.ENDPOINTS)


@pytest.fixture
def rare(tiny_store: Store, tmp_path: Path) -> Iterator[Starlette]:
    """The application of the rare routes of a whole service."""

    async def build() -> Service:
        return Service(chosen, registry, monitor, models)

    chosen = Settings(store=tiny_store.root, ledger=f"sqlite:///{tmp_path / 'ledger.db'}")
    registry, models = CollectorRegistry(), LoadedModels()
    with open_monitor(chosen, registry, production=models.production) as monitor:
        service = asyncio.run(build())
        assert isinstance(service.prediction_app._rest, Starlette)
        yield service.prediction_app._rest
        service.close()


def asking(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://candor")


def pages() -> set[tuple[str, str]]:
    """Method and path of all that is for people."""
    return {(each.method, each.path) for each in (*ENDPOINTS, *DECLARED) if each.tag == PAGES}


def addresses(app: Starlette) -> set[tuple[str, str]]:
    """Method and path of every route that an application shows."""
    return {
        (method, route.path)
        for route in app.routes
        if isinstance(route, Route) and route.include_in_schema
        for method in (route.methods or set()) - {"HEAD"}
    }


def described(client: TestClient) -> set[tuple[str, str]]:
    """Method and path of every operation that the document of an application has."""
    paths = client.get("/openapi.json").json()["paths"]
    return {(method.upper(), path) for path, operations in paths.items() for method in operations}


def test_every_route_is_described_and_everything_described_is_a_route(rare: Starlette) -> None:
    hot = {("POST", "/predictions/{model}"), ("POST", "/predictions/{model}/{version}")}
    assert described(TestClient(rare)) == addresses(rare) - pages() | hot
    assert {(each.method, each.path) for each in ENDPOINTS} == addresses(rare) | hot


def test_the_monitor_alone_describes_exactly_its_routes(tmp_path: Path) -> None:
    settings = Settings(ledger=f"sqlite:///{tmp_path / 'ledger.db'}")
    with open_monitor(settings, CollectorRegistry()) as monitor:
        app = build(monitor, Store(tmp_path / "none"))
        client = TestClient(app)
        assert described(client) == addresses(app) - pages()
        assert ("POST", "/feedback") in addresses(app)
        assert ("POST", "/predictions/{model}") not in addresses(app)
        assert client.get("/readyz").json()["status"] == "ready"
        assert client.get("/nowhere").json()["error"] == "unknown_path"


def test_the_monitor_finds_the_store_of_its_working_folder_without_being_told(
    tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/how-to/console.md says, and nowhere else."""
    (tmp_path / "model_store").mkdir()
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(tiny_store.root, tmp_path / "model_store" / "models")
    for folder, status in ((tmp_path, 200), (tmp_path / "elsewhere", 404)):
        monkeypatch.chdir(folder)
        settings = Settings(ledger=f"sqlite:///{folder / 'ledger.db'}")
        with open_monitor(settings, CollectorRegistry()) as monitor:
            client = TestClient(build(monitor, settings.opened_store))
            assert client.get("/versions/tiny").status_code == status


@pytest.mark.anyio
async def test_the_monitor_alone_has_the_access_control() -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("in")(scope, receive, send)

    app = guarded(inner, Settings(tokens=SecretStr("a-token-for-labels feedback")))
    async with asking(app) as client:
        assert (await client.post("/feedback")).status_code == 401
        allowed = {"authorization": "Bearer a-token-for-labels"}
        assert (await client.post("/feedback", headers=allowed)).text == "in"
        refused = await client.get("/metrics", headers=allowed)
        assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
        elsewhere = allowed | {"origin": "https://elsewhere.example"}
        foreign = await client.post("/feedback", headers=elsewhere)
        assert (foreign.status_code, foreign.json()["error"]) == (403, "cross_origin")


@pytest.mark.anyio
async def test_a_preflight_of_the_monitor_needs_no_token_and_allows_a_token() -> None:
    tokens = SecretStr("a-token-for-labels feedback")
    app = guarded(Starlette(), Settings(tokens=tokens, cors_origins=("https://a.b",)))
    asked = {"origin": "https://a.b", "access-control-request-method": "POST"}
    asked["access-control-request-headers"] = "authorization, content-type, x-request-id"
    async with asking(app) as client:
        assert (await client.options("/feedback", headers=asked)).status_code == 200


def test_the_access_control_knows_the_scopes_that_are_declared() -> None:
    for endpoint in ALL:
        path = endpoint.path.replace("{model}", "m").replace("{version}", "2")
        assert NeededScopes(ALL).find(endpoint.method, path) == endpoint.scope, endpoint.path


def test_the_document_and_the_page_are_served(rare: Starlette) -> None:
    client = TestClient(rare)
    served = client.get("/openapi.json").json()
    assert served == document(ENDPOINTS, version=served["info"]["version"])
    page = client.get("/docs").text
    for path in served["paths"]:
        assert f"<code>{path}</code>" in page
    assert page.count("src=") == 3  # the script of all pages and its own
