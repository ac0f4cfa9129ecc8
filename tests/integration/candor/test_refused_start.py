"""A start that is refused for its address says what to choose, and leaves no ledger behind."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.builders.processes import PATIENCE_S


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def refusal(folder: Path, verb: str, settings: Mapping[str, str]) -> str:
    """What a refused start in an empty folder says; it leaves the folder empty."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CANDOR_")}
    command = [sys.executable, "-m", "candor", verb]
    ended = subprocess.run(
        command,
        env=environment | settings,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr
    assert list(folder.iterdir()) == []
    return " ".join(ended.stderr.split())


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    for verb, host in (("serve", "300.1.1.1"), ("monitor", "192.0.2.1")):
        said = refusal(tmp_path, verb, {"CANDOR_HOST": host, "CANDOR_PORT": "0"})
        assert f"cannot listen on {host}:0:" in said
        assert said.endswith("Choose an address of this machine with --host or CANDOR_HOST.")


@pytest.mark.parametrize("verb", ["serve", "monitor"])
def test_a_port_that_is_taken(verb: str, taken: int, tmp_path: Path) -> None:
    said = refusal(tmp_path, verb, {"CANDOR_PORT": str(taken)})
    assert said.endswith(
        "Is another server running there? Choose another port with --port or CANDOR_PORT."
    )
