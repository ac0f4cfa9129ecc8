"""The API's description is complete: every route is in it, and everything in it is a route."""

import asyncio
import re
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
from starlette.types import Receive, Scope, Send

from model_store.store import Store
from serving.deployment.loaded_models import LoadedModels
from serving.error_table import PREDICTION_ERRORS
from serving.openapi.document import document
from serving.openapi.operations import OPERATIONS
from serving.process.monitor import open_monitor
from serving.process.monitor_server import build, guarded
from serving.process.server import Service
from serving.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "http-api.md"


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


def test_every_route_is_described_and_everything_described_is_a_route(rare: Starlette) -> None:
    mounted = {
        (method, route.path)
        for route in rare.routes
        if isinstance(route, Route) and route.include_in_schema
        for method in (route.methods or set()) - {"HEAD"}
    }
    hot = {("POST", "/predictions/{model}"), ("POST", "/predictions/{model}/{version}")}
    assert set(OPERATIONS) == mounted | hot


def test_the_monitor_alone_describes_exactly_its_routes(tmp_path: Path) -> None:
    with open_monitor(Settings(ledger=f"sqlite:///{tmp_path / 'ledger.db'}"), CollectorRegistry()) as monitor:
        app = build(monitor)
        client = TestClient(app)
        described = client.get("/openapi.json").json()["paths"]
        assert {route.path for route in app.routes if isinstance(route, Route)} == set(described)
        assert "/feedback" in described
        assert "/predictions/{model}" not in described
        assert client.get("/readyz").json()["status"] == "ready"
        assert client.get("/nowhere").json()["error"] == "unknown_path"


@pytest.mark.anyio
async def test_the_monitor_alone_has_the_access_control() -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("in")(scope, receive, send)

    app = guarded(inner, Settings(tokens=SecretStr("a-token-for-labels feedback")))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://candor") as client:
        assert (await client.post("/feedback")).status_code == 401
        allowed = {"authorization": "Bearer a-token-for-labels"}
        assert (await client.post("/feedback", headers=allowed)).text == "in"
        refused = await client.get("/metrics", headers=allowed)
        assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
        foreign = await client.post("/feedback", headers=allowed | {"origin": "https://elsewhere.example"})
        assert (foreign.status_code, foreign.json()["error"]) == (403, "cross_origin")


def test_every_route_stands_in_the_api_page() -> None:
    text = PAGE.read_text()
    for _, path in OPERATIONS:
        known = path if not path.startswith("/v2/") else "/v2/..."
        short = re.sub(r"(?<=\{model\})/\{version\}$", "[/{version}]", known)
        assert short in text, path


def test_every_status_that_an_error_has_is_described_where_it_can_come() -> None:
    described = set(OPERATIONS["POST", "/predictions/{model}"].refuses) | {401, 403}
    assert described == {status for status, _ in PREDICTION_ERRORS.values()}


def test_the_document_and_the_page_are_served(rare: Starlette) -> None:
    client = TestClient(rare)
    served = client.get("/openapi.json").json()
    assert served == document(served["info"]["version"])
    page = client.get("/docs").text
    for _, path in OPERATIONS:
        assert f"<code>{path}</code>" in page
    assert "src=" not in page
