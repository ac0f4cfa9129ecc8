"""What `make` says before the minute in which pip is silent."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("stamp", ["", "-dev", "-ray", "-docs"])
def test_make_says_that_it_installs(tmp_path: Path, stamp: str) -> None:
    python = (
        tmp_path / "bin" / "python"
    )  # nothing is made where there is an environment, and PIP installs nothing
    python.parent.mkdir()
    python.touch()
    target = f"{tmp_path}/.installed{stamp}"
    done = subprocess.run(
        ["make", "--silent", target, f"VENV={tmp_path}", "PIP=true"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    said = done.stdout.splitlines()[-1]
    assert said.startswith("Installing ")
    assert str(tmp_path) in said
