"""gRPC of a real server: a process of its own, which clients can flood and others never notice."""

import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from open_inference.grpc import protocol, service

from model_store.store.store import Store
from tests.builders.bundles import png
from tests.builders.processes import children, runs, wait_until
from tests.builders.servers import Start
from tests.builders.tensors import infer_request
from tests.e2e.test_serving_hostile import FLOOD_MB
from tests.soak.http2 import KINDS
from tests.soak.siege import Siege

# beside other programs, which delay the look at its memory; alone it is 65
HUNDRED_MB = 200
CHILD = "serving.process.rpc_process"
TOKEN = "a-token-of-sixteen"


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    with Siege(tmp_path_factory.mktemp("siege"), grpc_port="0") as started:
        yield started


def call(address: str, ask: Callable[[Any], Any]) -> Any:
    with grpc.insecure_channel(address) as channel:
        return ask(service.GRPCInferenceServiceStub(channel))


def is_live(address: str) -> bool:
    try:
        asked = protocol.ServerLiveRequest()
        return bool(call(address, lambda stub: stub.ServerLive(asked, timeout=10)).live)
    except grpc.RpcError:
        return False


def test_a_flood_of_grpc_stops_nobody_and_gRPC_comes_back(siege: Siege) -> None:  # noqa: N802
    watched = siege.flood_stops_nobody("gRPC: metadata", connections=10, most_mb=FLOOD_MB)
    assert watched.failures == []
    wait_until(lambda: is_live(f"127.0.0.1:{siege.grpc_port}"))


@pytest.mark.nightly
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_hundred_connections_of_grpc_stop_nobody(siege: Siege, kind: str) -> None:
    watched = siege.flood_stops_nobody(kind, connections=100, most_mb=HUNDRED_MB)
    assert watched.failures == []
    wait_until(lambda: is_live(f"127.0.0.1:{siege.grpc_port}"))


def test_the_process_of_grpc_is_started_again_and_ends_with_its_server(
    start: Start, tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tempfile.mkdtemp()  # short enough for the name of a socket
    monkeypatch.setenv("TMPDIR", folder)
    server = start(tiny_store, grpc_port="0")
    address = server.grpc_address()
    [child] = children(server.process.pid, CHILD)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: is_live(address))
    assert call(address, lambda stub: stub.ModelInfer(infer_request(png()))).model_name == "tiny"
    [again] = children(server.process.pid, CHILD)
    assert again != child
    server.signal(signal.SIGKILL)
    server.exit_code()
    wait_until(lambda: not runs(again))
    assert not list(Path(folder).iterdir())


def test_calls_have_a_line_each_as_requests_have(
    start: Start, tiny_store: Store, tmp_path: Path
) -> None:
    server = start(
        tiny_store, grpc_port="0", log_requests="true", tokens=f"{TOKEN} predict,read ward-3"
    )
    address, bearer = server.grpc_address(), ("authorization", f"Bearer {TOKEN}")
    for identity, image, metadata in (
        ("a", png(), [bearer]),
        ("b", b"rubbish", [bearer]),
        ("c", png(), []),
    ):
        sent = [*metadata, ("x-request-id", identity)]
        with suppress(grpc.RpcError):
            call(address, lambda stub: stub.ModelInfer(infer_request(image), metadata=sent))  # noqa: B023
    with grpc.insecure_channel(address) as channel:
        send = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError):
            send(b"\xff" * 30, metadata=[bearer, ("x-request-id", "d")])
    assert server.end() == 0
    lines = {
        line["request_id"]: line
        for line in map(json.loads, server.log().splitlines())
        if line.get("message") == "request"
    }
    names = ("token", "model", "version", "outcome", "status")
    assert {key: tuple(line[name] for name in names) for key, line in lines.items()} == {
        "a": ("ward-3", "tiny", 1, "answered", 200),
        "b": ("ward-3", "tiny", 1, "not_an_image", 415),
        "c": (None, None, None, "unauthorized", 401),
        "d": (None, None, None, "malformed_request", 400),
    }
