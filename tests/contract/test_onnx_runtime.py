"""ONNX Runtime is loaded in one place, which switches its telemetry off first."""

import ast
from pathlib import Path

from tests.contract.test_layout import imported

ROOT = Path(__file__).parents[2]
ROOMS = ("benchmarks", "calibration", "candor", "docs", "model_store", "monitoring", "serving", "training")
HOME = "model_store/runtime.py"
PEER = "benchmarks/serving/peers/servers/model.py"  # runs in a peer's environment, which has no package of Candor
SWITCH = "os.environ['ORT_DISABLE_TELEMETRY'] = '1'"


def test_only_one_module_imports_it() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if any(name.split(".")[0] == "onnxruntime" for name in imported(path))
    }
    assert found == {HOME, PEER}, "write `from model_store.runtime import ort`, which switches telemetry off first"


def test_the_switch_comes_before_the_import() -> None:
    for path in (HOME, PEER):
        body = [ast.unparse(node) for node in ast.parse((ROOT / path).read_text()).body]
        assert body.index(SWITCH) < body.index(next(line for line in body if line.startswith("import onnxruntime")))
