"""What a sentence names: a parameter in Python, an option in the shell, never one for the other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = (
    "calibration",
    "candor",
    "console",
    "hosting",
    "model_store",
    "monitoring",
    "serving",
    "training",
)
SHELL = ("candor/commands", "candor/command_line.py", "candor/shell.py", "candor/demo")
WHOLE = re.compile(r"`(?:candor|serve) [^`]*`")  # a command that is typed as it stands
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
FOREIGN = {"--force-reinstall"}  # of pip


def sentences(tree: ast.AST) -> Iterator[str]:
    """Every string but docstrings, with X for what is filled in."""
    documented = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    parts = {id(each) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
             for each in node.values}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(each.value) if isinstance(each, ast.Constant) else "X"
                          for each in node.values)  # fmt: skip
        elif isinstance(node, ast.Constant) and id(node) not in documented | parts:
            yield str(node.value)


def test_no_sentence_outside_the_shell_names_an_option() -> None:
    """`calibration.wording.parameter` writes it as the reader gives it."""
    wrong = [
        f"{file.relative_to(ROOT)}: {option}: {text[:80]}"
        for room in ROOMS
        for file in (ROOT / room).rglob("*.py")
        if not str(file.relative_to(ROOT)).startswith(SHELL)
        for text in sentences(ast.parse(file.read_text()))
        for option in OPTION.findall(WHOLE.sub("", text))
        if option not in FOREIGN and "/--" not in text  # how an option of two values is declared
    ]
    assert not wrong, "\n".join(wrong)
