"""PyPI's `uncertainty-calibration` also installs a package `calibration`: what happens when Python finds that one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["def get_ece(): ...", "import a_package_that_is_not_installed"])
def foreign(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    package = tmp_path / "calibration"
    package.mkdir()
    (package / "__init__.py").write_text(request.param)
    return package


def run(*arguments: str, foreign: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(foreign.parent), str(ROOT)])
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, cwd=foreign.parent, capture_output=True, text=True
    )


def test_the_command_line_says_in_one_sentence_which_package_is_in_the_way(foreign: Path) -> None:
    done = run("-m", "candor", "models", foreign=foreign)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("candor: Candor needs its own package `calibration`")
    assert str(foreign / "__init__.py") in line
    assert "pip uninstall uncertainty-calibration" in line


@pytest.mark.parametrize("use", ["candor.Measures", "candor.measure([[1.0]], [0])", "candor.open_predictor"])
def test_python_code_gets_an_import_error_that_says_so(foreign: Path, use: str) -> None:
    done = run("-c", f"import candor; {use}", foreign=foreign)
    assert done.returncode == 1
    assert "ForeignCalibration: Candor needs its own package `calibration`" in done.stderr
    assert str(foreign / "__init__.py") in done.stderr
