"""The whole server but its socket: real bundle, real ONNX Runtime, real ledger, requests through
ASGI.
"""

import asyncio
import base64
import gzip
import io
import json
import zlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydantic import SecretStr
from sqlalchemy import text

from hosting.errors import ModelUnusable
from model_store.store.store import Store
from monitoring.http.endpoint import JSON
from monitoring.ledger.database import Ledger
from serving.inference.admission import QueueEstimate
from serving.inference.predictor import GraphOutputs, Predictor
from serving.process.server import ENDPOINTS, Service
from tests.builders.bundles import build_bundle, encode, jpeg, png
from tests.builders.services import Running, refusal, running, until

pytestmark = pytest.mark.anyio


def ledger_rows(folder: Path) -> list[Any]:
    with Ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger, ledger.read() as connection:
        return list(connection.execute(text("select * from prediction")).mappings())


async def test_an_answer_is_the_predictors_and_is_in_the_ledger(
    server: Running, tiny_store: Store, tmp_path: Path
) -> None:
    answer = (await server.predict(png(), X_Request_Id="mine")).json()
    expected = Predictor(tiny_store.read("tiny", 1)).classify(png())
    assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
    assert (answer["predicted"], answer["refer"]) == (expected.predicted, expected.refer)
    assert (answer["model"], answer["version"], answer["request_id"]) == ("tiny", 1, "mine")
    assert "audit" not in answer
    [row] = ledger_rows(tmp_path)
    assert row["prediction_id"].hex() == answer["prediction_id"].replace("-", "")
    stored = np.frombuffer(row["probabilities"], "<f4")
    assert stored == pytest.approx(list(answer["probabilities"].values()), abs=1e-7)


async def test_many_at_once_each_get_their_own_answer(server: Running, tiny_store: Store) -> None:
    images = [png(seed) for seed in range(40)]
    responses = await asyncio.gather(*(server.predict(image) for image in images))
    predictor = Predictor(tiny_store.read("tiny", 1))
    for image, response in zip(images, responses, strict=True):
        assert response.json()["probabilities"] == pytest.approx(
            predictor.classify(image).probabilities, abs=1e-6
        )
    assert len({response.json()["prediction_id"] for response in responses}) == 40
    assert server.counted("candor_batch_size_count", model="tiny", version="1") < 40


async def test_a_model_that_is_served_here_has_no_second_source(server: Running) -> None:
    assert (await server.predict(png())).status_code == 200
    post, classes = server.client.post, ["benign", "malignant"]
    prediction = {"model": "tiny", "request_id": "a", "predicted": "benign", "confidence": 0.9}
    for version in (1, 2):  # a version of the same name would be mixed into the same reports too
        declared = {"model": "tiny", "version": version, "classes": classes}
        assert refusal(await post("/models-log", json=declared)) == (409, "model_served")
    assert refusal(await post("/predictions-log", json=prediction)) == (409, "model_served")
    elsewhere = {"model": "tiny-elsewhere", "classes": classes}
    assert (await post("/models-log", json=elsewhere)).is_success
    assert (
        await post("/predictions-log", json=prediction | {"model": "tiny-elsewhere"})
    ).is_success


async def test_a_list_is_answered_item_by_item_as_single_images_are(server: Running) -> None:
    images = [png(seed=number) for number in range(40)]  # more than two batches
    alone = [(await server.predict(image)).json()["probabilities"] for image in images]
    bodies: list[str | dict[str, str]] = [base64.b64encode(image).decode() for image in images]
    bodies[3] = base64.b64encode(b"no image").decode()
    bodies[7] = {"image": bodies[7], "request_id": "seven"}
    answer = await server.client.post("/predictions/tiny", json=bodies)
    assert answer.status_code == 200
    together = answer.json()
    assert together[3]["error"] == "not_an_image"
    assert together[7]["request_id"] == "seven"
    for number in set(range(40)) - {3}:
        assert together[number]["probabilities"] == pytest.approx(alone[number], abs=1e-6)
    with Ledger(f"sqlite:///{server.folder / 'ledger.db'}") as ledger, ledger.read() as connection:
        assert connection.scalar(text("select count(*) from prediction")) == 40 + 39


