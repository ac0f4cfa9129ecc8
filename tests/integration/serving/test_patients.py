"""The patient of an image, by every way in which an answer is asked for: one hash in the ledger."""

import asyncio
import base64
import json
from pathlib import Path

import numpy as np
import pytest

from model_store.image import patient_of
from model_store.store.store import Store
from monitoring.ledger.database import Ledger
from monitoring.ledger.patient_key import open_patient_key
from tests.builders.asgi import client_in_loop
from tests.builders.bundles import png
from tests.builders.dicoms import dicom
from tests.builders.services import Running, ledger_rows, refusal, running

pytestmark = pytest.mark.anyio
PATIENT = "MRN-0017"
HEADER = {"X-Candor-Patient": PATIENT}


def recorded(folder: Path) -> list[int | None]:
    sql = "SELECT patient FROM prediction ORDER BY prediction_id"
    return [patient for (patient,) in ledger_rows(folder, sql)]


async def test_every_way_leads_to_the_same_hash(server: Running, tmp_path: Path) -> None:
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


async def test_the_client_sends_it(server: Running, tmp_path: Path) -> None:
    client = client_in_loop(server.client._transport)
    await asyncio.to_thread(client.predict, png(), model="tiny", patient=PATIENT)
    assert recorded(tmp_path)[0] is not None


async def test_what_cannot_be_an_identifier_is_refused(server: Running) -> None:
    image = png()
    for headers in ({"X-Candor-Patient": "x" * 129}, {"X-Candor-Tags": "patient_id=17"}):
        assert refusal(await server.predict(image, **headers)) == (400, "malformed_request")
    item = {"image": base64.b64encode(image).decode(), "tags": {"mrn": "17"}}
    answer = await server.client.post("/predictions/tiny", json=[item])
    assert answer.json()[0]["error"] == "malformed_request"


async def test_dicom_files_name_their_patient_if_that_is_switched_on(
    tiny_store: Store, tmp_path: Path
) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    file = dicom(pixels, PatientID=f" {PATIENT} ")
    stack = dicom(pixels, frames=2, PatientID=PATIENT)
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1]}
    tensor["data"] = [base64.b64encode(file).decode()]
    for number, switched_on in enumerate((True, False)):
        (folder := tmp_path / str(number)).mkdir()
        async with running(tiny_store, folder, patient_from_dicom=switched_on) as server:
            client = server.client
            answers = [
                await server.predict(file),
                await client.post("/predictions/tiny?frame=all", content=stack),
                await client.post("/predictions/tiny", json=[tensor["data"][0]]),
                await client.post("/v2/models/tiny/infer", json={"inputs": [tensor]}),
            ]
            assert [answer.status_code for answer in answers] == [200] * 4
            await server.predict(file, **{"X-Candor-Patient": "another"})
            await server.predict(dicom(pixels, PatientID=""))
            await server.predict(png())
        with Ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger:
            key = open_patient_key(ledger)
        named = [key.hash(PATIENT) if switched_on else None] * 5
        assert recorded(folder) == [*named, key.hash("another"), None, None]


def test_a_file_may_name_no_patient() -> None:
    pixels = np.zeros((8, 8), np.uint8)
    assert patient_of(dicom(pixels, PatientID=PATIENT)) == PATIENT
    assert patient_of(dicom(pixels, PatientID="")) is None
