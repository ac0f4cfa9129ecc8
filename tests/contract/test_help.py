"""The help of every verb: it loses nothing in brackets, and it has an example whose verb and
options exist.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from candor.command_line import GROUPS, app

ROOT = Path(__file__).parents[2]


def leaves(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every verb that does something, by the words that are typed."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
    for word, each in (inner or {}).items():
        yield from leaves(each, *words, word)


VERBS = list(leaves(typer.main.get_command(app)))
every_verb = pytest.mark.parametrize(
    ("words", "command"), VERBS, ids=[" ".join(words) for words, _ in VERBS]
)


def shown(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> str:
    """What `--help` prints, without frames and line breaks."""
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 100)
    return " ".join(CliRunner().invoke(app, [*words, "--help"]).stdout.replace("│", " ").split())


@every_verb
def test_has_an_example_that_exists(
    words: tuple[str, ...], command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = re.findall(r"^Example: (candor .*)$", command.help, re.MULTILINE)
    typed = shlex.split(example)
    assert tuple(typed[1 : 1 + len(words)]) == words
    known = {name for parameter in command.params for name in parameter.opts}
    assert {each for each in typed if each.startswith("--")} <= known
    assert f"Example: {example}" in shown(words, monkeypatch)


@every_verb
def test_loses_nothing_in_brackets(
    words: tuple[str, ...], command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = shown(words, monkeypatch)
    for parameter in command.params:
        for part in re.findall(r"\[[^\]]*\]", (parameter.help or "").replace("\\[", "[")):
            assert part in said


@every_verb
def test_names_no_page_that_only_the_site_fills(
    words: tuple[str, ...], command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for page in re.findall(r"docs/[\w/.-]+\.md", shown(words, monkeypatch)):
        assert "<!-- generated:" not in (ROOT / page).read_text(), page


def test_serving_says_how_to_see_all_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "`candor config show` lists all settings" in shown(("serve",), monkeypatch)
    assert ("config", "show") in [words for words, _ in VERBS]


def test_an_option_with_brackets_is_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "'LOSS [xHEADS] [ema] [key=value ...]'" in shown(("experiment", "compare"), monkeypatch)


def test_the_release_and_the_completion_are_offered() -> None:
    assert re.fullmatch(r"candor \S+\n", CliRunner().invoke(app, ["--version"]).stdout)
    assert "--install-completion" in CliRunner().invoke(app, ["--help"]).stdout
    assert sum(map(len, GROUPS.values())) < len(VERBS)
