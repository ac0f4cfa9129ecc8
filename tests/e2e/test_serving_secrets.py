"""Server and monitor show no secret: not on pages, in errors, metrics, traces or logs."""

import http.client
import importlib.util
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store.store.store import Store
from tests.builders.bundles import png
from tests.builders.postgres import Cluster
from tests.builders.processes import PATIENCE_S, Process, wait_until

MARK = "s3cr3t-m4rk"
TOKEN, READER = f"{MARK}-admin-{'x' * 16}", f"{MARK}-read-{'y' * 16}"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PATHS = ("/", "/docs", "/openapi.json", "/metrics", "/models", "/readyz", "/reports", "/v2")
OF_MODEL = (
    "/models/tiny/report",
    "/models/tiny/report/page",
    "/models/tiny/report/history",
    "/models/tiny/report/slices",
)


class Running:
    """A process with secrets in every setting that takes one; `said` is all that it gave out."""

    def __init__(self, url: str, log: Path) -> None:
        self.url, self._log = url, log
        self.said: list[str] = []

    def ask(self, method: str, path: str, **more: object) -> httpx.Response:
        """Send a request, and keep the answer."""
        answer = httpx.request(method, f"{self.url}{path}", **more)
        self.said += [answer.text, str(answer.headers)]
        return answer

    def say_nothing_secret(self) -> None:
        """Fail if a secret is in anything that was given out."""
        told = {"answers": "\n".join(self.said), "log": self._log.read_text()}
        for name, text in told.items():
            found = [
                text[max(0, at.start() - 200) : at.end() + 50] for at in re.finditer(MARK, text)
            ]
            assert found == [], f"{name}: {found[:3]}"
        assert len(told["answers"]) > 10_000
        assert len(told["log"]) > 100


@contextmanager
def running(
    kind: str, store: Store, ledger: str, folder: Path, **settings: str
) -> Iterator[Running]:
    """`candor serve` or `candor monitor`."""
    (folder / "ledger.url").write_text(ledger)
    (folder / "tokens").write_text(f"{READER} read\n")
    given = {
        "store": store.root,
        "ledger_file": folder / "ledger.url",
        "tokens_file": folder / "tokens",
        "port": 0,
    }
    given |= {"tokens": f"{TOKEN} admin", "deadline_s": 30}
    given |= settings
    otel = {"TRACES": "console", "METRICS": "none", "LOGS": "none"}
    variables = {f"OTEL_{name}_EXPORTER": value for name, value in otel.items()}
    variables |= {"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": ".*"}
    process = Process(kind, folder, start=one_stream, variables=variables, **given)
    found = wait_until(lambda: re.search(r"Candor (?:serves|monitors) on (\S+)", process.log()))
    try:
        yield Running(found[1], process.log_file)
    finally:
        process.end()


def one_stream(command: Sequence[str], **options: Any) -> "subprocess.Popen[str]":
    """A process whose output is in its log too."""
    return subprocess.Popen(command, **options | {"stdout": options["stderr"]})


def provoke(process: Running) -> None:
    """Ask for everything, with and without a token, and for what is refused."""
    for path in (*PATHS, *OF_MODEL):
        for headers in (BEARER, {}):
            process.ask("GET", path, headers=headers)
    for scheme in (f"Bearer {MARK}-wrong", f"Basic {MARK}"):
        process.ask("GET", "/metrics", headers={"Authorization": scheme})
    process.ask("GET", "/reports", headers={"Authorization": f"Bearer {READER}"})
    process.ask("POST", "/feedback", headers={"Authorization": f"Bearer {READER}"}, json={})
    process.ask("POST", "/predictions/tiny", headers=BEARER, content=png())
    process.ask("POST", "/predictions/tiny", headers=BEARER, content=b"no image")
    process.ask("POST", "/feedback", headers=BEARER, json={"prediction_id": "x", "label": "y"})
    process.ask("POST", "/models/tiny/report/reset", headers=BEARER, json={"note": "a note"})
    process.ask("POST", "/v2/models/tiny/infer", headers=BEARER, json={})
    process.ask("OPTIONS", "/predictions/tiny", headers=BEARER)
    process.ask("POST", "/feedback", headers=BEARER | {"Origin": "http://elsewhere"}, json={})
    raw = http.client.HTTPConnection(
        "127.0.0.1", int(process.url.rsplit(":", 1)[1]), timeout=PATIENCE_S
    )
    raw.putrequest("GET", f"/no/such/path?token={'x' * 70_000}", skip_host=True)
    raw.putheader("Authorization", f"Bearer {TOKEN}")
    raw.endheaders()
    process.said.append(raw.getresponse().read().decode())
    raw.close()


@pytest.mark.parametrize("kind", ["serve", pytest.param("monitor", marks=pytest.mark.nightly)])
def test_nothing_that_a_running_process_gives_out_shows_a_secret(
    kind: str, postgres: Cluster, tiny_store: Store, tmp_path: Path
) -> None:
    plain = postgres.make_database()
    ledger = plain.replace("candor@", f"candor:{MARK}@") + f"?password={MARK}"
    traces = "true" if importlib.util.find_spec("opentelemetry") else "false"
    with running(kind, tiny_store, ledger, tmp_path, traces=traces) as process:
        if kind == "serve":
            wait_until(lambda: httpx.get(f"{process.url}/readyz").status_code == 200)
        provoke(process)
        postgres.kill()
        try:
            provoke(process)
            away = process.ask("GET", "/reports", headers=BEARER)
            assert away.status_code == 503, away.text
        finally:
            postgres.start()
        process.say_nothing_secret()
    if traces == "true":  # one per request and more, with all headers
        told = (tmp_path / f"{kind}.log").read_text()
        assert "trace_id" in told
        assert "http.request.header.authorization" in told
