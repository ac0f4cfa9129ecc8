"""Each verb that ends names a verb that exists, with options that it takes."""

import sys
from typing import Any

import pytest
import typer

from candor.command_line import app
from candor.terminal import console, next_steps
from candor.terminal.next_steps import NEXT, OWN, show_next
from model_store.store.store import Store
from tests.builders.processes import candor_here

ENDLESS = ("serve", "monitor", "health")  # and what scripts ask
ROOT = typer.main.get_command(app)


def verbs(command: Any, *words: str) -> list[str]:
    inner = getattr(command, "commands", {})
    if not inner:
        return [" ".join(words)]
    return [each for word, verb in inner.items() for each in verbs(verb, *words, word)]


def test_a_verb_names_what_comes_next() -> None:
    for verb in verbs(ROOT):
        assert verb in NEXT or verb.split()[0] in NEXT or verb in (*OWN, *ENDLESS)


def test_what_comes_next_exists() -> None:
    for step in sorted(set(NEXT.values())):
        command: Any = ROOT
        words = step.split(",")[0].split()[1:]
        while getattr(command, "commands", None):
            command = command.commands[words.pop(0)]
        options = {name for each in command.params for name in each.opts}
        assert {word for word in words if word.startswith("-")} <= options


@pytest.mark.parametrize("words", [("show", "tiny/1"), ("history", "tiny")])
def test_what_comes_next_names_the_model(
    words: tuple[str, str], tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, said = list[str | None](), list[str]()
    with monkeypatch.context() as patched:
        patched.setattr(next_steps, "show_next", lambda _, *, model: known.append(model))
        assert candor_here("models", *words, "--store", tiny_store.root).exit_code == 0
    assert known == [words[1]]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(console, "note", lambda text, **_: said.append(text))
    show_next(("models", *words), model=known[0])
    assert "tiny" in said[0].split()
    assert "MODEL" not in said[0]
