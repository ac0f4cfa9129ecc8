"""The cells of docs/how-to/notebook.md, run in order in one process, as a notebook runs them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.processes import PATIENCE_S, environment
from tests.documentation import scenes

pytestmark = pytest.mark.nightly  # as all typed pages
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "notebook.md"
# Shows the value of a cell's last line as a notebook does: as HTML if it can.
_KERNEL = """
import ast, json, sys

for cell in json.loads(sys.argv[1]):
    lines = ast.parse(cell).body
    last = lines.pop() if isinstance(lines[-1], ast.Expr) else None
    exec(compile(ast.Module(lines, []), "cell", "exec"), globals())
    if last is not None:
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), globals())
        shown = value._repr_html_() if hasattr(value, "_repr_html_") else repr(value)
        print("===", type(value).__name__, shown)
"""


def test_the_three_doors_run_as_cells(tmp_path: Path) -> None:
    import json

    scenes.newcomer(tmp_path)
    cells = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", _KERNEL, json.dumps(cells)],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = dict(re.findall(r"^=== (\w+) (.*?)(?=^===|\Z)", done.stdout, re.M | re.S))
    assert list(shown) == [
        *("Calibration", "ndarray", "Imported", "ServerProcess", "ImageAnswer", "Reported"),
        *("NoneType", "Trained", "Exported"),
    ]
    for name in ("Calibration", "Imported", "Reported", "Trained", "Exported"):
        assert "data:image/svg+xml;base64," in shown[name], name
    assert "data:image/png;base64," in shown["ImageAnswer"]
    assert '/models/chest/report/page"' in shown["ServerProcess"]
    assert (tmp_path / "calibrator.onnx").is_file()
