"""ONNX Runtime is loaded in one place, which switches its telemetry off first."""

import ast
from pathlib import Path

from tests.contract.test_layout import imported

ROOT = Path(__file__).parents[2]
ROOMS = (
    "benchmarks",
    "calibration",
    "candor",
    "docs",
    "model_store",
    "monitoring",
    "serving",
    "training",
)
HOME = "model_store/runtime.py"
# runs in a peer's environment, which has no package of Candor
PEER = "benchmarks/serving/peers/servers/model.py"
TOOLS = "training/runs/precisions.py"  # takes converter and quantizer from it, after HOME
SWITCH = "os.environ['ORT_DISABLE_TELEMETRY'] = '1'"


def test_only_one_module_imports_it() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if any(name.split(".")[0] == "onnxruntime" for name in imported(path))
    }
    assert found == {HOME, PEER, TOOLS}, (
        "write `from model_store.runtime import ort`, which switches telemetry off first"
    )


def test_the_switch_comes_before_the_import() -> None:
    for path in (HOME, PEER):
        body = [ast.unparse(node) for node in ast.parse((ROOT / path).read_text()).body]
        assert body.index(SWITCH) < body.index(
            next(line for line in body if line.startswith("import onnxruntime"))
        )


def test_its_tools_are_imported_after_the_switch() -> None:
    body = ast.parse((ROOT / TOOLS).read_text()).body
    at_once = [ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert "from model_store.runtime import ort" in at_once
    assert not any("onnxruntime" in line for line in at_once)  # they are imported inside functions
