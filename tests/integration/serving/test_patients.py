"""The patient of an image, by every way in which an answer is asked for: one hash in the ledger."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from open_inference.grpc import protocol
from sqlalchemy import text

from model_store.store.store import Store
from monitoring.ledger.database import Ledger
from monitoring.ledger.patient_key import open_patient_key
from serving.client import AsyncClient
from serving.v2.rpc import read_request
from tests.builders.services import Running, refusal, running

pytestmark = pytest.mark.anyio
Png = Callable[..., bytes]
PATIENT = "MRN-0017"
HEADER = {"X-Candor-Patient": PATIENT}


@pytest.fixture
async def server(tiny_store: Store, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tiny_store, tmp_path) as started:
        yield started


def recorded(folder: Path) -> list[int | None]:
    with Ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger, ledger.read() as connection:
        wanted = "select patient from prediction order by prediction_id"
        return list(connection.scalars(text(wanted)))


async def test_every_way_leads_to_the_same_hash(server: Running, tmp_path: Path, png: Png) -> None:
    image, client = png(), server.client
    encoded = base64.b64encode(image).decode()
    await server.predict(image, **HEADER)
    await client.post(
        "/predictions/tiny", files={"file": ("a.png", image)}, data={"patient": PATIENT}
    )
    items = [encoded, {"image": encoded, "patient": PATIENT}]
    await client.post("/predictions/tiny", json=items, headers=HEADER)
    lines = json.dumps({"image": encoded, "patient": PATIENT})
    ndjson = {"Content-Type": "application/x-ndjson"}
    await client.post("/predictions/tiny", content=lines, headers=ndjson)
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [encoded]}
    asked = {"inputs": [tensor], "parameters": {"patient": PATIENT}}
    assert (await client.post("/v2/models/tiny/infer", json=asked)).status_code == 200
    asked = {"inputs": [tensor]}
    assert (
        await client.post("/v2/models/tiny/infer", json=asked, headers=HEADER)
    ).status_code == 200
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        assert recorded(tmp_path) == [open_patient_key(ledger).hash(PATIENT)] * 7
    await server.predict(image)
    assert recorded(tmp_path)[-1] is None
    assert not any(PATIENT.encode() in file.read_bytes() for file in tmp_path.glob("ledger.db*"))


async def test_the_client_sends_it(server: Running, tmp_path: Path, png: Png) -> None:
    transport = server.client._transport
    async with AsyncClient("http://candor", transport=transport) as client:
        await client.predict(png(), model="tiny", patient=PATIENT)
    assert recorded(tmp_path)[0] is not None


async def test_what_cannot_be_an_identifier_is_refused(server: Running, png: Png) -> None:
    image = png()
    for headers in ({"X-Candor-Patient": "x" * 129}, {"X-Candor-Tags": "patient_id=17"}):
        assert refusal(await server.predict(image, **headers)) == (400, "malformed_request")
    item = {"image": base64.b64encode(image).decode(), "tags": {"mrn": "17"}}
    answer = await server.client.post("/predictions/tiny", json=[item])
    assert answer.json()[0]["error"] == "malformed_request"


def test_grpc_takes_it_as_a_parameter() -> None:
    request = protocol.ModelInferRequest(model_name="tiny")
    request.parameters["patient"].string_param = PATIENT
    assert read_request(request, limit=1).patient == PATIENT
    request.parameters["patient"].int64_param = 17
    assert read_request(request, limit=1).patient == "17"
