"""Requests made up by schemathesis from the OpenAPI document: never a 5xx, never an answer off its schema.

Its `coverage` phase is left out: on Python 3.11 it ends in an error of its own ("AST constructor recursion depth
mismatch").
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store.store import Store

pytestmark = pytest.mark.e2e

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "8"))


@pytest.fixture
def url(tiny_store: Store, tmp_path: Path) -> Iterator[str]:
    """Address of a server that must end well and never log a trace."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")} | {
        "CANDOR_PORT": "0",
        "CANDOR_STORE": str(tiny_store.root),
        "CANDOR_LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}",
        "CANDOR_REFUSAL_HOLD_S": "0",
        "CANDOR_BODY_TIMEOUT_S": "1",
    }
    log = tmp_path / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "candor", "serve"], env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    assert process.stdout is not None
    yield process.stdout.readline().split()[-1]
    process.terminate()
    assert process.wait(30) == 0
    process.stdout.close()
    assert '"trace"' not in log.read_text()


def test_no_made_up_request_finds_an_error_of_ours(url: str, tmp_path: Path) -> None:
    run = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--checks", CHECKS]
    run += ["--max-examples", str(EXAMPLES), "--seed", "1", "--phases", "examples,fuzzing", "--workers", "2"]
    run += ["--no-color", "--warnings", "off", "--suppress-health-check", "all"]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
