"""What HTTP brings with it, behind several fronts: TLS, other origins, a proxy's headers, log
lines, ids.
"""

import json
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from model_store.store.store import Store
from tests.builders.fronts import CONNECTIONS
from tests.builders.processes import PATIENCE_S, wait_until
from tests.builders.servers import Server

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("fronts", [2, 4])]

VIEWER = "https://viewer.example"
TOKEN = "a-token-that-may-do-everything"


def test_every_front_encrypts_and_none_answers_in_plain_text(
    start_fronts: Callable[..., Server],
    tiny_store: Store,
    png: Callable[..., bytes],
    certificate: Path,
) -> None:
    server = start_fronts(tiny_store, ready=False, tls_certificate=str(certificate))
    trusted = ssl.create_default_context(cafile=certificate)
    large = png(size=(900, 700))
    for _ in range(CONNECTIONS):
        with httpx.Client(base_url=server.url, verify=trusted, timeout=PATIENCE_S) as client:
            wait_until(lambda client=client: client.get("/readyz").status_code == 200)  # type: ignore[misc]
            for image in (png(), large):
                assert client.post("/predictions/tiny", content=image).status_code == 200
    plain = server.url.replace("https", "http")
    for _ in range(CONNECTIONS):
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{plain}/predictions/tiny", content=png(), timeout=PATIENCE_S)


def test_other_origins_are_allowed_or_refused_at_every_front(
    start_fronts: Callable[..., Server],
    tiny_store: Store,
    png: Callable[..., bytes],
    clients: Callable[[Server], list[httpx.Client]],
) -> None:
    server = start_fronts(tiny_store, cors_origins=VIEWER)
    asked = {
        "Origin": VIEWER,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-candor-tags",
    }
    for client in clients(server):
        preflight = client.options("/predictions/tiny", headers=asked)
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (
            200,
            VIEWER,
        )
        for image, status in ((png(), 200), (b"text", 415)):
            answer = client.post("/predictions/tiny", content=image, headers={"Origin": VIEWER})
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (
                status,
                VIEWER,
            )
        other = client.post(
            "/predictions/tiny", content=png(), headers={"Origin": "https://evil.example"}
        )
        assert (other.status_code, "access-control-allow-origin" in other.headers) == (403, False)
        assert (
            "access-control-allow-origin"
            not in client.post("/predictions/tiny", content=png()).headers
        )


def test_headers_of_a_proxy_reach_the_page_and_refusals_reach_the_one_log(
    start_fronts: Callable[..., Server],
    tiny_store: Store,
    clients: Callable[[Server], list[httpx.Client]],
) -> None:
    server = start_fronts(tiny_store, tokens=f"{TOKEN} admin Ada")
    connected = clients(server)
    for client in connected:
        for scheme, secure in (("https", True), ("http", False)):
            signed_in = client.post(
                "/sign-in", data={"token": TOKEN}, headers={"X-Forwarded-Proto": scheme}
            )
            assert signed_in.status_code == 303, signed_in.text
            assert ("secure" in signed_in.headers["set-cookie"].lower()) == secure
            client.cookies.clear()
    refused = {client.post("/predictions/tiny", content=b"x").status_code for client in connected}
    assert refused == {401}
    assert (
        server.client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text.count(
            f'candor_requests_rejected_total{{reason="unauthorized"}} {float(CONNECTIONS)}\n'
        )
        == 1
    )
    assert all(json.loads(line) for line in server.log().splitlines())


def test_a_request_id_labels_its_answer_whichever_fronts_took_the_two(
    start_fronts: Callable[..., Server],
    tiny_store: Store,
    png: Callable[..., bytes],
    clients: Callable[[Server], list[httpx.Client]],
) -> None:
    server = start_fronts(tiny_store)
    connected = clients(server)
    for number, client in enumerate(connected):
        answer = client.post(
            "/predictions/tiny", content=png(), headers={"X-Request-Id": f"id-{number}"}
        ).json()
        other = connected[number - 1]
        label = {"model": "tiny", "request_id": f"id-{number}", "label": answer["label"]}
        told = other.post("/feedback", json=label).json()
        assert (told["status"], told["prediction_id"]) == ("accepted", answer["prediction_id"])
