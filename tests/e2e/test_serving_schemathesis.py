"""Requests made up by schemathesis from the OpenAPI document: never a 5xx, never an answer off its
schema.

Its `coverage` phase is left out: on Python 3.11 it ends in an error of its own ("AST constructor
recursion depth mismatch").
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from model_store.store.store import Store
from tests.builders.servers import Start

pytestmark = pytest.mark.nightly

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "8"))


def test_no_made_up_request_finds_an_error_of_ours(
    start: Start, tiny_store: Store, tmp_path: Path
) -> None:
    server = start(tiny_store, body_timeout_s="1")
    run = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"{server.url}/openapi.json",
        "--checks",
        CHECKS,
    ]
    run += [
        "--max-examples",
        str(EXAMPLES),
        "--seed",
        "1",
        "--phases",
        "examples,fuzzing",
        "--workers",
        "2",
    ]
    run += ["--no-color", "--warnings", "off", "--suppress-health-check", "all"]
    hooks = {
        "SCHEMATHESIS_HOOKS": "tests.e2e.schemathesis_hooks",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, env=os.environ | hooks)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    server.signal(signal.SIGTERM)
    assert server.exit_code() == 0
    assert '"trace"' not in server.log()
