"""The commands that README.md gives to be typed by hand, run in their order."""

import json
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
READY = "until curl -sf URL/readyz >/dev/null; do sleep 0.2; done"


def commands() -> list[str]:
    """The lines of the block after "By hand", without installing."""
    _, by_hand = README.read_text().split("## By hand")
    block = re.findall(r"^    (.*?)(?: +#.*)?$", by_hand.split("## Read on")[0], re.MULTILINE)
    return [line for line in block if not line.startswith(INSTALLING)]


def test_the_commands_of_the_readme_work(tmp_path: Path, png: Callable[..., bytes]) -> None:
    assert [line for line in commands() if line.startswith("candor serve")]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "scan.png").write_bytes(png())
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CANDOR_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    lines = ["trap 'kill $(jobs -p)' EXIT"]
    for line in commands():
        line = line.replace("train digits", "train digits --epochs 2").replace("8080", url.rsplit(":", 1)[1])
        if line.startswith("candor predict "):
            line = f"{line} | tee answer.json"
        if line.startswith("candor feedback "):
            found = '$(python -c \'import json; print(json.load(open("answer.json"))[0]["prediction_id"])\')'
            line = f"{line.replace('ID', found)} --url {url}"
        lines.append(line)
        if line.endswith("&"):
            lines.append(READY.replace("URL", url))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        cwd=tmp_path,
        env=environment | {"HOME": str(tmp_path), "PYTHONPATH": str(README.parent)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "accepted" in done.stdout
    assert json.loads((tmp_path / "answer.json").read_text())
    assert (tmp_path / "model_store/models/digits/production").read_text().strip() == "2"
    assert "<html" in (tmp_path / "report.html").read_text()
