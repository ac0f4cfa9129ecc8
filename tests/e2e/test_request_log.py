"""What a server says about each request: an echo of its id, a line in the log, spans in its trace."""

import json
import re
import socket
from pathlib import Path
from typing import Any

import httpx

from model_store.store.store import Store
from tests.builders.bundles import png
from tests.builders.processes import Process, wait_until
from tests.e2e.test_serving_secrets import one_stream

ID = "X-Request-Id"


def test_a_request_is_a_line_and_a_trace_with_its_stages(tiny_store: Store, tmp_path: Path) -> None:
    otel = {"TRACES": "console", "METRICS": "none", "LOGS": "none"}
    process = Process(
        "serve",
        tmp_path,
        start=one_stream,
        variables={f"OTEL_{name}_EXPORTER": value for name, value in otel.items()},
        store=tiny_store.root,
        ledger=f"sqlite:///{tmp_path / 'ledger.db'}",
        tokens="a-token-of-sixteen predict,read ward-3",
        log_requests="true",
        traces="true",
    )
    found = wait_until(lambda: re.search(r"Candor serves on (\S+)", process.log()))
    bearer = {"Authorization": "Bearer a-token-of-sixteen"}
    with httpx.Client(base_url=found[1]) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        path = "/predictions/tiny"
        assert client.post(path, content=png(), headers=bearer | {ID: "a"}).headers[ID] == "a"
        made = client.post(path, content=b"rubbish", headers=bearer).headers[ID]
        client.post(path, content=png(), headers={ID: "c"})
        client.get("/models/none", headers=bearer | {ID: "d"})
        v2 = client.post("/v2/models/tiny/infer", json={}, headers=bearer | {ID: "e"})
        assert v2.status_code == 400
        client.post("/feedback", json={}, headers=bearer | {ID: "f"})
        host = b"GET /models HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: "
        assert refused_id(found[1], host + b"g\r\nHost: b\r\n\r\n") == "g"
        assert refused_id(found[1], host + b"h\r\nA: " + 9000 * b"b" + b"\r\n\r\n") == "h"
        with connected(found[1]) as leaving:
            sign_in = b"POST /sign-in HTTP/1.1\r\nHost: a\r\nX-Request-Id: i\r\n"
            leaving.sendall(sign_in + b"Content-Length: 9\r\n\r\n")
        wait_until(lambda: '"request_id": "i"' in process.log())
        flood_without_token(found[1], 300)
        wait_until(lambda: counted("request", process) == 300)
        wait_until(lambda: counted("request refused", process) == 300)
    assert process.end() == 0
    lines = {line["request_id"]: line for line in logged(process.log())}
    lines.pop("j")
    names = ("token", "model", "version", "outcome", "status")
    assert {key: tuple(line[name] for name in names) for key, line in lines.items()} == {
        "a": ("ward-3", "tiny", 1, "answered", 200),
        made: ("ward-3", "tiny", 1, "not_an_image", 415),
        "c": (None, None, None, "unauthorized", 401),
        "d": ("ward-3", None, None, "unknown_model", 404),
        "e": ("ward-3", "tiny", 1, "malformed_request", 400),
        "f": ("ward-3", None, None, "forbidden", 403),
        "g": (None, None, None, "malformed_http", 400),
        "h": (None, None, None, "head_too_large", 431),
        "i": (None, None, None, "client_gone", 499),
    }
    assert '"level": "error"' not in process.log()
    assert len(about_flood("request", process) + about_flood("request refused", process)) < 200
    assert lines["a"]["duration_ms"] > 0
    spans = [span for span in printed(process.log()) if "candor.model" in span["attributes"]]
    of_first = [span for span in spans if span["context"]["trace_id"][2:] == lines["a"]["trace_id"]]
    assert {span["name"] for span in of_first} == {"decode", "queue", "inference", "commit"}
    for span in of_first:
        assert span["attributes"] == {"candor.model": "tiny", "candor.version": 1}
        assert span["resource"]["attributes"]["service.name"] == "candor"
        assert span["parent_id"]
        assert span["start_time"] <= span["end_time"]


def connected(url: str) -> socket.socket:
    return socket.create_connection((httpx.URL(url).host, httpx.URL(url).port))


def refused_id(url: str, sent: bytes) -> str:
    """The request id in the answer to raw bytes, after which the connection ends."""
    with connected(url) as connection:
        connection.sendall(sent)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    return re.search(rb"\r\nx-request-id: (.*?)\r\n", answer)[1].decode()


def flood_without_token(url: str, count: int) -> None:
    """So many requests for a file of the pages that is not there."""
    request = b"GET /static/j HTTP/1.1\r\nHost: a\r\nX-Request-Id: j\r\n"
    with connected(url) as connection:
        connection.sendall(
            (request + b"\r\n") * (count - 1) + request + b"Connection: close\r\n\r\n"
        )
        while connection.recv(65536):
            pass


def about_flood(message: str, process: Process) -> list[dict[str, Any]]:
    return [line for line in logged(process.log(), message) if line["path"] == "/static/j"]


def counted(message: str, process: Process) -> int:
    """How many requests the lines stand for."""
    return sum(line.get("count", 1) for line in about_flood(message, process))


def logged(text: str, message: str = "request") -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines() if line.startswith('{"time"')]
    return [line for line in lines if line["message"] == message]


def printed(text: str) -> list[dict[str, Any]]:
    """The spans that OpenTelemetry's console exporter wrote."""
    return [json.loads(span) for span in re.findall(r"^\{\n.*?^\}$", text, flags=re.M | re.S)]
