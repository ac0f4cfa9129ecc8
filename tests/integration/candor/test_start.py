"""What a fresh interpreter loads for `import candor` and for the command's help."""

import subprocess
import sys

import pytest

HEAVY = "{'torch', 'onnx', 'onnxruntime', 'starlette', 'sqlalchemy', 'numpy', 'pydantic'}"


@pytest.mark.parametrize("statement", ["import candor", "import candor.command_line"])
def test_the_start_loads_no_heavy_library(statement: str) -> None:
    program = f"import sys; {statement}; print(*sorted({HEAVY} & sys.modules.keys()))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert loaded == []
