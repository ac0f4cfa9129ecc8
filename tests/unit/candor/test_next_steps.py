"""Each verb that ends names a verb that exists, with options that it takes."""

from typing import Any

import typer

from candor.command_line import app
from candor.terminal.next_steps import NEXT, OWN

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
