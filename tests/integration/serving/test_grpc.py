"""The gRPC service in this process: tokens in the metadata, and refusals as gRPC status codes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc import StatusCode
from open_inference.grpc import protocol, service

from model_store.store.store import Store
from serving.process.rpc_process import RpcProcess
from serving.settings import Settings
from serving.v2.rpc import RpcService, start_grpc
from tests.builders.bundles import png, subgroup, with_subgroups
from tests.builders.dicoms import dicom_stack
from tests.builders.processes import PATIENCE_S
from tests.builders.scoped import build_scoped
from tests.builders.services import running
from tests.builders.tensors import infer_request

pytestmark = pytest.mark.anyio
B = subgroup(("B",), temperature=3.0)
PREDICT, READ = "p" * 32, "r" * 32


@pytest.fixture
async def stub(tiny_store: Store, tmp_path: Path) -> AsyncIterator[Any]:
    """A client of a server with tokens; `stub.counted`: calls refused for a reason."""
    options = {"ledger": "off", "grpc_port": 0, "tokens": f"{PREDICT} predict; {READ} read"}
    async with running(tiny_store, tmp_path, **options) as started:
        server = started.service
        rpc = RpcService(started.client, settings=server._settings, access=server.access)
        listening, port = await start_grpc(rpc, server._settings)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            client = service.GRPCInferenceServiceStub(channel)
            client.channel = channel
            client.load = server.models.find("tiny").load
            client.scan = server.watcher.scan
            client.counted = lambda reason: started.counted(
                "candor_requests_rejected_total", reason=reason
            )
            yield client
        await listening.stop(0)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def refused(call: Any) -> StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    code: StatusCode = error.value.code()
    return code


def test_a_long_temporary_folder_leaves_room_for_the_name_of_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ("x" * 100)).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("x" * 100)))
    RpcProcess(Settings(ledger="off")).close()


async def test_health_needs_no_token(stub: Any) -> None:
    assert (await stub.ServerLive(protocol.ServerLiveRequest())).live
    assert (await stub.ServerReady(protocol.ServerReadyRequest())).ready


async def test_each_call_needs_a_token_of_its_scope(stub: Any) -> None:
    metadata, server = protocol.ModelMetadataRequest(name="tiny"), protocol.ServerMetadataRequest()
    ready = protocol.ModelReadyRequest(name="tiny")
    assert (await stub.ModelMetadata(metadata, metadata=bearer(READ))).name == "tiny"
    assert (await stub.ServerMetadata(server, metadata=bearer(READ))).name == "candor"
    for call in (stub.ModelMetadata(metadata), stub.ServerMetadata(server), stub.ModelReady(ready)):
        assert await refused(call) is StatusCode.UNAUTHENTICATED
    infer = protocol.ModelInferRequest(model_name="tiny")
    for token, code in (
        (READ, StatusCode.PERMISSION_DENIED),
        ("x" * 32, StatusCode.UNAUTHENTICATED),
        (PREDICT, StatusCode.INVALID_ARGUMENT),
    ):
        assert await refused(stub.ModelInfer(infer, metadata=bearer(token))) is code
    assert (stub.counted("unauthorized"), stub.counted("forbidden")) == (4, 1)


async def test_a_retry_gets_the_recorded_answer(stub: Any) -> None:
    asked, key = infer_request(png(), png()), (("idempotency-key", "scan-7"),)
    answers = [await stub.ModelInfer(asked, metadata=bearer(PREDICT) + key) for _ in range(2)]
    assert answers[0] == answers[1]


async def test_answers_say_whether_an_image_is_in_scope(stub: Any, tiny_store: Store) -> None:
    tiny_store.promote("tiny", tiny_store.publish("tiny", build_scoped))
    await asyncio.to_thread(stub.scan)
    pixels = np.stack([np.full((3, 8, 8), level, np.uint8) for level in (128, 250)])
    asked = protocol.ModelInferRequest(model_name="tiny")
    asked.inputs.add(name="image", datatype="UINT8", shape=pixels.shape)
    asked.raw_input_contents.append(pixels.tobytes())
    answer = await stub.ModelInfer(asked, metadata=bearer(PREDICT))
    names = [each.name for each in answer.outputs]
    given = dict(zip(names, answer.raw_output_contents, strict=True))
    assert given["scope"] == b"\2\0\0\0in\3\0\0\0out"
    usual, far = np.frombuffer(given["scope_p"], "<f4")
    assert usual > 0.05
    assert far == pytest.approx(1 / 1000)


async def test_what_is_no_message_is_refused_without_a_trace(
    stub: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for rubbish, error in (
        (b"\xff" * 30, "not a protobuf message"),
        (b"\x2a\x00" * 20_000, "over 10,000 fields"),
    ):
        send = stub.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.aio.AioRpcError, match=error) as refused:
            await send(rubbish, metadata=bearer(PREDICT))
        assert refused.value.code() is StatusCode.INVALID_ARGUMENT
    assert [record for record in caplog.records if record.exc_info] == []


async def test_the_deadline_of_a_call_is_the_longest_wait_that_it_accepts(stub: Any) -> None:
    # 20 s an image from now on
    stub.load.delivered(1, arrived_s=0.0, now_s=stub.load._last_s + 100)
    stub.load.waiting = 1
    asked = infer_request(png())
    assert (
        await refused(stub.ModelInfer(asked, metadata=bearer(PREDICT), timeout=10))
        is StatusCode.RESOURCE_EXHAUSTED
    )
    stub.load.waiting = 0
    answer = await stub.ModelInfer(asked, metadata=bearer(PREDICT), timeout=PATIENCE_S)
    assert answer.model_name == "tiny"


async def test_an_unknown_model_is_not_found(stub: Any) -> None:
    asked = protocol.ModelMetadataRequest(name="other")
    assert await refused(stub.ModelMetadata(asked, metadata=bearer(READ))) is StatusCode.NOT_FOUND


async def test_a_parameter_chooses_frames(stub: Any) -> None:
    data = dicom_stack(np.random.default_rng(5).integers(0, 4096, (4, 20, 20)).astype(np.uint16))

    async def infer(**choice: Any) -> Any:
        request = infer_request(data)
        request.parameters["frame"].CopyFrom(protocol.InferParameter(**choice))
        return await stub.ModelInfer(request, metadata=bearer(PREDICT))

    for choice, count in (
        ({"int64_param": 2}, 1),
        ({"string_param": "middle"}, 1),
        ({"string_param": "all"}, 4),
    ):
        answer = await infer(**choice)
        assert [list(each.shape) for each in answer.outputs if each.name == "predicted"] == [
            [count]
        ]
    for choice in ({"int64_param": 5}, {"bool_param": True}, {"string_param": "some"}):
        assert await refused(infer(**choice)) is StatusCode.INVALID_ARGUMENT


async def test_tags_choose_the_calibrator_of_a_subgroup(stub: Any, tiny_store: Store) -> None:
    number = tiny_store.publish(
        "tiny", lambda folder, version: with_subgroups(folder, B, version=version)
    )
    tiny_store.promote("tiny", number)
    await asyncio.to_thread(stub.scan)
    asked = infer_request(png())
    confidence = {}
    for site in ("A", "B"):
        tags = (("x-candor-tags", f"site={site}"),)
        answer = await stub.ModelInfer(asked, metadata=bearer(PREDICT) + tags)
        given = dict(
            zip([each.name for each in answer.outputs], answer.raw_output_contents, strict=True)
        )
        confidence[site] = np.frombuffer(given["confidence"], "<f4")[0]
        assert given["calibrator"][4:] == (b"site=B" if site == "B" else b"")
    assert confidence["B"] < confidence["A"]
