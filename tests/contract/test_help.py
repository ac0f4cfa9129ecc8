"""The help of every verb: nothing in brackets is lost, and its example exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from candor.command_line import GROUPS, app
from tests.builders.processes import candor, candor_here

ROOT = Path(__file__).parents[2]


def leaves(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every verb that does something, by the words that are typed."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
    for word, below in (inner or {}).items():
        yield from leaves(below, *words, word)


VERBS = dict(leaves(typer.main.get_command(app)))


@pytest.fixture(scope="module")
def shown() -> dict[tuple[str, ...], str]:
    """What `--help` prints for each verb, without frames and line breaks."""
    said = {words: candor_here(*words, "--help").stdout for words in VERBS}
    return {words: " ".join(each.split()) for words, each in said.items()}


def test_each_verb_has_an_example_that_exists(shown: dict[tuple[str, ...], str]) -> None:
    wrong = []
    for words, command in VERBS.items():
        examples = re.findall(r"^Example: (candor .*)$", command.help, re.MULTILINE)
        typed = shlex.split(examples[0]) if len(examples) == 1 else []
        known = {name for parameter in command.params for name in parameter.opts}
        if (
            tuple(typed[1 : 1 + len(words)]) != words
            or not {word for word in typed if word.startswith("--")} <= known
            or f"Example: {examples[0]}" not in shown[words]
        ):
            wrong.append(f"candor {' '.join(words)}: {examples}")
    assert not wrong, "give each one line `Example: candor VERB ...`:\n" + "\n".join(wrong)


def test_help_loses_nothing_in_brackets(shown: dict[tuple[str, ...], str]) -> None:
    lost = [
        f"candor {' '.join(words)} {parameter.name}: {part}"
        for words, command in VERBS.items()
        for parameter in command.params
        for part in re.findall(r"\[[^\]]*\]", parameter.help or "")
        if part not in shown[words] and not parameter.hidden
    ]
    assert not lost, "\n".join(lost)


@pytest.mark.parametrize(
    ("verb", "rare"), [("train", "--batch-size"), ("import", "--bits"), ("calibrate", "--correct")]
)
def test_rare_options_stand_on_a_shorter_page_of_their_own(verb: str, rare: str) -> None:
    first, second = (candor_here(verb, page).stdout for page in ("--help", "--help-rare"))
    assert rare not in first
    assert rare in second
    assert len(second.splitlines()) < len(first.splitlines())
    options = [set(re.findall(r"^  (--[\w-]+)", page, re.MULTILINE)) for page in (first, second)]
    assert options[0] & options[1] == {"--help"}


def test_help_names_no_page_that_only_the_site_fills(shown: dict[tuple[str, ...], str]) -> None:
    wrong = [
        f"candor {' '.join(words)}: {page}"
        for words, text in shown.items()
        for page in re.findall(r"docs/[\w/.-]+\.md", text)
        if "<!-- generated:" in (ROOT / page).read_text()
    ]
    assert not wrong, "\n".join(wrong)


def test_each_verb_that_ends_can_print_json() -> None:
    servers = {("serve",), ("monitor",)}
    silent = [
        words
        for words, command in VERBS.items()
        if "--json" not in {name for each in command.params for name in each.opts}
    ]
    assert set(silent) == servers


def test_what_import_refuses_names_options_that_import_has() -> None:
    known = {name for parameter in VERBS[("import",)].params for name in parameter.opts}
    named = {
        (option, file.name)
        for file in (ROOT / "model_store/foreign").rglob("*.py")
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", file.read_text())
    }
    assert not {each for each in named if each[0] not in known}


@pytest.mark.parametrize("verb", ["train", "import", "calibrate"])
@pytest.mark.parametrize(("columns", "rows"), [("100", 48), ("80", 50)])
def test_the_help_of_the_three_doors_fits_a_screen(verb: str, columns: str, rows: int) -> None:
    lines = candor(verb, "--help", COLUMNS=columns).stdout.splitlines()
    assert len(lines) <= rows
    assert max(map(len, lines)) <= int(columns)


def test_the_release_and_the_completion_are_offered() -> None:
    assert re.fullmatch(r"candor \S+\n", candor_here("--version").stdout)
    assert "--install-completion" in candor_here("--help").stdout
    assert sum(map(len, GROUPS.values())) < len(VERBS)
