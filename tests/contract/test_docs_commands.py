"""The commands of the documentation are spelled right, and those of README, first steps, tutorials
and guides are typed by tests/e2e/test_docs_commands.py or by a test that is named.
"""

from tests.documentation.commands import commands_of, named_in_sentences, pages
from tests.documentation.spelling import problems
from tests.documentation.walks import gaps


def test_every_command_is_spelled_right() -> None:
    wrong = [
        f"{page}: {command.typed}: {found}"
        for page in pages()
        for command in commands_of(page)
        if not command.is_python
        for found in problems(command.typed)
    ]
    wrong += [
        f"{page}: {command}: {found}"
        for page in pages()
        for command in named_in_sentences(page)
        for found in problems(command, whole=False)
    ]
    assert not wrong, "\n".join(wrong)


def test_candor_is_a_command_before_it_is_typed() -> None:
    for page in ("README.md", "docs/first-steps/ml-engineer.md"):
        lines = [line for command in commands_of(page) for line in command.typed.splitlines()]
        made = next(n for n, line in enumerate(lines) if "make install" in line or "venv" in line)
        first = next(n for n, line in enumerate(lines) if line.startswith("candor "))
        assert any(".venv/bin/activate" in line for line in lines[made:first]), page


def test_every_page_that_is_typed_has_its_entry() -> None:
    found = gaps()
    assert not found, "\n".join(["mend tests/documentation/walks.py", *found])


def test_what_is_wrong_is_found() -> None:
    wrong = {
        "candor serve --prot 8080": "--prot",
        "candor promote chest": "VERSION is missing",
        "candor deploy": "no such verb",
        "CANDOR_PROT=1 candor serve": "CANDOR_PROT is no setting",
        "kubectl apply -k deploy/kubernetes/nowhere": "there is no deploy/kubernetes/nowhere",
        'pip install ".[serving]"': "no extra serving",
        "python -m benchmarks.ledger --folders /var/tmp": "has no option --folders",
        "make tests": "no target tests",
        "cd x && candor ledger chek": "no such verb",
    }
    assert [typed for typed, words in wrong.items() if words not in " ".join(problems(typed))] == []
    assert problems("candor promote", whole=False) == []
    assert problems("candor promote --prot", whole=False)
