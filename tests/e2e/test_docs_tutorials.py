"""The tutorials, run as they stand: every command succeeds, and the ledger then shows what the page says."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model_store.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
PRINTED = "8080"
SENDING = re.compile(r"^candor (feedback|predictions) ", re.MULTILINE)


def script(page: str, port: int) -> str:
    """The bash and Python blocks of the page, in their order, as one shell script; servers end with it."""
    parts = ["trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for language, title, body in re.findall(r'^```(bash|python)(?: title="(.*?)")?\n(.*?)^```$', page, re.M | re.S):
        start = "" if language == "bash" else f"cat > {title} <<'PYTHON'\n" if title else "python - <<'PYTHON'\n"
        parts.append(start + body + ("PYTHON" if start else ""))
    whole = "\n".join(parts).replace(PRINTED, str(port))
    return SENDING.sub(rf"candor \1 --url http://127.0.0.1:{port} ", whole)  # their default is the printed port


def run(name: str, folder: Path) -> str:
    """Run a tutorial in `folder` with a free port; returns what it printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CANDOR_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["PYTHONPATH"] = str(TUTORIALS.parents[1])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script((TUTORIALS / name).read_text(), port)],
        cwd=folder,
        env=environment | {"HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def report(folder: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "candor", "report", *arguments, "--json"]
    environment = os.environ | {"PYTHONPATH": str(TUTORIALS.parents[1])}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_loop_is_closed(tmp_path: Path) -> None:
    printed = run("close-the-loop.md", tmp_path)
    drifted, elsewhere, later = (
        report(tmp_path, "digits", *chosen)
        for chosen in (("--version", "1"), ("--version", "1", "--window", "last:359"), ("--version", "2"))
    )
    assert (drifted["drift"]["active"], drifted["drift"]["direction"]) == (True, "over")
    assert drifted["drift"]["alarm_label"] > 359, "no alarm on the images of the place that the model was made for"
    assert later["measures"]["ece"] < elsewhere["measures"]["ece"]
    assert "recalibrate digits" in printed
    assert Store(tmp_path / "model_store/models").production("digits") == 1


def test_a_foreign_model_comes_in_and_is_watched(tmp_path: Path) -> None:
    printed = run("import-a-model.md", tmp_path)
    assert "a fixed batch of 1; served in batches" in printed
    assert "its last operator is cut off" in printed
    assert "  preprocessing mnist (0 to 1, minus 0.1307, divided by 0.3081)" in printed
    card = json.loads((tmp_path / "model_store/models/digits/1/card.json").read_text())
    assert card["calibration"]["temperature"] != 1
    assert card["calibration"]["measures"]["n"] == 399  # the halves are rounded by class
    assert card["calibration"]["measures"]["accuracy"] > 0.85
    found = report(tmp_path, "digits")
    assert found["measures"]["n"] == 597
    assert found["drift"]["labels"] == 597


def test_another_model_is_watched(tmp_path: Path) -> None:
    run("watch-another-model.md", tmp_path)
    found = report(tmp_path, "retina")
    (alarm,) = (event["detail"] for event in found["history"] if event["kind"] == "alarm")
    assert alarm["direction"] == "over"
    assert alarm["since"]["lower"] <= 1_500 <= alarm["since"]["upper"]
    assert not found["drift"]["active"], "it was acknowledged"
    assert "All these labels came before the alarm was acknowledged on" in found["verdict"]


def test_predictions_are_calibrated(tmp_path: Path) -> None:
    run("calibrate-predictions.md", tmp_path)
    found = json.loads((tmp_path / "calibrated/report.json").read_text())
    assert (found["standing"], found["groups"], found["calibrator"]["method"]) == ("overconfident", 400, "temperature")
    page = (TUTORIALS / "calibrate-predictions.md").read_text()
    flat = " ".join(page.split())
    for sentence in (found["verdict"], found["calibrator_sentence"]):
        assert sentence in flat, "the page prints what the command says"
    example = re.findall(
        r"^```python\n(.*?)^```$", (TUTORIALS.parent / "reference/calibrator.md").read_text(), re.M | re.S
    )
    shown = subprocess.run([sys.executable, "-c", example[0]], capture_output=True, text=True, check=True)
    assert shown.stdout == "[[0.25 0.75]]\n"
