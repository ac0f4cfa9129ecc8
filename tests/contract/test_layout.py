"""Where tests and benchmarks live, and what they may import."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = {
    "benchmarks",
    "calibration",
    "candor",
    "docs",
    "model_store",
    "monitoring",
    "serving",
    "training",
}


def test_tests_of_a_room_mirror_its_folders() -> None:
    for path in (ROOT / "tests" / "unit").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests" / "unit")
        assert not folder.parts or folder.parts[0] in ROOMS
        assert (ROOT / folder).is_dir(), f"{path} is a test of {folder}, which does not exist"


def test_tests_stand_in_the_folder_of_their_kind() -> None:
    kinds = {
        path.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("test_*.py")
    }
    assert kinds == {"contract", "e2e", "integration", "unit"}
    assert not list((ROOT / "tests" / "integration").glob("test_*.py")), (
        "tests/integration has a folder for each room"
    )


def test_benchmarks_import_no_tests() -> None:
    for path in (ROOT / "benchmarks").rglob("*.py"):
        assert "tests" not in {name.split(".")[0] for name in imported(path)}, path


def test_deploy_holds_what_installs_candor_and_nothing_that_runs_in_it() -> None:
    assert {path.name for path in (ROOT / "deploy").iterdir() if path.is_dir()} - {
        "__pycache__"
    } == {
        "compose",
        "kubernetes",
    }
    for path in (ROOT / "deploy").rglob("*.py"):
        assert {name.split(".")[0] for name in imported(path)} - sys.stdlib_module_names == {"yaml"}
    for path in (file for room in ROOMS for file in (ROOT / room).rglob("*.py")):
        assert "deploy" not in {name.split(".")[0] for name in imported(path)}, path


def test_calibration_needs_numpy_alone() -> None:
    outside = set[str]()
    for path in (ROOT / "calibration").rglob("*.py"):
        outside |= {name.split(".")[0] for name in imported(path)} - sys.stdlib_module_names
    assert outside == {"calibration", "numpy"}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
