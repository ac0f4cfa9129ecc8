"""The API's description is complete: every route that is no page is in it, everything in it is a
route, and answers are as it says.

What needs no application is in tests/contract/test_routes.py.
"""

import asyncio
import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import msgspec
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from console.monitor import open_monitor
from console.monitor_server import DECLARED, build, guarded
from hosting.openapi import document
from hosting.settings import Settings
from model_store.store.store import Store
from monitoring.http.endpoint import PAGES
from serving.deployment.loaded_models import LoadedModels
from serving.http.bodies import ImageRefused, Prediction
from serving.process.server import ENDPOINTS, Service
from tests.builders.bundles import png
from tests.builders.services import Running, running

pytestmark = [pytest.mark.anyio, pytest.mark.world(audit_share=0.5)]


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


async def test_a_preflight_of_the_monitor_needs_no_token_and_allows_a_token() -> None:
    tokens = SecretStr("a-token-for-labels feedback")
    app = guarded(Starlette(), Settings(tokens=tokens, cors_origins=("https://a.b",)))
    asked = {"origin": "https://a.b", "access-control-request-method": "POST"}
    asked["access-control-request-headers"] = "authorization, content-type, x-request-id"
    async with asking(app) as client:
        assert (await client.options("/feedback", headers=asked)).status_code == 200


def test_the_document_and_the_page_are_served(rare: Starlette) -> None:
    client = TestClient(rare)
    served = client.get("/openapi.json").json()
    assert served == document(ENDPOINTS, version=served["info"]["version"])
    page = client.get("/docs").text
    for path in served["paths"]:
        assert f"<code>{path}</code>" in page
    assert page.count("src=") == 3  # the script of all pages and its own


LOGGED = {"model": "retina", "request_id": "eye-1", "probabilities": [0.2, 0.8], "label": "ill"}


class Described:
    """A client that holds every answer to the document, and remembers what was asked."""

    def __init__(self, client: httpx.AsyncClient, document: dict[str, Any]) -> None:
        self._client, self._document = client, document
        self.asked: set[tuple[str, str]] = set()

    async def ask(
        self,
        method: str,
        template: str,
        *,
        model: str = "tiny",
        query: str = "",
        **more: Any,
    ) -> Any:
        """The answer's JSON, or its text."""
        path = template.replace("{model}", model).replace("{version}", "1")
        answer = await self._client.request(method, path + query, **more)
        self.asked.add((method, template))
        described = self._document["paths"][template][method.lower()]["responses"]
        assert str(answer.status_code) in described, (
            method,
            path,
            answer.status_code,
            answer.text[:300],
        )
        media = answer.headers["content-type"].partition(";")[0]
        content = described[str(answer.status_code)]["content"]
        assert media in content, (method, path, media)
        if media != "application/json":
            return answer.text
        schema = content[media]["schema"] | {"components": self._document["components"]}
        jsonschema_rs.validator_for(schema).validate(answer.json())
        return answer.json()


@pytest.fixture
async def api(server: Running) -> Described:
    return Described(server.client, (await server.client.get("/openapi.json")).json())


