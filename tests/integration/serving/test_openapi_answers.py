"""Every operation answers as the document says: a real request to each, and refusals, held to the
schemas.
"""

import base64
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from console.monitor import open_monitor
from console.monitor_server import build
from hosting.settings import Settings
from model_store.store.store import Store
from serving.http.bodies import ImageRefused, Prediction
from tests.builders.bundles import png
from tests.builders.services import Running, running

pytestmark = pytest.mark.anyio
SETTINGS = {"audit_share": 0.5}
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
