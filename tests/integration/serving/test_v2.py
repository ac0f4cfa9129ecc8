"""The Open Inference Protocol through its own rules: health, metadata, tensors in JSON and in
binary, errors.
"""

import base64
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import text

from model_store.image import decode
from model_store.store.store import Store
from monitoring.ledger.database import Ledger
from tests.builders.bundles import png
from tests.builders.services import running

pytestmark = pytest.mark.anyio
INFER = "/v2/models/tiny/infer"


@pytest.fixture
async def client(tiny_store: Store, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(tiny_store, tmp_path, max_items=20) as server:
        yield server.client


def pixels(store: Store, *images: bytes) -> Any:
    spec = store.read("tiny", 1).card.input.spec
    return np.stack([decode(image, spec) for image in images])


async def post_pixels(client: httpx.AsyncClient, array: Any, **fields: Any) -> httpx.Response:
    named = {"name": "image", "datatype": "UINT8", "shape": list(array.shape)}
    named["parameters"] = {"binary_data_size": array.nbytes}
    head = json.dumps({"inputs": [named]} | fields).encode()
    sent = {
        "Inference-Header-Content-Length": str(len(head)),
        "Content-Type": "application/octet-stream",
    }
    return await client.post(INFER, content=head + array.tobytes(), headers=sent)


async def post(client: httpx.AsyncClient, body: object) -> httpx.Response:
    return await client.post(INFER, content=json.dumps(body).encode())


def by_name(answer: httpx.Response) -> dict[str, Any]:
    return {output["name"]: output for output in answer.json()["outputs"]}


async def test_pixels_and_encoded_images_give_what_predictions_gives(
    client: httpx.AsyncClient, tiny_store: Store, tmp_path: Path
) -> None:
    images = [png(seed=number) for number in range(18)]  # more than one batch
    alone = [(await client.post("/predictions/tiny", content=image)).json() for image in images]
    from_pixels = by_name(await post_pixels(client, pixels(tiny_store, *images), id="scan"))
    encoded = [base64.b64encode(image).decode() for image in images]
    as_bytes = {"name": "image", "datatype": "BYTES", "shape": [18], "data": encoded}
    from_bytes = by_name(await post(client, {"inputs": [as_bytes]}))
    for found in (from_pixels, from_bytes):
        assert found["probabilities"]["shape"] == [18, 3]
        expected = [list(answer["probabilities"].values()) for answer in alone]
        assert np.reshape(found["probabilities"]["data"], (18, 3)) == pytest.approx(
            np.array(expected), abs=1e-6
        )
        assert found["predicted"]["data"] == [answer["predicted"] for answer in alone]
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger, ledger.read() as connection:
        known = connection.execute(
            text("select request_id from prediction where request_id is not null")
        )
        assert sorted(known.scalars()) == sorted(f"scan/{number}" for number in range(18))


async def test_binary_tensors_both_ways(client: httpx.AsyncClient, tiny_store: Store) -> None:
    image = pixels(tiny_store, png())
    wanted = [
        {"name": "predicted", "parameters": {"binary_data": True}},
        {"name": "probabilities"},
    ]
    answer = await post_pixels(client, image, id="b", outputs=wanted)
    size = int(answer.headers["inference-header-content-length"])
    found = json.loads(answer.content[:size])
    label, probabilities = found["outputs"]
    assert found["id"] == "b"
    assert label["parameters"] == {"binary_data_size": len(answer.content) - size}
    assert struct.unpack("<I", answer.content[size : size + 4])[0] == len(answer.content) - size - 4
    expected = (await client.post("/predictions/tiny", content=png())).json()
    assert answer.content[size + 4 :].decode() == expected["predicted"]
    assert probabilities["data"] == pytest.approx(
        list(expected["probabilities"].values()), abs=1e-6
    )


SMALL = {"name": "image", "datatype": "UINT8", "shape": [1, 1, 2, 2], "data": [0, 0, 0, 0]}


LARGE = 2**31 - 1
TEXTS = SMALL | {"datatype": "BYTES", "shape": [1]}
BAD: list[Any] = [
    "no json",
    {"inputs": 3},
    {"inputs": []},
    *(
        {"inputs": [SMALL | wrong]}
        for wrong in (
            {},  # numbers in JSON
            {"name": "x"},
            {"datatype": "FP32"},
            *({"shape": shape} for shape in ([], [21, 1, 2, 2], [-1, 1, 2, 2], [1, 10**30, 2, 2])),
            {"shape": [1, LARGE, LARGE, LARGE]},
            {"data": [10**400, 0, 0, 0]},
            {"parameters": {"binary_data_size": 4}},
        )
    ),
    *(
        {"inputs": [TEXTS | wrong]}
        for wrong in (
            {"data": ["!"]},
            {"shape": [2], "data": ["AAAA"]},
            {"shape": [2], "data": ["AAAA", "AAAA"]},
            {"shape": [1, LARGE, LARGE, 4], "data": []},
            {"data": [""] * 21},
        )
    ),
    {"inputs": [SMALL], "outputs": [{"name": "logits"}]},
    {"inputs": [SMALL], "id": "x" * 300},
    {"inputs": [TEXTS | {"shape": [11], "data": ["AAAA"] * 11}], "id": "x" * 198},
]


async def test_a_bad_request_is_refused_in_the_protocols_form(client: httpx.AsyncClient) -> None:
    wrong_lengths = [
        await client.post(INFER, content=b"{}", headers={"Inference-Header-Content-Length": length})
        for length in ("-1", "x", "999999", "1e3")
    ]
    for answer in [*[await post(client, body) for body in BAD], *wrong_lengths]:
        assert (answer.status_code, list(answer.json())) == (400, ["error"])


async def test_numbers_in_json_are_refused_with_what_to_do(client: httpx.AsyncClient) -> None:
    refused = await post(client, {"inputs": [SMALL]})
    assert refused.status_code == 400
    assert "send the tensor in binary (binary_data_size), or encoded" in refused.json()["error"]
    other = await post_pixels(client, np.zeros((1, 1, 2, 2), np.uint8))  # of another size
    assert "takes [N, " in other.json()["error"]


@pytest.mark.parametrize(
    ("once", "twice"),
    [
        ('"id": "1"', '"id": "1", "id": "2"'),
        ('"patient": "a"', '"patient": "a", "patient": "b"'),
        ('"data": [', '"data": ["AAAA"], "data": ['),
        ('"inputs": [', '"inputs": [], "inputs": ['),
        ('"name": "confidence"', '"name": "logits", "name": "confidence"'),
        ('"binary_data": false', '"binary_data": true, "binary_data": false'),
    ],
)
async def test_a_key_that_is_given_twice_is_refused(
    client: httpx.AsyncClient, once: str, twice: str
) -> None:
    """Parsers differ in which of the two they take."""
    image = base64.b64encode(png()).decode()
    named = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [image]}
    wanted = {"name": "confidence", "parameters": {"binary_data": False}}
    asked = {"id": "1", "parameters": {"patient": "a"}, "inputs": [named], "outputs": [wanted]}
    body = json.dumps(asked)
    assert (await client.post(INFER, content=body)).status_code == 200
    assert body.count(once) == 1
    refused = await client.post(INFER, content=body.replace(once, twice))
    key = once.split('"')[1]
    assert (refused.status_code, f"'{key}' twice" in refused.json()["error"]) == (400, True)