async def test_every_operation_answers_as_described(api: Described) -> None:
    image = base64.b64encode(png()).decode()
    answer = await api.ask(
        "POST", "/predictions/{model}", content=png(), headers={"x-request-id": "scan-1"}
    )
    await api.ask("POST", "/predictions/{model}", query="?explain=occlusion", content=png())
    await api.ask("POST", "/predictions/{model}", json=[image, {"image": "none"}, 3])
    await api.ask(
        "POST",
        "/predictions/{model}",
        files=[("file", ("a.png", png())), ("file", ("b.png", b"none"))],
    )
    ndjson = {"content-type": "application/x-ndjson"}
    await api.ask("POST", "/predictions/{model}", content=f'"{image}"\n'.encode(), headers=ndjson)
    await api.ask("POST", "/predictions/{model}/{version}", content=png())
    label = {"prediction_id": answer["prediction_id"], "label": answer["predicted"]}
    await api.ask("POST", "/feedback", json=[label, {"label": 3}])
    await api.ask("POST", "/feedback", json=label)
    await api.ask(
        "POST", "/feedback", content=b"label\nnormal\n", headers={"content-type": "text/csv"}
    )
    await api.ask("POST", "/models-log", json={"model": "retina", "classes": ["healthy", "ill"]})
    await api.ask("POST", "/predictions-log", json=LOGGED)
    await api.ask("POST", "/predictions-log", json=[LOGGED, {"model": 3}])
    for model in ("tiny", "retina"):
        for path in ("", "/slices", "/history"):
            await api.ask("GET", f"/models/{{model}}/report{path}", model=model)
    await api.ask("POST", "/models/{model}/report/sources", json={"policies": {"test": "ignore"}})
    await api.ask("POST", "/models/{model}/report/acknowledge", json={"note": "looked at"})
    await api.ask("POST", "/models/{model}/report/reset")
    await api.ask("GET", "/models/{model}/{version}")
    for path in ("", "/ready"):
        await api.ask("GET", f"/v2/models/{{model}}{path}")
        await api.ask("GET", f"/v2/models/{{model}}/versions/{{version}}{path}")
    infer = {
        "id": "a",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [image]}],
    }
    await api.ask("POST", "/v2/models/{model}/infer", json=infer)
    await api.ask("POST", "/v2/models/{model}/versions/{version}/infer", json=infer)
    for path in (
        path for path, operations in api._document["paths"].items() if "get" in operations
    ):
        if ("GET", path) not in api.asked:
            await api.ask("GET", path)
    described = {
        (name.upper(), path) for path, each in api._document["paths"].items() for name in each
    }
    assert api.asked == described


async def test_refusals_are_as_described(api: Described) -> None:
    await api.ask("POST", "/predictions/{model}", model="none", content=b"x")
    await api.ask("POST", "/predictions/{model}", content=b"no image")
    await api.ask("POST", "/feedback", json=[{"label": 3}, {}])
    await api.ask("POST", "/feedback", content=b"{")
    await api.ask("POST", "/predictions-log", json=[{"model": "none"}])
    await api.ask("POST", "/models-log", json={"model": "a b"})
    await api.ask("GET", "/models/{model}/report", model="none")
    await api.ask("GET", "/models/{model}/report", query="?window=week")
    await api.ask("POST", "/models/{model}/report/reset", json={"note": 3})
    await api.ask("GET", "/models/{model}/report/history", query="?verison=2")
    await api.ask("GET", "/v2/models/{model}", model="none")
    await api.ask("POST", "/v2/models/{model}/infer", json={"inputs": 3})


async def test_what_is_not_ready_is_as_described(tmp_path: Path) -> None:
    async with running(Store(tmp_path / "empty"), tmp_path) as server:
        api = Described(server.client, (await server.client.get("/openapi.json")).json())
        for path in ("/readyz", "/ping", "/v2/health/ready", "/models"):
            await api.ask("GET", path)


async def test_the_monitor_answers_as_described(tmp_path: Path) -> None:
    with open_monitor(
        Settings(ledger=f"sqlite:///{tmp_path / 'ledger.db'}"), CollectorRegistry()
    ) as monitor:
        transport = httpx.ASGITransport(build(monitor, Store(tmp_path / "none")))
        async with httpx.AsyncClient(transport=transport, base_url="http://candor") as client:
            api = Described(client, (await client.get("/openapi.json")).json())
            for path, operations in api._document["paths"].items():
                if "get" in operations:
                    await api.ask("GET", path)
            await api.ask(
                "POST", "/feedback", json={"model": "none", "request_id": "a", "label": "b"}
            )


async def test_the_bytes_of_an_answer_are_of_its_type(server: Running) -> None:
    """The hot route writes its answers by hand: what it writes is decoded strictly, and no field is
    left over.
    """
    files = [("file", ("a.png", png())), ("file", ("b.png", b"none"))]
    one, refused = (await server.client.post("/predictions/tiny", files=files)).json()
    explained = (
        await server.client.post("/predictions/tiny?explain=occlusion", content=png())
    ).content
    for answer in (explained, (await server.predict(png())).content, msgspec.json.encode(one)):
        read = msgspec.json.decode(answer, type=Prediction)
        assert msgspec.json.decode(msgspec.json.encode(read)) == msgspec.json.decode(answer)
    assert msgspec.to_builtins(msgspec.convert(refused, ImageRefused)) == refused
