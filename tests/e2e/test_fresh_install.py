"""`pip install .` in a new virtual environment, as a server has it: no torch, and yet it answers and reports."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_store.store import Store
from serving.client.client import Client
from tests.builders.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a virtual environment into which Candor was installed without extras."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "--progress-bar", "off"]
    subprocess.run([*pip, ROOT], check=True)
    return folder / "bin"


@pytest.fixture
def url(environment: Path, tiny_store: Store, tmp_path: Path) -> Iterator[str]:
    command = [environment / "candor", "serve", "--port", "0", "--store", tiny_store.root]
    command += ["--ledger", f"sqlite:///{tmp_path}/ledger.db"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().split()[-1]
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE_S) == 0


def test_no_torch_came_along(environment: Path) -> None:
    found = subprocess.run([environment / "python", "-c", "import torch"], capture_output=True, text=True, check=False)
    assert "No module named 'torch'" in found.stderr


def test_serves_labels_and_reports(environment: Path, url: str, png: Callable[..., bytes], tmp_path: Path) -> None:
    with Client(url) as client:
        wait_until(client.ready)
        answer = client.predict(png(), model="tiny")
        (result,) = client.feedback([{"prediction_id": answer["prediction_id"], "label": answer["label"]}])
        assert result["status"] == "accepted"
        assert client.calibration("tiny")["coverage"] == {"served": 1, "labeled": 1, "ratio": 1.0}
    command = [environment / "candor", "report", "tiny", "--ledger", f"sqlite:///{tmp_path}/ledger.db"]
    command += ["--html", tmp_path / "report.html"]  # its templates and style sheet are package data
    report = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "1 of 1 answer has a label" in report.stdout
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h1>Calibration report: tiny" in page
    assert "light-dark(" in page


@pytest.mark.parametrize("verb", [["demo"], ["train", "digits"], ["data", "check", "digits"], ["experiment", "toy"]])
def test_training_says_how_this_installation_gets_what_it_needs(
    environment: Path, tmp_path: Path, verb: list[str]
) -> None:
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # which may name a checkout
    command = [environment / "candor", *verb]
    failed = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert line.startswith("candor: this command trains, which needs more packages (No module named ")
    assert re.search(rf"{re.escape(str(environment))}/python\S* -m pip install 'matplotlib>=", line)
    assert "'torch>=" in line
    assert "candor[" not in line


def test_its_own_name_is_not_that_of_a_stranger_on_the_index(environment: Path) -> None:
    listed = subprocess.run([environment / "pip", "list"], capture_output=True, text=True, check=True)
    names = [line.split()[0] for line in listed.stdout.splitlines() if line.startswith("candor")]
    assert names == ["candor-calibration"]
