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

from model_store.store import Store
from tests.builders.foreign import color_weights, foreign_onnx, labeled_folder, linear

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
    (tmp_path / "scan.png").write_bytes(png())
    done = _run(script, tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "\n  request id     scan.png\n" in done.stdout
    assert "\naccepted: 1\n" in done.stdout
    assert "1 of 1 answer has a label" in done.stdout
    assert Store(tmp_path / "model_store/models").production("digits") == 2
    assert "<html" in (tmp_path / "report.html").read_text()


def test_a_foreign_model_comes_in_with_five_commands(tmp_path: Path) -> None:
    _, after = README.read_text().split("**You have a model?**")
    lines = re.findall(r"^    (.*)$", after.split("\n- **")[0], re.MULTILINE)
    assert len(lines) == 5
    foreign_onnx(tmp_path / "classifier.onnx", linear("Softmax"), constants={"weights": color_weights()})
    labeled_folder(tmp_path / "labeled", images=40)
    labels = ["file,label"]
    for image in sorted(labeled_folder(tmp_path / "others").rglob("*.png")):
        (tmp_path / "new").mkdir(exist_ok=True)
        image.rename(tmp_path / "new" / f"{image.parent.name}_{image.name}")
        labels.append(f"{image.parent.name}_{image.name},{image.parent.name}")
    (tmp_path / "labels.csv").write_text("\n".join(labels) + "\n")
    script = "\n".join(f"{line}\n{PAUSE}" if "serve &" in line else line for line in lines)
    done = _run(script, tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "\naccepted: 36\n" in done.stdout
    assert "36 of 36 answers have a label" in done.stdout
    assert "Drift detector: no alarm, 36 labels" in done.stdout


def _run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the commands as printed, and end the server after them."""
    port, prefix = _port_and_prefix()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CANDOR_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    script = "trap 'kill $(jobs -p)' EXIT\n" + script.replace("URL", "http://127.0.0.1:8080").replace("8080", port)
    return subprocess.run(
        [*prefix, "bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment | {"HOME": str(folder), "PYTHONPATH": str(README.parent)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


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
