"""Others use the names of Candor's packages too: what if Python finds those."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from candor.import_conflicts import ROOMS

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["def get_ece(): ...", "import a_package_that_is_not_installed"])
def foreign(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    package = tmp_path / "calibration"
    package.mkdir()
    (package / "__init__.py").write_text(request.param)
    return package


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), str(ROOT)])
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, cwd=folder, capture_output=True, text=True
    )


def test_the_command_line_says_in_one_sentence_which_package_is_in_the_way(foreign: Path) -> None:
    done = run("-m", "candor", "models", folder=foreign.parent)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("candor: Candor needs its own package `calibration`")
    assert str(foreign / "__init__.py") in line
    assert "rename it" in line


@pytest.mark.parametrize(
    "use", ["candor.Measures", "candor.measure([[1.0]], [0])", "candor.open_predictor"]
)
def test_python_code_gets_an_import_error_that_says_so(foreign: Path, use: str) -> None:
    done = run("-c", f"import candor; {use}", folder=foreign.parent)
    assert done.returncode == 1
    assert "ForeignPackage: Candor needs its own package `calibration`" in done.stderr
    assert str(foreign / "__init__.py") in done.stderr


@pytest.mark.parametrize("name", ROOMS[1:])
def test_each_package_is_looked_at(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").touch()
    done = run("-m", "candor", "models", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert (
        f"Candor needs its own package `{name}`, but Python finds another one in "
        f"{tmp_path / name}.py" in line
    )


CHECK = "import sys, candor.import_conflicts as it; {}it.require_own_packages(('model_store',))"


def test_a_folder_without_init_does_not_hide_a_package_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "model_store" / "models").mkdir(parents=True)
    done = run("-S", "-c", CHECK.format(""), folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_folders_named_like_packages_hide_nothing_where_candor_is_installed(tmp_path: Path) -> None:
    for name in ("candor", *ROOMS):
        (tmp_path / name).mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", "import candor; candor.train"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_without_init_that_is_found_first_is_named(tmp_path: Path) -> None:
    (tmp_path / "model_store" / "models").mkdir(parents=True)
    behind = f"sys.path.remove({str(ROOT)!r}); "  # Candor is found by a finder behind the path
    done = run("-S", "-c", CHECK.format(behind), folder=tmp_path)
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("candor.import"))
    assert f"another one in {tmp_path / 'model_store'}: rename it" in line


def test_a_script_beside_a_training_of_its_own_uses_what_needs_no_training(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").touch()
    script = tmp_path / "script.py"
    script.write_text(
        "import candor\nprint(candor.measure([[0.2, 0.8]] * 10, [1] * 8 + [0] * "
        "2).ece)\ncandor.train\n"
    )
    done = run(str(script), folder=tmp_path)
    assert float(done.stdout) < 1e-9
    assert "ForeignPackage: Candor needs its own package `training`" in done.stderr.splitlines()[-1]
