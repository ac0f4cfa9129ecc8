"""`candor doctor`, `candor health` and `candor config show`, sound and broken."""

import http.server
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hosting import steps
from hosting.settings import Settings
from model_store.store.store import Store
from monitoring.ledger import Ledger
from monitoring.ledger.predictions import set_used
from serving import doctor
from tests.builders.processes import candor_here, free_port


@pytest.fixture
def installation(
    tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """`installation(port=…)`: sets variables on a sound installation, returns the diagnoses."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CANDOR_{name.upper()}", raising=False)
    monkeypatch.setenv("CANDOR_STORE", str(tiny_store.root))
    monkeypatch.setenv("CANDOR_LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")
    monkeypatch.setenv("CANDOR_PORT", str(free_port()))

    def examine(**settings: str) -> dict[str, tuple[str, str]]:
        for name, value in settings.items():
            monkeypatch.setenv(f"CANDOR_{name.upper()}", value)
        done = candor_here("doctor", "--json")
        found = json.loads(done.stdout)
        states = [each["state"] for each in found]
        assert done.exit_code == ("broken" in states)
        assert all(
            (each["advice"] is None) == (each["state"] in ("ok", "skipped")) for each in found
        )
        worst = sorted(
            found, key=lambda each: ["skipped", "ok", "warning", "broken"].index(each["state"])
        )
        return {
            each["check"]: (each["state"], f"{each['found']} | {each['advice']}") for each in worst
        }

    return examine


def test_a_sound_installation_has_nothing_broken(
    installation: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "landlock_version", lambda: steps.SCOPE_VERSION)
    found = installation()
    assert {
        check: state for check, (state, _) in found.items() if state not in ("ok", "skipped")
    } == {}
    assert set(found) >= {
        "python",
        "packages",
        "settings",
        "onnx runtime",
        "store",
        "bundles",
        "ledger",
        "port",
        "access",
    }
    assert "CPUExecutionProvider" in found["onnx runtime"][1]
    assert "does not exist yet" in found["ledger"][1]
    assert found["clock"][0] == "ok", "the clock is looked at before there is a ledger, too"
    assert not (tmp_path / "ledger.db").exists()
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}"):
        pass
    after = installation()
    assert after["ledger"][0] == after["clock"][0] == "ok"
    lines = candor_here("doctor").stdout.splitlines()
    assert all(line.split()[0] in ("ok", "skipped") for line in lines)


@pytest.mark.parametrize(
    ("version", "state"), [(0, "warning"), (4, "warning"), (6, "ok"), (9, "ok")]
)
def test_a_kernel_that_cannot_confine_decoding_is_named(
    installation: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, version: int, state: str
) -> None:
    monkeypatch.setattr(steps, "landlock_version", lambda: version)
    assert installation()["confinement"][0] == state


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        ({"max_bathc": "8"}, "settings"),
        ({"port": "http"}, "settings"),
        ({"store": "/nowhere"}, "store"),
        ({"require_signature": "/nowhere/key.pem"}, "store"),
        ({"ledger": "sqlite:////nowhere/x.db"}, "ledger"),
        ({"ledger": "sqlite:////dev/null"}, "ledger"),
        ({"ledger": "mysql://x/y"}, "ledger"),
        ({"ledger": "postgresql+psycopg://me@127.0.0.1:1/x"}, "ledger"),
        ({"tokens_file": "/nowhere/my tokens"}, "access"),
        ({"tokens": "short admin"}, "access"),
        ({"tls_certificate": "/nowhere"}, "access"),
        ({"spool_limit_bytes": "65536", "spool": "/nowhere/spool"}, "permissions"),
    ],
)
def test_each_fault_is_found_where_it_is(
    installation: Callable[..., Any], settings: dict[str, str], check: str
) -> None:
    state = "warning" if "device" in settings else "broken"  # it infers on the CPU
    assert installation(**settings)[check][0] == state


def test_a_bundle_that_was_altered_is_named(
    installation: Callable[..., Any], tiny_store: Store
) -> None:
    file = tiny_store.folder("tiny", 1) / "model.onnx"
    file.write_bytes(file.read_bytes() + b"x")
    state, found = installation()["bundles"]
    assert (state, "tiny: version 1: " in found) == ("broken", True)


def test_a_clock_behind_the_ledger_is_broken(
    installation: Callable[..., Any], tmp_path: Path
) -> None:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger, ledger.write() as connection:
        set_used(connection, time.time_ns() + 7_200 * 10**9)
    state, found = installation()["clock"]
    assert (state, "the ledger was last in use at" in found) == ("broken", True)


def test_a_port_in_use_and_open_files_are_told(
    installation: Callable[..., Any], tmp_path: Path
) -> None:
    token = tmp_path / "tokens"
    token.write_text("a-token-of-sixteen-letters admin\n")
    token.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        found = installation(port=str(stranger.getsockname()[1]), tokens_file=str(token))
    assert found["port"][0] == "broken"
    assert f"chmod 600 {token}" in found["permissions"][1]
    found = installation(port=str(free_port()), host="0.0.0.0")
    assert found["access"][0] == "ok"
    os.environ.pop("CANDOR_TOKENS_FILE")
    assert installation(host="0.0.0.0")["access"][0] == "warning"


def test_a_package_that_is_too_old_or_missing_is_named(
    installation: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        doctor, "requires", lambda _: ["numpy>=999", "no-such-package", "torch; extra == 'train'"]
    )
    state, found = installation()["packages"]
    assert state == "broken"
    assert "Candor needs >=999; no-such-package is missing" in found
    assert "pip install 'numpy>=999' 'no-such-package'" in found


def test_every_setting_is_shown_with_its_source_and_meaning(
    installation: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql+psycopg://me:a-secret-password@db/x")
    monkeypatch.delenv("CANDOR_LEDGER")
    monkeypatch.setenv("CANDOR_LEDGER_FILE", str(file))
    shown = json.loads(candor_here("config", "show", "--json").stdout)
    assert [each["variable"] for each in shown] == [
        f"CANDOR_{name.upper()}" for name in Settings.model_fields
    ]
    rows = {each["variable"]: each for each in shown}
    assert rows["CANDOR_LEDGER"]["value"] == "postgresql+psycopg://***@db/x"
    assert rows["CANDOR_LEDGER"]["source"] == str(file)
    assert (rows["CANDOR_STORE"]["source"], rows["CANDOR_THREADS"]["source"]) == (
        "environment",
        "default",
    )
    assert all(each["meaning"] for each in shown)
    changed = json.loads(candor_here("config", "show", "--changed", "--json").stdout)
    assert {each["variable"] for each in changed} == {
        *("CANDOR_STORE", "CANDOR_PORT", "CANDOR_LEDGER", "CANDOR_LEDGER_FILE")
    }


class Alive(http.server.BaseHTTPRequestHandler):
    """Alive, not ready."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()
        self.wfile.write(b'{"status": "alive"}')

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def alive() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Alive) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_health_asks_where_the_settings_say(installation: Callable[..., Any], alive: int) -> None:
    found = installation(port=str(alive), host="0.0.0.0")
    assert f"Candor answers at 0.0.0.0:{alive}" in found["port"][1]
    said = candor_here("health")
    assert (said.exit_code, said.stdout) == (0, f"http://127.0.0.1:{alive}/healthz: alive\n")
    ready = candor_here("health", "--ready")
    assert (ready.exit_code, "503" in ready.stderr) == (1, True)


def test_a_store_at_an_address_is_not_said_to_be_writable(installation: Callable[..., Any]) -> None:
    assert "only a write shows" in installation(store="memory://doctor/models")["store"][1]
    state, found = installation(store="https://bucket.example/models")["store"]
    assert (state, "can neither list nor write" in found) == ("broken", True)
