"""What is wrong with a command that is not run: a program, verb, option, setting, file, target or
extra that is not.
"""

import itertools
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import typer
import yaml

from candor.command_line import app
from serving.settings import PREFIX, Settings
from tests.builders.manifests import KUSTOMIZATIONS, rendered
from tests.documentation.commands import PROGRAMS, ROOT

UsageError: Final = typer.BadParameter.__mro__[
    1
]  # of the click that typer brings, or of that which it needs
IMAGES: Final = ("candor", "candor-gpu", "candor-torchserve", "candor-training")
CHOSEN: Final = re.compile(
    r"\b(?:deploy/kubernetes/ours)\b"
)  # folders that the page tells its reader to make
_OPERATORS: Final = re.compile(r"[&|;<>]+")


def problems(typed: str) -> list[str]:
    """What a reader who types this would be refused for; empty if nothing is known to be wrong."""
    return [found for part in _parts(typed) for found in _of_part(part)]


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


def _of_part(words: list[str]) -> Iterator[str]:
    while words and re.match(r"[A-Z_]+=", words[0]):
        yield from _setting(words.pop(0).partition("=")[0])
    if not words:
        return
    check = CHECKS.get(words[0])
    if check is not None:
        yield from check(words[1:])
    elif words[0] not in (*PROGRAMS, "sudo"):
        yield f"{words[0]} is no program that a page may name"


def _setting(name: str) -> Iterator[str]:
    if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower() not in {
        *Settings.model_fields,
        "data",
    }:
        yield f"{name} is no setting"


def _candor(words: Sequence[str]) -> Iterator[str]:
    """The verb exists, every option too, nothing that is required is missing and nothing is left
    over.
    """
    command, rest, name = typer.main.get_command(app), [*words], "candor"
    while (verbs := getattr(command, "commands", None)) and rest and not rest[0].startswith("-"):
        name = f"{name} {rest[0]}"
        if rest[0] not in verbs:
            yield f"{name}: there is no such verb"
            return
        command = verbs[rest.pop(0)]
    try:
        given, left, _ = command.make_parser(
            command.context_class(command, info_name=name)
        ).parse_args(rest)
    except UsageError as error:
        yield f"{name}: {error}"
        return
    for each in command.params:
        value = given.get(
            each.name
        )  # of what was not given: nothing, or a mark of the parser's own
        if each.required and not (isinstance(value, str | tuple | list) and value):
            yield f"{name}: {each.name.upper()} is missing"
    yield from (f"{name}: {each!r} is too much" for each in left)


def _docker(words: Sequence[str]) -> Iterator[str]:
    """Targets and build arguments are in the Dockerfile, profiles in compose.yaml; the image's
    command is Candor's.
    """
    dockerfile = (ROOT / "Dockerfile").read_text()
    targets = set(re.findall(r"^FROM \S+ AS (\w+)", dockerfile, re.MULTILINE))
    arguments = set(re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE))
    profiles = {each for service in _compose().values() for each in service.get("profiles", [])}
    for option, value in itertools.pairwise(words):
        if option == "--target" and value not in targets:
            yield f"the Dockerfile has no target {value}"
        if option == "--build-arg" and value.partition("=")[0] not in arguments:
            yield f"the Dockerfile has no argument {value}"
        if option == "--profile" and value not in profiles:
            yield f"compose.yaml has no profile {value}"
        if option == "-e":
            yield from _setting(value.partition("=")[0])
    if words[0] == "run":
        yield from _container([*words])
    elif words[0] == "compose" and {"run", "exec"} & set(words):
        yield from _service([*words])


def _container(words: list[str]) -> Iterator[str]:
    at = max((words.index(image) for image in IMAGES if image in words), default=None)
    if at is None:
        yield f"{' '.join(words)} names no image of Candor"
    elif "--entrypoint" not in words:
        yield from _candor(words[at + 1 :] or ["serve"])


def _service(words: list[str]) -> Iterator[str]:
    """`docker compose run SERVICE ...`: the service is there, and what it runs is a command."""
    verb = next(each for each in ("run", "exec") if each in words)
    rest = [*words[words.index(verb) + 1 :]]
    while rest and rest[0].startswith("-"):
        rest.pop(0)
    if not rest or rest[0] not in _compose():
        yield f"compose.yaml has no service {' '.join(rest[:1])}"
    elif verb == "run" and _compose()[rest[0]]["image"] == "candor":
        yield from _candor(rest[1:])


def _compose() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return services


def _kubectl(words: Sequence[str]) -> Iterator[str]:
    """Folders of manifests are there, and what is waited for or scaled is in them."""
    made = {
        f"{each['kind'].lower()}/{each['metadata']['name']}"
        for folder in KUSTOMIZATIONS
        for each in rendered(folder)
    }
    if "--" in words:
        yield from _of_part([*words[words.index("--") + 1 :]])
    for word in words:
        if "/" not in word or word.startswith("-") or CHOSEN.search(word):
            continue
        if word.partition("/")[0] in ("deployment", "job", "service", "pod"):
            yield from () if word in made else (f"no manifest makes {word}",)
        elif word.startswith("deploy/") and not (ROOT / word).exists():
            yield f"there is no {word}"


def _pip(words: Sequence[str]) -> Iterator[str]:
    """Files of requirements are there, and so are extras of Candor."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for word in words:
        found = re.fullmatch(rf"(?:\.|{project['name']})\[(.*)\]", word)
        for extra in found[1].split(",") if found else ():
            if extra not in project["optional-dependencies"]:
                yield f"Candor has no extra {extra}"
        if word.startswith("requirements/") and not (ROOT / word).exists():
            yield f"there is no {word}"


def _python(words: Sequence[str]) -> Iterator[str]:
    """A module of ours is there, and its text names the options."""
    if list(words[:1]) != ["-m"] or words[1].partition(".")[0] not in (
        "benchmarks",
        "tests",
        "docs",
        "deploy",
    ):
        return
    module = ROOT / words[1].replace(".", "/")
    files = [file for file in (*module.glob("*.py"), module.with_suffix(".py")) if file.is_file()]
    if not files:
        yield f"there is no module {words[1]}"
        return
    text = "".join(file.read_text() for file in files)
    yield from (
        f"{words[1]} has no option {word}"
        for word in words
        if word.startswith("--") and word not in text
    )


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
    "candor": _candor,
    "docker": _docker,
    "kubectl": _kubectl,
    "pip": _pip,
    "uv": _pip,
    "python": _python,
    "make": _make,
}
