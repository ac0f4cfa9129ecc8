"""The command line on other systems, as far as Linux can pretend."""

import subprocess
import sys
from pathlib import Path

import pytest

from candor.command_line import UNIX_MODULES

pytestmark = pytest.mark.nightly

ROOT = Path(__file__).parents[3]
START = "from candor.__main__ import main; sys.argv[0] = 'candor'; main()"
WITHOUT = f"import os; sys.modules |= dict.fromkeys({UNIX_MODULES}); del os.sched_getaffinity; "
# The platform is another one only once the standard library is loaded, which asks for it too.
WINDOWS = (
    f"{WITHOUT}import asyncio, candor.command_line, subprocess, zoneinfo; sys.platform = 'win32'; "
    f"{START}"
)
MAC = (
    "import os, serving.process.server, zoneinfo; del os.sched_getaffinity; sys.platform = "
    f"'darwin'; {START}"
)
TABLE = "label,p_a,p_b\n" + "a,0.8,0.2\nb,0.3,0.7\na,0.4,0.6\nb,0.6,0.4\na,0.9,0.1\n" * 20


def run(program: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); {program}",
        *arguments,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_predictions_are_calibrated_without_linux(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text(TABLE)
    done = run(MAC, "calibrate", "predictions.csv", "--out", "calibrated", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


@pytest.mark.parametrize("command", ["models", "doctor", "serve"])
def test_without_unix_a_sentence_says_what_is_missing(tmp_path: Path, command: str) -> None:
    done = run(WINDOWS, command, folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("candor: this command needs Linux, and this system is win32 (")


@pytest.mark.parametrize("command", ["serve", "monitor"])
def test_a_server_wants_the_limits_of_linux(tmp_path: Path, command: str) -> None:
    done = run(MAC, command, folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"candor: candor {command} needs Linux, and this system is darwin")
