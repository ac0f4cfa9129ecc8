"""The start of a server: it shows no secret, Kubernetes' links do no harm, TLS is whole."""

import json
import platform
import sys
from pathlib import Path

import pytest

from model_store.installation import release
from model_store.store.store import Store
from tests.builders.processes import CANDOR, Process, candor

MARK = "s3cr3t-m4rk"
TOKEN = f"{MARK}-{'x' * 16}"
HASTY = [  # waits for no database
    *(sys.executable, "-c"),
    "from candor.command_line import main; from console import monitor; "
    "monitor.LEDGER_WAIT_S = 0.1; main()",
]
POSTGRES = f"postgresql+psycopg://user:{MARK}@127.0.0.1:1/db"
# What a start is given: it is refused, and each has a secret.
REFUSED: dict[str, dict[str, str]] = {
    "an unknown variable": {"CANDOR_TOKEN": TOKEN, "CANDOR_LEDGER": POSTGRES},
    "an invalid value": {"CANDOR_DEADLINE_S": "x", "CANDOR_LEDGER": POSTGRES},
    "a ledger in the wrong place": {"CANDOR_SPOOL_LIMIT_BYTES": POSTGRES},
    "a token in the wrong place": {"CANDOR_PORT": f"{TOKEN} admin token"},
    "a database that is away": {"CANDOR_LEDGER": POSTGRES},
    "a password in the query": {
        "CANDOR_LEDGER": f"postgresql+psycopg://user@127.0.0.1:1/db?password={MARK}"
    },
    "an option that the driver repeats": {
        "CANDOR_LEDGER": f"postgresql+psycopg://user@127.0.0.1:1/db?sslmode={MARK}"
    },
    "a libpq string": {"CANDOR_LEDGER": f"host=127.0.0.1 port=1 user=user password={MARK}"},
    "an @ in the password": {"CANDOR_LEDGER": f"postgresql+psycopg://user:a@{MARK}@127.0.0.1:1/db"},
    "a port that is no number": {"CANDOR_LEDGER": f"postgresql+psycopg://u:{MARK}@h:port/db"},
    "another database": {"CANDOR_LEDGER": f"mysql://user:{MARK}@127.0.0.1/db"},
    "a file with a password": {"CANDOR_LEDGER": f"sqlite:////no/such/x.db?password={MARK}"},
    "a token without a scope": {"CANDOR_TOKENS": TOKEN},
    "a token with a wrong scope": {"CANDOR_TOKENS": f"{TOKEN} {MARK}"},
    "a short token": {"CANDOR_TOKENS": f"{MARK} admin"},
    "a missing certificate": {"CANDOR_TLS_CERTIFICATE": "missing", "CANDOR_LEDGER": POSTGRES},
    "two ledgers": {"CANDOR_LEDGER": POSTGRES, "CANDOR_LEDGER_FILE": "ledger.url"},
    "a list that is none": {"CANDOR_HOSTS": "[1", "CANDOR_LEDGER": POSTGRES},
}


@pytest.mark.nightly
@pytest.mark.parametrize("name", REFUSED)
def test_a_start_that_fails_shows_no_secret(name: str, tmp_path: Path) -> None:
    variables = {"CANDOR_STORE": str(tmp_path), "CANDOR_PORT": "0"}
    ended = candor("serve", folder=tmp_path, program=HASTY, **variables | REFUSED[name])
    told = ended.stdout + ended.stderr
    assert MARK not in told
    assert "Traceback" not in told
    assert (ended.returncode, ended.stdout) == (1, ""), told
    assert ended.stderr


LINKS = {  # of the Services `candor` and `candor-monitor`
    "port": "tcp://10.0.0.1:8080",
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


def test_a_pod_beside_services_of_its_own_name_starts_and_names_its_release(
    tiny_store: Store, tmp_path: Path
) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    links = {f"CANDOR_{name.upper()}": value for name, value in LINKS.items()}
    command = [*CANDOR, "serve", "--port", "0", "--store", tiny_store.root, "--ledger", ledger]
    pod = Process("serve", tmp_path, command=command, variables=links)
    try:
        assert pod.url
        (told,) = [line for line in pod.log().splitlines() if "Kubernetes" in line]
        assert json.loads(told)["names"] == sorted(links)
        own = f'candor_build_info{{python="{platform.python_version()}",version="{release()}"}} 1.0'
        assert own in pod.client.get("/metrics").text.splitlines()
    finally:
        pod.stop()
