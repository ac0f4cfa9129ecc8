"""Every command of the documentation is run by a test (tests/e2e/test_docs_commands.py), or is
spelled right.
"""

import pytest

from tests.documentation.commands import ROOT, commands_of, pages, read_commands
from tests.documentation.spelling import problems
from tests.documentation.walks import WALKS, commands_of_entry

WITH_COMMANDS = [page for page in pages() if commands_of(page)]


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_every_command_belongs_to_one_entry(page: str) -> None:
    parts = [key.partition("#")[2] for key in WALKS if key.partition("#")[0] == page]
    headings = {command.heading for command in commands_of(page)}
    assert parts == [""] or (set(parts) == headings and len(parts) == len(headings))


@pytest.mark.parametrize("key", WALKS)
def test_an_entry_says_nothing_in_vain(key: str) -> None:
    walk, commands = WALKS[key], commands_of_entry(key)
    assert commands
    given = (*walk.not_run, *walk.meanwhile)
    assert [
        each for each in given if not any(walk.fits(command, each) for command in commands)
    ] == []
    used = [name for name in walk.stands_for if any(name in command.typed for command in commands)]
    assert used or not walk.stands_for
    if walk.run_by is not None:
        folder, _, page = key.rpartition("/")
        assert page in (text := (ROOT / walk.run_by).read_text()) or folder in text


@pytest.mark.parametrize("key", WALKS)
def test_what_is_not_run_is_spelled_right(key: str) -> None:
    walk = WALKS[key]
    skipped = [each for each in commands_of_entry(key) if walk.reason(each) is not None]
    assert {each.typed: problems(each.typed) for each in skipped if problems(each.typed)} == {}


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("candor serve --prot 8080", "--prot"),
        ("candor promote chest", "VERSION is missing"),
        ("candor deploy", "no such verb"),
        ("CANDOR_PROT=1 candor serve", "CANDOR_PROT is no setting"),
        ("docker run -p 8080:8080 candor report --evry month", "No such option"),
        ("docker run -e CANDOR_HOTS=x candor", "CANDOR_HOTS is no setting"),
        ("docker build --target small .", "no target small"),
        ("docker compose --profile demos up", "no profile demos"),
        ("kubectl apply -k deploy/kubernetes/nowhere", "there is no deploy/kubernetes/nowhere"),
        ("kubectl wait -n candor job/candor-upgrade", "no manifest makes job/candor-upgrade"),
        ('pip install ".[serving]"', "no extra serving"),
        ("python -m benchmarks.ledger --folders /var/tmp", "has no option --folders"),
        ("make tests", "no target tests"),
        ("cd x && candor ledger chek", "no such verb"),
    ],
)
def test_what_is_wrong_is_found(typed: str, found: str) -> None:
    assert found in " ".join(problems(typed))


def test_commands_are_told_from_output() -> None:
    page = """# Top

    candor models      # lists them
    curl -s http://127.0.0.1 |
      head

Said:

    chest    1

1. In a list:

       CANDOR_PORT=1 candor serve

```text
candor is not typed here
```

```python title="send.py"
import candor
```
"""
    found = [(each.typed, each.file) for each in read_commands(page)]
    assert found == [
        ("candor models", None),
        ("curl -s http://127.0.0.1 |\n  head", None),
        ("CANDOR_PORT=1 candor serve", None),
        ("import candor\n", "send.py"),
    ]
