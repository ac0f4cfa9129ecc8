"""The start of a server: no output shows a secret, what Kubernetes injects does no harm, and TLS is
all or nothing.
"""

import json
import os
import platform
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
import pytest
from open_inference.grpc import protocol, service

from model_store.installation import release
from model_store.store.store import Store
from tests.builders.processes import PATIENCE_S
from tests.builders.servers import Server

pytestmark = pytest.mark.e2e

MARK = "s3cr3t-m4rk"
TOKEN = f"{MARK}-{'x' * 16}"
POSTGRES = f"postgresql+psycopg://user:{MARK}@127.0.0.1:1/db"
# What each start is given, all of it with a secret, and what the refusal says.
REFUSED = {
    "an unknown variable": (
        {"CANDOR_TOKEN": TOKEN, "CANDOR_LEDGER": POSTGRES, "CANDOR_TOKENS": f"{TOKEN} admin"},
        "CANDOR_TOKEN is set in the environment but is not a setting",
    ),
    "an invalid value": (
        {"CANDOR_DEADLINE_S": "x", "CANDOR_LEDGER": POSTGRES, "CANDOR_TOKENS": f"{TOKEN} admin"},
        "setting deadline_s (CANDOR_DEADLINE_S): got 'x'",
    ),
    "a secret in the wrong place": (
        {"CANDOR_LEDGER_REQUIRED": POSTGRES},
        "setting ledger_required",
    ),
    "a token in the wrong place": ({"CANDOR_PORT": f"{TOKEN} admin token"}, "setting port"),
    "a database that is away": ({"CANDOR_LEDGER": POSTGRES}, "cannot be opened"),
    "a password in the query": (
        {"CANDOR_LEDGER": f"postgresql+psycopg://user@127.0.0.1:1/db?password={MARK}"},
        "cannot be opened",
    ),
    "an option that the driver repeats": (
        {"CANDOR_LEDGER": f"postgresql+psycopg://user@127.0.0.1:1/db?sslmode={MARK}"},
        "cannot be opened",
    ),
    "a libpq string": (
        {"CANDOR_LEDGER": f"host=127.0.0.1 port=1 user=user password={MARK} dbname=db"},
        "is not a database URL",
    ),
    "an @ in the password": (
        {"CANDOR_LEDGER": f"postgresql+psycopg://user:a@{MARK}@127.0.0.1:1/db"},
        "more than one @",
    ),
    "a port that is no number": (
        {"CANDOR_LEDGER": f"postgresql+psycopg://u:{MARK}@h:port/db"},
        "is not a database URL",
    ),
    "another database": ({"CANDOR_LEDGER": f"mysql://user:{MARK}@127.0.0.1/db"}, "not mysql"),
    "a file with a password": (
        {"CANDOR_LEDGER": f"sqlite:////no/such/folder/x.db?password={MARK}"},
        "does not exist",
    ),
    "a token without a scope": ({"CANDOR_TOKENS": TOKEN}, "token 1: expected"),
    "a token with a wrong scope": ({"CANDOR_TOKENS": f"{TOKEN} {MARK}"}, "token 1: expected"),
    "a short token": ({"CANDOR_TOKENS": f"{MARK} admin"}, "token 1 has less than 16 characters"),
    "no token at all": (
        {"CANDOR_TOKENS": "", "CANDOR_LEDGER": POSTGRES},
        "is set but gives no token",
    ),
    "a key without a certificate": (
        {"CANDOR_TLS_KEY": "key.pem", "CANDOR_LEDGER": POSTGRES},
        "CANDOR_TLS_CERTIFICATE",
    ),
    "a missing certificate": (
        {"CANDOR_TLS_CERTIFICATE": "missing.pem", "CANDOR_LEDGER": POSTGRES},
        "cannot be read",
    ),
    "a certificate that is none": (
        {"CANDOR_TLS_CERTIFICATE": __file__, "CANDOR_LEDGER": POSTGRES},
        "private key",
    ),
    "two ledgers": (
        {"CANDOR_LEDGER": POSTGRES, "CANDOR_LEDGER_FILE": "ledger.url"},
        "are both set",
    ),
    "a list that is none": (
        {"CANDOR_HOSTS": "[1", "CANDOR_LEDGER": POSTGRES},
        "expected a JSON list",
    ),
}


