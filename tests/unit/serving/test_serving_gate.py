"""Tokens: what each scope opens, what is refused and how, and that no sentence gives a token away."""

from pathlib import Path

import pytest

from serving.errors import Forbidden, SettingsError, Unauthorized
from serving.http.auth import Gate, read_gate

PREDICT, READ, ADMIN = "p" * 32, "r" * 32, "a" * 32
TEXT = f"{PREDICT} predict,feedback; {READ} read;{ADMIN} admin"


def ask(gate: Gate, method: str, path: str, token: str | None, kind: str = "Bearer") -> None:
    headers = [] if token is None else [(b"authorization", f"{kind} {token}".encode())]
    gate.check({"type": "http", "method": method, "path": path, "headers": headers})


ALLOWED = [
    (PREDICT, "POST", "/predictions/m"),
    (PREDICT, "POST", "/predictions/m/3"),
    (PREDICT, "POST", "/v2/models/m/infer"),
    (PREDICT, "POST", "/feedback"),
    (READ, "GET", "/metrics"),
    (READ, "GET", "/calibration/m"),
    (READ, "GET", "/v2/models/m"),
]


@pytest.mark.parametrize(("token", "method", "path"), ALLOWED)
def test_a_scope_opens_its_own_and_admin_everything(token: str, method: str, path: str) -> None:
    gate = read_gate(TEXT, None)
    ask(gate, method, path, token)
    ask(gate, method, path, token, kind="bearer")
    ask(gate, method, path, ADMIN)
    with pytest.raises(Forbidden):
        ask(gate, method, path, READ if token == PREDICT else PREDICT)
    for unknown in (None, "", "x" * 32, token[:-1], token + token):
        with pytest.raises(Unauthorized):
            ask(gate, method, path, unknown)
    with pytest.raises(Unauthorized):
        ask(gate, method, path, token, kind="Basic")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/calibration/m/acknowledge"), ("POST", "/unknown"), ("PUT", "/x")]
)
def test_what_changes_anything_else_needs_admin(method: str, path: str) -> None:
    ask(read_gate(TEXT, None), method, path, ADMIN)
    for token in (READ, PREDICT):
        with pytest.raises(Forbidden):
            ask(read_gate(TEXT, None), method, path, token)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready"])
def test_health_needs_no_token(path: str) -> None:
    ask(read_gate(TEXT, None), "GET", path, None)


def test_without_tokens_all_is_open() -> None:
    ask(read_gate(None, None), "POST", "/calibration/m/acknowledge", None)


def test_a_file_may_have_comments_and_adds_to_the_text(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# the gateway\n\n{READ} read\n")
    gate = read_gate(f"{PREDICT} predict", file)
    ask(gate, "GET", "/metrics", READ)
    ask(gate, "POST", "/predictions/m", PREDICT)


@pytest.mark.parametrize(
    "text", ["", ";", "short read", f"{READ}", f"{READ} write", f"{READ} read extra", f"{READ} read,"]
)
def test_bad_tokens_stop_the_start_and_are_not_told(text: str, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(text)
    with pytest.raises(SettingsError) as told:
        read_gate(None, file)
    assert READ not in str(told.value)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_gate(None, tmp_path / "missing")
