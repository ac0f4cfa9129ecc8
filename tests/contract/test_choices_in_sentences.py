"""Sentences name a choice as their reader gives it: an option, or a parameter in Python.

Only commands without a function in Python, and annotations, spell options.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("calibration", "candor/predictions", "candor/terminal", "candor/commands")
OPTION = re.compile(r"(?<!\w)--[a-z]")
COMMANDS = {  # `candor ledger acknowledge`, `predict`
    "candor/terminal/report.py",
    "candor/commands/uploads.py",
}


def sentences(file: Path) -> list[str]:
    """The texts of a module that are neither docstrings nor annotations."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    others: set[int] = set()
    for each in ast.walk(tree):
        if isinstance(each, ast.Expr):
            others.add(id(each.value))
        if isinstance(each, ast.arg) and each.annotation is not None:
            others |= set(map(id, ast.walk(each.annotation)))
    texts = (each for each in ast.walk(tree) if isinstance(each, ast.Constant))
    return [str(each.value) for each in texts if id(each) not in others]


def test_no_sentence_writes_an_option_to_a_reader_of_python() -> None:
    files = (file for room in ROOMS for file in (ROOT / room).rglob("*.py"))
    by_name = {str(file.relative_to(ROOT)): sentences(file) for file in files}
    assert {
        name: written
        for name, texts in by_name.items()
        if (written := [text for text in texts if OPTION.search(text)]) and name not in COMMANDS
    } == {}