async def test_an_unknown_model_is_404_everywhere(client: httpx.AsyncClient) -> None:
    for answer in (
        await client.get("/v2/models/x"),
        await client.get("/v2/models/x/ready"),
        await client.post("/v2/models/x/infer", content=b"{}"),
        await client.get("/v2/models/tiny/versions/9"),
    ):
        assert answer.status_code == 404
        assert "loaded" in answer.json()["error"]


@pytest.mark.parametrize("place", ["id", "name", "datatype", "data", "output"])
async def test_a_lone_surrogate_is_refused_wherever_it_is(
    client: httpx.AsyncClient, place: str
) -> None:
    """JSON can write it and UTF-8 cannot: what takes it fails later, when it is stored."""
    image = base64.b64encode(png()).decode()
    text = {"id": "1", "name": "image", "datatype": "BYTES", "data": image, "output": "confidence"}
    for bad in ("\ud800", "a\udfffb", "\ud800" * 40):
        given = text | {place: bad}
        named = {"name": given["name"], "datatype": given["datatype"], "shape": [1]}
        body = {
            "id": given["id"],
            "inputs": [named | {"data": [given["data"]]}],
            "outputs": [{"name": given["output"]}],
        }
        refused = await post(client, body)
        assert refused.status_code == 400, refused.text
        assert refused.json()["error"]