async def test_a_form_of_several_files_and_ndjson_are_lists_too(server: Running) -> None:
    files = [
        ("image", ("a.png", png(), "image/png")),
        ("image", ("b.png", b"no image", "image/png")),
    ]
    first, second = (await server.client.post("/predictions/tiny", files=files)).json()
    assert (first["file"], second["file"], second["error"]) == ("a.png", "b.png", "not_an_image")
    raw = await server.predict(png(), Content_Type="application/octet-stream")
    put = await server.client.put("/predictions/tiny/1", content=png())
    plain = await server.predict(png(), content_encoding="identity")
    for alone in (raw, put, plain):
        assert alone.json()["probabilities"] == first["probabilities"]
    line = json.dumps(base64.b64encode(png()).decode())
    answer = await server.predict(f"{line}\n{line}\n".encode(), Content_Type="application/x-ndjson")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(each)["probabilities"] for each in answer.text.splitlines()] == [
        first["probabilities"]
    ] * 2


def bomb() -> bytes:
    """A PNG of 20,000 x 20,000 black pixels in some 50 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        )

    side = (20_000).to_bytes(4, "big")
    rows = zlib.compress(bytes(2501) * 20_000, 9)
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", side + side + b"\x01\x00\x00\x00\x00")
    return head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


async def streamed() -> AsyncIterator[bytes]:
    for _ in range(70):
        yield bytes(2**20)


GARBAGE = bytes(number * 7919 % 251 for number in range(200_000)) * 30
SQUEEZED = {
    "content": gzip.compress(png()),
    "headers": {"content-encoding": "gzip", "content-type": "application/octet-stream"},
}
MALFORMED = (400, "malformed_request")
REFUSED: list[tuple[str, str, dict[str, Any], tuple[int, str], str]] = [
    *(
        ("POST", path, SQUEEZED, (415, "compressed_body"), "")
        for path in ("/predictions/tiny", "/feedback", "/predictions-log")
    ),
    ("POST", "/models/tiny/report/reset", SQUEEZED, (415, "compressed_body"), ""),
    ("POST", "/predictions/tiny", {"content": gzip.compress(png())}, (415, "not_an_image"), "gzip"),
    ("POST", "/predictions/tiny", {"content": streamed()}, (413, "body_too_large"), ""),
    ("GET", "/nowhere", {}, (404, "unknown_path"), ""),
    ("GET", "/predictions/tiny", {}, (405, "method_not_allowed"), ""),
    ("DELETE", "/predictions/tiny", {}, (405, "method_not_allowed"), "use POST or PUT here"),
    ("DELETE", "/feedback", {}, (405, "method_not_allowed"), "use POST here"),
    *(
        ("POST", path, {"content": GARBAGE, "headers": {"content-type": kind}}, refused, "JSON")
        for path, kind, refused in (
            ("/predictions/tiny", JSON, MALFORMED),
            ("/predictions/tiny", "application/x-ndjson", MALFORMED),
            ("/feedback", JSON, (400, "malformed_body")),
        )
    ),
    *(
        ("POST", path, {"data": {"token": "x" * 10_000}}, (413, "body_too_large"), "")
        for path in ("/sign-in", "/sign-out")
    ),
]


async def test_what_is_refused_says_why(server: Running) -> None:
    for method, path, sent, expected, says in REFUSED:
        refused = await server.client.request(method, path, **sent)
        assert refusal(refused) == expected, (method, path)
        assert says in refused.json()["detail"], (method, path)


def bad_requests(sound: bytes) -> dict[str, tuple[dict[str, Any], int, str]]:
    """What is sent in place of `sound`, and the refusal."""
    return {
        "empty": ({"content": b""}, 400, "empty_body"),
        "text": ({"content": b"this is no image, however long"}, 415, "not_an_image"),
        "xml": ({"Content_Type": "application/xml"}, 415, "unsupported_media_type"),
        "object": ({"content": b"{}", "Content_Type": JSON}, 400, "malformed_request"),
        "truncated": ({"content": sound[: len(sound) // 2]}, 400, "broken_image"),
        "bomb": ({"content": bomb()}, 413, "image_too_large"),
        "huge": ({"content": bytes(70 * 2**20)}, 413, "body_too_large"),
        "long id": ({"X_Request_Id": "x" * 8_000}, 400, "malformed_request"),
        "no form": ({"Content_Type": "multipart/form-data; boundary=x"}, 400, "malformed_request"),
        "model": ({"path": "/predictions/unheard-of"}, 404, "unknown_model"),
        "version": ({"path": "/predictions/tiny/7"}, 404, "unknown_version"),
    }


async def test_bad_input_gets_its_own_4xx_one_line_and_no_neighbor_is_harmed(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="serving")
    caplog.set_level("INFO", logger="hosting")
    sound = jpeg(size=(200, 200))
    for kind, (request, status, code) in bad_requests(sound).items():
        caplog.clear()
        before = server.counted("candor_requests_rejected_total", reason=code)
        bad, *good = await asyncio.gather(
            server.predict(**{"content": sound} | request),
            *(server.predict(sound) for _ in range(5)),
        )
        assert refusal(bad) == (status, code), kind
        assert [response.status_code for response in good] == [200] * 5
        assert (
            len([each for each in caplog.records if each.name.startswith(("serving", "hosting"))])
            == 1
        )
        assert server.counted("candor_requests_rejected_total", reason=code) == before + 1


async def test_an_image_on_which_the_graph_fails_fails_alone(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    infer = Predictor.infer

    def fail(self: Predictor, images: npt.NDArray[np.uint8], **options: Any) -> GraphOutputs:
        if len(images) > 1 or images.min() == 255:
            raise ModelUnusable("indices element out of data bounds")
        return infer(self, images, **options)

    monkeypatch.setattr(Predictor, "infer", fail)
    white = encode(Image.new("RGB", (28, 28), "white"), "PNG")
    bad, *good = await asyncio.gather(*(server.predict(each) for each in [white, *[png()] * 5]))
    assert refusal(bad) == (500, "inference_failed")
    assert [response.status_code for response in good] == [200] * 5


async def test_an_output_that_is_no_number_fails_alone_and_is_not_recorded(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = GraphOutputs(np.full((1, 3), np.nan, np.float32))
    monkeypatch.setattr(Predictor, "infer", lambda *_, **__: nothing)
    response = await server.predict(png())
    assert refusal(response) == (500, "inference_failed")
    assert ledger_rows(tmp_path) == []


async def test_failures_of_the_server_and_late_answers_count_for_their_model(
    tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = [f"candor_requests_{what}_total" for what in ("failed", "late")]
    tiny = {"model": "tiny", "version": "1"}
    async with running(tiny_store, tmp_path) as server:
        listed: list[Any] = [{"image": base64.b64encode(png()).decode()}] * 3

        async def ask_all() -> list[float]:
            """One image, a list of three, rubbish; and by how much each counter grew."""
            before = [server.counted(name, **tiny) for name in counters]
            await server.predict(png())
            await server.client.post("/predictions/tiny", json=listed)
            await server.predict(b"rubbish")
            await server.predict(png(), "/predictions/unknown")
            after = [server.counted(name, **tiny) for name in counters]
            return [new - old for new, old in zip(after, before, strict=True)]

        assert await ask_all() == [0, 0]
        recorder = server.service.recorder
        with monkeypatch.context() as patched:
            full = OSError("disk full")
            patched.setattr(recorder, "record", lambda rows, done, **_: done(full))
            assert await ask_all() == [4, 0]
    async with running(tiny_store, tmp_path, deadline_s=1e-9) as server:
        monkeypatch.setattr(QueueEstimate, "admit", lambda *_: None)
        await server.predict(png())
        assert [server.counted(name, **tiny) for name in counters] == [0, 1]


async def test_overload_is_refused_before_the_body_is_read_with_an_honest_retry_after(
    tiny_store: Store, tmp_path: Path
) -> None:
    async with running(tiny_store, tmp_path, deadline_s=1) as server:
        load = server.service.models.find("tiny").load
        load.delivered(1, arrived_s=0.0, now_s=load._last_s + 100)
        load.waiting = 1
        read = False

        async def body() -> AsyncIterator[bytes]:
            nonlocal read
            read = True
            yield b"image"

        # without what reads the rest of a body after its answer
        bare = httpx.ASGITransport(server.service.prediction_app)
        async with httpx.AsyncClient(transport=bare, base_url="http://candor") as client:
            response = await client.post("/predictions/tiny", content=body())
        load.waiting = 0
        assert refusal(response) == (429, "overloaded")
        assert int(response.headers["Retry-After"]) in (19, 20)  # 0.2 * 100 s, less the deadline
        assert not read


async def test_a_client_names_the_longest_wait_that_it_accepts(
    tiny_store: Store, tmp_path: Path
) -> None:
    async with running(tiny_store, tmp_path) as server:
        load = server.service.models.find("tiny").load
        load.delivered(1, arrived_s=0.0, now_s=load._last_s + 100)  # 20 s an image from now on
        load.waiting = 1
        short, wrong = [
            await server.predict(png(), **{"X-Candor-Deadline-S": text}) for text in ("0.5", "soon")
        ]
        tensor = {
            "name": "image",
            "shape": [1],
            "datatype": "BYTES",
            "data": [base64.b64encode(png()).decode()],
        }
        headers = {"X-Candor-Deadline-S": "0.5"}
        v2 = await server.client.post(
            "/v2/models/tiny/infer", json={"inputs": [tensor]}, headers=headers
        )
        long = await server.predict(png(), **{"X-Candor-Deadline-S": "3600"})
        load.waiting = 0
    assert [answer.status_code for answer in (short, wrong, v2, long)] == [429, 400, 429, 200]


async def test_a_client_that_hangs_up_is_not_computed_for(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batcher never gets to the image, because it is cancelled while it waits in the queue."""
    served = server.service.models.find("tiny")
    # slow enough to be worth watching
    served.load.delivered(1, arrived_s=0.0, now_s=served.load._last_s + 1)
    submitted: list[Any] = []
    monkeypatch.setattr(served, "submit", submitted.append)
    messages = [{"type": "http.request", "body": png()}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "http_version": "1.0", "method": "POST"}
    scope |= {"query_string": b"", "headers": []}
    scope["path"] = "/predictions/tiny"
    await server.service.app(scope, receive, send)
    assert sent == []
    assert submitted[0].gone
    assert served.load.waiting == 0


