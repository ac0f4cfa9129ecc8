"""Unit tests start no process, open no socket or database, and do not sleep."""

import sys
import time
from typing import Any, NoReturn

import pytest

REFUSED = {
    "os.exec": "starts a process",
    "os.fork": "starts a process",
    "os.posix_spawn": "starts a process",
    "os.system": "starts a process",
    "subprocess.Popen": "starts a process",
    "socket.bind": "opens a socket",
    "socket.connect": "opens a socket",
    "socket.getaddrinfo": "asks the network",
    "sqlite3.connect": "opens a database",
}
_running: list[str] = []


def _refuse(event: str, _: tuple[Any, ...]) -> None:
    if _running and event in REFUSED:
        raise PermissionError(
            f"{_running[-1]} {REFUSED[event]} ({event}): move it to tests/integration or tests/e2e"
        )


sys.addaudithook(_refuse)  # cannot be removed, so it looks whether a unit test is running


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(time, "sleep", _no_sleep)
    _running.append(request.node.nodeid)
    yield
    _running.pop()


def _no_sleep(seconds: float) -> NoReturn:
    raise AssertionError(
        f"a unit test does not sleep ({seconds} s): wait for a condition, or move it"
    )
