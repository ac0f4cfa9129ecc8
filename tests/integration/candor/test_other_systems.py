"""The command line on other systems, as far as Linux can pretend."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from model_store.store.store import Store
from serving.client import Client
from tests.builders.bundles import jpeg
from tests.builders.processes import child_pids, runs, wait_until

ROOT = Path(__file__).parents[3]
START = "from candor.__main__ import main; sys.argv[0] = 'candor'; main()"
# The platform is another one only once the standard library is loaded, which asks for it too.
WINDOWS = (
    "import os; sys.modules |= dict.fromkeys(('fcntl', 'resource', 'uvloop')); "
    "del os.sched_getaffinity; import asyncio, candor.command_line, subprocess, zoneinfo; "
    f"sys.platform = 'win32'; {START}"
)
# Without what macOS has not, and with the limits that Linux enforces switched off.
MAC = (
    "import mmap, os; del os.sched_getaffinity, os.memfd_create, os.fdatasync, "
    "os.posix_fallocate, mmap.MADV_REMOVE; "
    f"import model_store.kernel; model_store.kernel.ENFORCES = False; {START}"
)
TABLE = "label,p_a,p_b\n" + "a,0.8,0.2\nb,0.3,0.7\na,0.4,0.6\nb,0.6,0.4\na,0.9,0.1\n" * 20


def command(program: str, *arguments: str) -> list[str]:
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    return [sys.executable, "-c", path + program, *arguments]


def run(program: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(program, *arguments), cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.nightly
def test_predictions_are_calibrated_on_a_mac(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text(TABLE)
    done = run(MAC, "calibrate", "predictions.csv", "--out", "calibrated", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


@pytest.mark.parametrize("verb", ["models", "serve"])
def test_windows_gets_one_sentence(tmp_path: Path, verb: str) -> None:
    done = run(WINDOWS, verb, folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "WSL 2" in line


def test_a_mac_serves_says_that_bounds_are_weaker_and_leaves_no_process(
    tiny_store: Store, tmp_path: Path
) -> None:
    options = ["--port", "0", "--store", str(tiny_store.root), "--ledger", "sqlite:///ledger.db"]
    environment = os.environ | {"CANDOR_SPOOL_LIMIT_BYTES": "65536"}  # with a spool
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            command(MAC, "serve", *options),
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        with Client(server.stdout.readline().split()[-1]) as client:
            wait_until(client.ready)
            assert client.predict(jpeg(size=(600, 600)), model="tiny")["version"] == 1
        below = child_pids(server.pid)
        assert below
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
        server.stdout.close()
    wait_until(lambda: not any(map(runs, below)))
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert sum("bounds are weaker" in line["message"] for line in lines) == 1