@pytest.mark.parametrize("query", [b"", b"explain=occlusion", b"frame=1"])
async def test_an_image_that_is_decoded_counts_as_waiting_until_its_client_leaves(
    server: Running, monkeypatch: pytest.MonkeyPatch, query: bytes
) -> None:
    served, decoder = server.service.models.find("tiny"), server.service.pipeline.decoder
    waiting, cancelled, left = list[int](), list[bool](), asyncio.Event()

    async def decode(*_: Any, **__: Any) -> Any:
        waiting.append(served.load.waiting)
        left.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    monkeypatch.setattr(decoder, "decode", decode)
    monkeypatch.setattr(decoder, "decode_frames", decode)
    messages = [{"type": "http.request", "body": png()}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        raise AssertionError("an answer to a client that left")

    scope = {"type": "http", "http_version": "1.0", "method": "POST"}
    scope |= {"query_string": query, "headers": []}
    scope["path"] = "/predictions/tiny"
    async with asyncio.timeout(5):
        await server.service.app(scope, receive, send)
    await until(lambda: cancelled)
    assert waiting == [1]
    assert served.load.waiting == 0


async def test_it_is_ready_when_every_model_of_the_store_is_loaded(
    tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_store.publish("zebra", partial(build_bundle, name="zebra"))
    tiny_store.promote("zebra", 1)
    loop, load, meanwhile = asyncio.get_running_loop(), Service._load, []

    async def ask(service: Service) -> httpx.Response:
        transport = httpx.ASGITransport(service.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://candor") as client:
            return await client.get("/readyz")

    def loading(service: Service, model: str, version: int) -> Any:
        meanwhile.append(asyncio.run_coroutine_threadsafe(ask(service), loop).result())
        return load(service, model, version)

    monkeypatch.setattr(Service, "_load", loading)
    async with running(tiny_store, tmp_path) as server:
        assert (await server.client.get("/readyz")).json()["models"] == {"tiny": 1, "zebra": 1}
    assert [each.status_code for each in meanwhile] == [503, 503]
    assert "still being loaded" in meanwhile[1].text


async def test_a_drain_is_seen_by_readiness_and_closes_connections(server: Running) -> None:
    server.service.prediction_app.draining = True
    assert (await server.client.get("/readyz")).status_code == 503
    assert (await server.client.get("/healthz")).status_code == 200
    response = await server.predict(png())
    assert (response.status_code, response.headers["Connection"]) == (200, "close")


async def test_a_switch_in_the_middle_of_a_request_loses_nothing(
    tiny_store: Store,
    tmp_path: Path,
) -> None:
    """Two switches while a body is on its way: its version is retired, and yet answers."""
    async with running(tiny_store, tmp_path) as server:
        halfway, go_on = asyncio.Event(), asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield png()[:100]
            halfway.set()
            await go_on.wait()
            yield png()[100:]

        slow = asyncio.ensure_future(server.client.post("/predictions/tiny", content=body()))
        await halfway.wait()
        for version in (2, 3):
            tiny_store.publish("tiny", build_bundle)
            tiny_store.promote("tiny", version)
            await asyncio.to_thread(server.service.watcher.scan)
        await asyncio.sleep(0)
        go_on.set()
        assert (await slow).json()["version"] == 1
        assert (await server.predict(png())).json()["version"] == 3
        assert server.counted("candor_model_loaded", model="tiny", version="1") == 0


async def test_tokens_guard_every_way_in(tiny_store: Store, tmp_path: Path) -> None:
    token = "t" * 32
    async with running(tiny_store, tmp_path, tokens=f"{token} predict") as server:
        refused = await server.predict(png())
        assert refusal(refused) == (401, "unauthorized")
        assert refused.headers["www-authenticate"] == "Bearer"
        assert (await server.predict(png(), Authorization=f"Bearer {token}")).status_code == 200
        metrics = await server.client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
        assert refusal(metrics) == (403, "forbidden")
        assert (await server.client.get("/v2")).status_code == 401
        assert (await server.client.get("/healthz")).status_code == 200
        assert server.counted("candor_requests_rejected_total", reason="unauthorized") == 2


async def test_a_preflight_allows_every_header_that_an_endpoint_declares(
    tiny_store: Store, tmp_path: Path
) -> None:
    viewer = "https://viewer.example"
    wanted = [
        "authorization",
        "content-type",
        *{each.name for endpoint in ENDPOINTS for each in endpoint.headers},
    ]
    asked = {"Origin": viewer, "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = ", ".join(wanted)
    async with running(
        tiny_store, tmp_path, cors_origins=(viewer,), tokens=SecretStr("t" * 32 + " read")
    ) as server:
        for path in ("/predictions/tiny", "/v2/models/tiny/infer"):
            answer = await server.client.options(path, headers=asked)
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (
                200,
                viewer,
            )
            allowed = answer.headers["access-control-allow-headers"].lower()
            assert {name.lower() for name in wanted} <= set(allowed.split(", "))
        other = await server.client.options(
            "/feedback", headers=asked | {"Access-Control-Request-Headers": "X-Other"}
        )
        assert other.status_code == 400


async def test_an_explanation_comes_with_the_same_answer(server: Running) -> None:
    plain, explained = (
        await server.predict(png()),
        await server.predict(png(), "/predictions/tiny?explain=occlusion"),
    )
    assert explained.json()["probabilities"] == plain.json()["probabilities"]
    explanation = explained.json()["explanation"]
    picture = Image.open(io.BytesIO(base64.b64decode(explanation["png"])))
    assert picture.mode == "RGB"
    assert min(picture.size) > 448  # the image, enlarged, beside its scale
    assert np.shape(explanation["values"]) == (8, 8)
    largest = np.abs(explanation["values"]).max()
    assert ("No part of the image matters much." in explanation["sentence"]) == (largest < 0.05)
    assert explanation["of"] == plain.json()["predicted"]
    for name in plain.json()["probabilities"]:
        of_class = (await server.predict(png(), f"/predictions/tiny?explain={name}")).json()
        same = of_class["explanation"] == explanation
        assert (of_class["explanation"]["of"], same) == (name, name == explanation["of"])
    for query in ("?explain=magic", "?explain=none", "?explain", "?other=1"):
        refused = await server.predict(png(), f"/predictions/tiny{query}")
        assert refusal(refused) == (400, "malformed_request")


async def test_a_version_whose_files_are_gone_answers_on_but_is_not_explained(
    server: Running, tiny_store: Store
) -> None:
    (tiny_store.folder("tiny", 1) / "model.onnx").unlink()
    refused = await server.predict(png(), "/predictions/tiny?explain=occlusion")
    assert refusal(refused) == (503, "unexplained")
    assert (await server.predict(png())).status_code == 200
    assert len(ledger_rows(server.folder)) == 1


async def test_an_answer_that_cannot_be_explained_now_is_not_recorded(server: Running) -> None:
    """The client would never get the id of such an answer, so no label could ever reach it."""
    server.service.pipeline._occluder._free = 0
    refused = await server.predict(png(), "/predictions/tiny?explain=occlusion")
    assert refusal(refused) == (429, "explanations_busy")
    assert ledger_rows(server.folder) == []


async def test_tags_and_the_audit_draw_are_in_the_ledger_and_the_answer(
    tiny_store: Store, tmp_path: Path
) -> None:
    async with running(tiny_store, tmp_path, audit_share=0.5) as server:
        answers = [
            (await server.predict(png(seed), X_Candor_Tags="site=A, device=CT-2")).json()
            for seed in range(30)
        ]
        listed = [{"image": base64.b64encode(png()).decode(), "tags": {"site": "B"}}]
        (item,) = (await server.client.post("/predictions/tiny", json=listed)).json()
        refused = await server.predict(png(), X_Candor_Tags="site")
        assert refusal(refused) == (400, "malformed_request")
        drawn = next(answer for answer in answers if answer["audit"])
        label = {
            "prediction_id": drawn["prediction_id"],
            "label": drawn["predicted"],
            "source": "audit",
        }
        await server.client.post("/feedback", json=label)
        report = (await server.client.get("/models/tiny/report")).json()
        assert report["diagnosis"]["basis"]["audited"] == 1
        assert (report["drift"]["audit"], report["drift"]["labels"]) == (True, 1)
        assert {each["name"] for each in report["slices"]["known"]} >= {
            "tag:site=A",
            "tag:site=B",
            "tag:device=CT-2",
        }
    rows = {row["prediction_id"].hex(): row for row in ledger_rows(tmp_path)}
    assert len(rows) == 31
    for answer in [*answers, item]:
        row = rows[answer["prediction_id"].replace("-", "")]
        assert row["audit"] == (0.5 if answer["audit"] else None)
        assert row["tags"] == (
            '{"site": "B"}' if answer is item else '{"device": "CT-2", "site": "A"}'
        )
    assert {answer["audit"] for answer in answers} == {True, False}
