"""The commands that README.md gives to be typed by hand, run exactly as they are printed, in their order.

They name port 8080. So they run in a network of their own if this machine allows one; elsewhere, the port is replaced.
"""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

README = Path(__file__).parents[2] / "README.md"
INSTALLING = ("python3 -m venv", "pip install")
PAUSE = "until curl -sf URL/readyz >/dev/null; do sleep 0.2; done"  # who types takes longer than a server's start
ALONE = ["unshare", "--net", "--map-root-user", "bash", "-c", 'ip link set lo up && exec "$@"', "alone"]


def commands() -> list[str]:
    """The lines of the block after "By hand", without installing."""
    _, by_hand = README.read_text().split("## By hand")
    block = re.findall(r"^    (.*)$", by_hand.split("## Read on")[0], re.MULTILINE)
    return [line for line in block if not line.startswith(INSTALLING)]


def test_the_commands_of_the_readme_work_as_printed(tmp_path: Path, png: Callable[..., bytes]) -> None:
    script = "\n".join(f"{line}\n{PAUSE}" if "&  " in f"{line}  " else line for line in commands())
    assert script.count("candor serve") == script.count(PAUSE) == 1
    port, prefix = _port_and_prefix()
    (tmp_path / "scan.png").write_bytes(png())
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CANDOR_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    script = "trap 'kill $(jobs -p)' EXIT\n" + script.replace("URL", "http://127.0.0.1:8080").replace("8080", port)
    done = subprocess.run(
        [*prefix, "bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment | {"HOME": str(tmp_path), "PYTHONPATH": str(README.parent)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "\n  request id     scan.png\n" in done.stdout
    assert "\naccepted: 1\n" in done.stdout
    assert "1 of 1 answer has a label" in done.stdout
    assert (tmp_path / "model_store/models/digits/production").read_text().strip() == "2"
    assert "<html" in (tmp_path / "report.html").read_text()


def _port_and_prefix() -> tuple[str, list[str]]:
    """The port of the server, and the command that runs another in a network where 8080 is free."""
    try:
        if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0:
            return "8080", ALONE
    except FileNotFoundError:
        pass
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1]), []
