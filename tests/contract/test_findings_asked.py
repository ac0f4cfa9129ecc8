"""Few files ask whether something has findings or exclusive classes: docs/architecture.md names
them, and everything else follows an object that they choose.

A file asks where a condition, `and`, `or` or `not` has one of the words `finding`, `findings` or
`has_findings` bare, or compared with None, "" or "findings", or where it looks for an instance of a
class of one of the two kinds.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("calibration", "candor", "model_store", "monitoring", "serving", "training")
MOST = 22  # files; fewer is better
KIND = re.compile(
    r".*Finding.*|findings|Classification|LabeledPredictions|LabeledImages|Calibration|Evaluation"
)
WORD = re.compile(r"_?(has_|of_|is_)?findings?")
IN_TEMPLATE = re.compile(r"{[{%][^}]*?\b(if|elif|not|and|or) (\w+\.)?findings?\b(?![.\[|(])[^}]*?}")


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return _name(node.func)
    if isinstance(node, ast.Subscript):
        return _name(node.slice)
    if isinstance(node, ast.Constant):
        return str(node.value)
    return getattr(node, "attr", "") or getattr(node, "id", "")


def _truths(test: ast.expr) -> Iterator[ast.expr]:
    """The parts of a condition whose truth decides."""
    if isinstance(test, ast.BoolOp):
        for part in test.values:
            yield from _truths(part)
    elif isinstance(test, ast.UnaryOp | ast.NamedExpr):
        yield from _truths(test.operand if isinstance(test, ast.UnaryOp) else test.value)
    else:
        yield test


def _is_question(part: ast.expr) -> bool:
    if not isinstance(part, ast.Compare):
        return bool(WORD.fullmatch(_name(part)))
    sides = (part.left, *part.comparators)
    named = [_name(each) for each in sides]
    nothing = any(isinstance(each, ast.Constant) and not each.value for each in sides)
    is_word = any(isinstance(each, ast.Constant) and each.value == "findings" for each in sides)
    return is_word or (nothing and any(map(WORD.fullmatch, named)))


def _tests(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp | ast.While):
            yield node.test
        elif isinstance(node, ast.comprehension):
            yield from node.ifs
        elif isinstance(node, ast.BoolOp | ast.Compare) or (
            isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
        ):
            yield node


def asks(source: str) -> bool:
    """Whether Python code asks."""
    tree = ast.parse(source)
    if any(_is_question(part) for test in _tests(tree) for part in _truths(test)):
        return True
    looked_for = (
        node.args[1]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _name(node.func) in ("isinstance", "hasattr")
    )
    return any(KIND.fullmatch(_name(one)) for one in looked_for)


def test_a_question_is_seen() -> None:
    for line in (
        "if card.has_findings: pass",
        "kind = A if row.finding else B",
        "x = finding or None",
        "[each for each in rows if each.finding != '']",
        "x = 1 if options['findings'] is None else 2",
        "isinstance(read, LabeledFindings)",
        "isinstance(answer, Classification)",
        "'findings' in answer",
    ):
        assert asks(line), line
    for line in ("row.claim.finding", "[each.name for each in card.findings]", "finding == name"):
        assert not asks(line), line


def test_few_files_ask_for_findings() -> None:
    asking = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if (path.suffix == ".py" and "inding" in path.read_text() and asks(path.read_text()))
        or (path.suffix == ".jinja" and IN_TEMPLATE.search(path.read_text()))
    }
    page = (ROOT / "docs/architecture.md").read_text()
    (section,) = re.findall(r"\n- \*\*Classes or findings\*\*.*?(?=\n- \*\*|\n\n)", page, re.DOTALL)
    named = {path for path in re.findall(r"`([\w/]+\.[\w.]+)`", section) if path[:6] != "tests/"}
    assert asking == named
    assert len(asking) <= MOST, len(asking)
