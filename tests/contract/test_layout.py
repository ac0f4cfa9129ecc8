"""Where code lives, what it may import, and what its public classes are called."""

import ast
import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("calibration", "candor", "model_store", "monitoring", "serving", "training")
PRODUCT = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
# ONNX Runtime is loaded in one module, which switches its telemetry off first.
RUNTIME = "model_store/runtime.py"
PEER = "benchmarks/serving/peers/servers/model.py"  # in an environment without Candor
IMPORT = re.compile(r"^ *(?:import|from) (\w+)[\w.]*(?: import .*| as \w+)?(?: *#.*)?$", re.M)
SWITCH = "os.environ['ORT_DISABLE_TELEMETRY'] = '1'"


def test_unit_tests_mirror_the_folders_of_the_rooms() -> None:
    unit = ROOT / "tests" / "unit"
    folders = {file.parent.relative_to(unit) for file in unit.rglob("test_*.py")}
    wrong = sorted(str(folder) for folder in folders if not (ROOT / folder).is_dir())
    assert wrong == [], "move these folders of tests/unit to where the code is"


def test_tests_are_in_the_folder_of_their_kind() -> None:
    tests = ROOT / "tests"
    kinds = {file.relative_to(tests).parts[0] for file in tests.rglob("test_*.py")}
    assert kinds == {"contract", "e2e", "integration", "unit"}
    loose = [file.name for file in (tests / "integration").glob("test_*.py")]
    assert loose == [], "move these into tests/integration/ROOM"


def test_benchmarks_and_deploy_stay_apart() -> None:
    """Benchmarks take only builders from the tests, and `deploy` runs without Candor."""
    for file in (ROOT / "benchmarks").rglob("*.py"):
        taken = re.findall(r"^ *(?:from|import) (tests[\w.]*)", file.read_text(), re.M)
        assert all(each.startswith("tests.builders.") for each in taken), file
    for file in (ROOT / "deploy").rglob("*.py"):
        assert imported(file) - sys.stdlib_module_names <= {"yaml"}, file
    for file in PRODUCT:
        assert not imported(file) & {"deploy", "benchmarks", "tests"}, file


def test_calibration_needs_numpy_alone() -> None:
    files = (ROOT / "calibration").rglob("*.py")
    outside = set[str]().union(*map(imported, files)) - sys.stdlib_module_names
    assert outside == {"calibration", "numpy"}


def test_no_two_modules_define_a_public_class_of_the_same_name() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for file in PRODUCT:
        for name in re.findall(r"^class ([A-Z]\w*)", file.read_text(), re.MULTILINE):
            homes[name].append(file.relative_to(ROOT).as_posix())
    twice = {name: files for name, files in homes.items() if len(files) > 1}
    assert twice == {}, "rename all but one: a public class name means one thing"


def test_onnx_runtime_is_loaded_after_its_telemetry_is_off() -> None:
    files = [*PRODUCT, *(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "docs").rglob("*.py")]
    found = {file.relative_to(ROOT).as_posix() for file in files if "onnxruntime" in imported(file)}
    assert found == {RUNTIME, PEER}, f"import `ort` from {RUNTIME} instead"
    for path in (RUNTIME, PEER):
        body = [ast.unparse(node) for node in tree(ROOT / path).body]
        first = next(line for line in body if line.startswith("import onnxruntime"))
        assert body.index(SWITCH) < body.index(first), f"{path}: switch it off first"


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imported(file: Path) -> set[str]:
    """The top-level packages that a file imports, by its lines: to parse them all takes seconds."""
    return set(IMPORT.findall(file.read_text()))
