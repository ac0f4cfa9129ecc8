"""What is wrong with a command of a page: a verb, option, file, ... that is not there."""

import functools
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import typer

from candor.command_line import app
from hosting.settings import PREFIX, Settings
from tests.documentation.commands import ROOT

UsageError: Final = typer.BadParameter.__mro__[1]  # of click, which typer may bring by itself
FOLDERS: Final = ("benchmarks", "container", "deploy", "docs", "monitoring", "requirements")
CHOSEN: Final = ("deploy/kubernetes/ours",)  # what a page tells its reader to make
_OPERATORS: Final = re.compile(r"[&|;<>]+")


def problems(typed: str, *, whole: bool = True) -> list[str]:
    """What a reader would be refused for; `whole=False` for a command without arguments."""
    return [found for part in _parts(typed) for found in _of_part(part, whole)]


@functools.cache
def command_line() -> typer.core.TyperGroup:
    """The whole command line, built once."""
    return typer.main.get_command(app)


def _parts(typed: str) -> Iterator[list[str]]:
    """The words of each command of a line, with the settings before it."""
    words: list[str] = []
    is_file = False  # which < or > names
    lexer = shlex.shlex(typed.replace("\\\n", " "), posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split, lexer.commenters = True, ""
    for word in lexer:
        if not _OPERATORS.fullmatch(word):
            words += [] if is_file else [word]
            is_file = False
        elif word[0] in "<>":
            is_file = True
        elif words:
            yield words
            words = []
    if words:
        yield words


def _of_part(words: list[str], whole: bool) -> Iterator[str]:
    while words and re.match(r"[A-Z_]+=", words[0]):
        name = words.pop(0).partition("=")[0]
        known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields} | {"CANDOR_DATA"}
        if name.startswith(PREFIX) and name not in known:
            yield f"{name} is no setting"
    while words and words[0] in ("do", "until", "while", "if", "then", "sudo"):
        words.pop(0)
    if not words:
        return
    if words[0] == "candor":
        yield from _candor(words[1:], whole)
    elif words[0] in CHECKS:
        yield from CHECKS[words[0]](words[1:])
    for word in words[1:]:
        path = word.removeprefix("./")
        ours = path.startswith(tuple(f"{folder}/" for folder in FOLDERS)) and path not in CHOSEN
        if ours and not list(ROOT.glob(path.rstrip("/"))):
            yield f"there is no {path}"


def _candor(words: Sequence[str], whole: bool) -> Iterator[str]:
    """The verb and its options exist, and the arguments are as many as it takes."""
    command, rest, name = command_line(), [*words], "candor"
    while (verbs := getattr(command, "commands", None)) and rest and not rest[0].startswith("-"):
        name = f"{name} {rest[0]}"
        if rest[0] not in verbs:
            yield f"{name}: there is no such verb"
            return
        command = verbs[rest.pop(0)]
    if not whole and all(word.startswith("-") and "=" not in word for word in rest):
        known = {word for each in command.params for word in (*each.opts, *each.secondary_opts)}
        yield from (f"{name}: no option {word}" for word in rest if word not in known | {"--help"})
        return
    try:
        parser = command.make_parser(command.context_class(command, info_name=name))
        given, left, _ = parser.parse_args(rest)
    except UsageError as error:
        yield f"{name}: {error}"
        return
    for parameter in command.params:
        value = given.get(parameter.name)
        if whole and parameter.required and not (isinstance(value, str | tuple | list) and value):
            yield f"{name}: {parameter.name.upper()} is missing"
    yield from (f"{name}: {word!r} is too much" for word in left)


def _pip(words: Sequence[str]) -> Iterator[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for word in words:
        found = re.fullmatch(rf"(?:\.|{project['name']})\[(.*)\]", word)
        for extra in found[1].split(",") if found else ():
            if extra not in project["optional-dependencies"]:
                yield f"Candor has no extra {extra}"


def _python(words: Sequence[str]) -> Iterator[str]:
    """A module of ours is there, and its text names the options."""
    ours = ("benchmarks", "tests", "docs", "deploy")
    if list(words[:1]) != ["-m"] or words[1].partition(".")[0] not in ours:
        return
    module = ROOT / words[1].replace(".", "/")
    files = [file for file in (*module.glob("*.py"), module.with_suffix(".py")) if file.is_file()]
    text = "".join(file.read_text() for file in files)
    if not files:
        yield f"there is no module {words[1]}"
    for word in words:
        if word.startswith("--") and word not in text:
            yield f"{words[1]} has no option {word}"


def _make(words: Sequence[str]) -> Iterator[str]:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    for word in words:
        name, is_variable, _ = word.partition("=")
        if is_variable and f"$({name})" not in makefile:
            yield f"the Makefile reads no {name}"
        elif not is_variable and name not in targets:
            yield f"the Makefile has no target {name}"


CHECKS: Final[dict[str, Callable[[Sequence[str]], Iterator[str]]]] = {
    "pip": _pip,
    "uv": _pip,
    "python": _python,
    "make": _make,
}