@pytest.mark.nightly
@pytest.mark.parametrize("name", REFUSED)
def test_a_start_that_fails_shows_no_secret_and_says_why(name: str, tmp_path: Path) -> None:
    settings, reason = REFUSED[name]
    environment = _clean_environment() | settings
    environment |= {
        "CANDOR_LOG_LEVEL": "debug",
        "CANDOR_STORE": str(tmp_path),
        "TERM": "dumb",
        "COLUMNS": "1000",
    }
    command = [
        sys.executable,
        "-m",
        "candor",
        "serve",
        *([] if "CANDOR_PORT" in settings else ["--port", "0"]),
    ]
    ended = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S
    )
    told = ended.stdout + ended.stderr
    assert MARK not in told
    assert "Traceback" not in told
    assert (ended.returncode, ended.stdout) == (1, ""), told
    assert reason in told


LINKS = {  # of the Services `candor`, `candor-grpc` and `candor-monitor`
    "port": "tcp://10.0.0.1:8080",
    "grpc_port": "tcp://10.0.0.2:9000",
    "service_host": "10.0.0.1",
    "service_port": "8080",
    "service_port_http": "8080",
    "port_8080_tcp": "tcp://10.0.0.1:8080",
    "port_8080_tcp_proto": "tcp",
    "port_8080_tcp_port": "8080",
    "port_8080_tcp_addr": "10.0.0.1",
    "monitor_port": "tcp://10.0.0.3:8081",
    "monitor_service_host": "10.0.0.3",
    "monitor_port_8081_udp_addr": "10.0.0.3",
}


def test_a_pod_beside_services_of_its_own_name_starts(tiny_store: Store, tmp_path: Path) -> None:
    links = {f"CANDOR_{name.upper()}": value for name, value in LINKS.items()}
    given = {
        "CANDOR_STORE": str(tiny_store.root),
        "CANDOR_LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}",
    }
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "candor", "serve", "--port", "0"],
            env=_clean_environment() | links | given,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Candor serves on http://127.0.0.1:")
        told = [
            line for line in (tmp_path / "log").read_text().splitlines() if "Kubernetes" in line
        ]
        assert len(told) == 1
        assert json.loads(told[0])["names"] == sorted(links)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("verb", "says"),
    [
        ("serve", "no image is answered until there is one."),
        ("monitor", "pages cannot act on versions"),
    ],
)
def test_a_named_store_that_is_not_there_is_said_at_the_start(
    verb: str, says: str, tmp_path: Path
) -> None:
    store = tmp_path / "nope"
    given = {"CANDOR_LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "candor", verb, "--port", "0", "--store", str(store)],
            env=_clean_environment() | given,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Candor ")
        said = process.stdout.readline()
        assert said.startswith(f"There is no model store at {store} yet: {says}")
    finally:
        process.kill()
        process.communicate()


def test_its_metrics_name_the_release(start: Callable[..., Server], tiny_store: Store) -> None:
    (line,) = (line for line in start(tiny_store).metrics() if line.startswith("candor_build_info"))
    assert (
        line
        == f'candor_build_info{{python="{platform.python_version()}",version="{release()}"}} 1.0'
    )


def test_grpc_is_encrypted_wherever_https_is(
    start: Callable[..., Server], tiny_store: Store, certificate: Path
) -> None:
    server = start(tiny_store, ready=False, tls_certificate=str(certificate), grpc_port="0")
    assert server.url.startswith("https://")
    assert (
        httpx.get(
            f"{server.url}/healthz", verify=ssl.create_default_context(cafile=certificate)
        ).status_code
        == 200
    )
    settings = _clean_environment() | {
        "CANDOR_PORT": str(server.port),
        "CANDOR_TLS_CERTIFICATE": str(certificate),
    }
    asked = [sys.executable, "-m", "candor", "health"]
    health = subprocess.run(
        asked, env=settings, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert health.stdout == f"https://127.0.0.1:{server.port}/healthz: alive\n"
    address = server.grpc_address()
    live = protocol.ServerLiveRequest()
    credentials = grpc.ssl_channel_credentials(certificate.with_name("chain.pem").read_bytes())
    with grpc.secure_channel(address, credentials) as channel:
        assert service.GRPCInferenceServiceStub(channel).ServerLive(live, timeout=PATIENCE_S).live
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError):
        service.GRPCInferenceServiceStub(channel).ServerLive(live, timeout=5)


def _clean_environment() -> dict[str, str]:
    return {
        variable: value
        for variable, value in os.environ.items()
        if not variable.startswith("CANDOR_")
    }
