"""What the documentation names exists: settings, metrics, commands and their options, files,
functions.
"""

import doctest
import functools
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from candor.command_line import app
from docs.generators.server import families
from model_store.torchserve.counters import COUNTERS
from serving.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
ROOMS = ("calibration", "candor", "model_store", "monitoring", "serving", "training")
FOLDERS = (*ROOMS, "benchmarks", "container", "deploy", "docs", "tests")
WALKS = ("CONTRIBUTING.md", "docs/architecture.md")
GROUPS = (
    "canary",
    "data",
    "experiment",
    "config",
    "ledger",
    "torchserve",
    "models",
)  # verbs that have verbs below them
SAMPLES = {"training/losses/brier.py"}  # files that a page shows how to write

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


@pages
def test_settings_exist(page: Path) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]\b", page.read_text())) <= known


@pages
def test_metrics_exist(page: Path) -> None:
    known = set(COUNTERS)
    for family in families():
        known |= {
            family.name,
            f"{family.name}_total",
            *(f"{family.name}_{part}" for part in ("bucket", "sum", "count")),
        }
    named = set(re.findall(r"`(candor_[a-z_]+[a-z])(?:\{[^`]*)?`", page.read_text()))
    assert named <= known


@pages
def test_commands_and_their_options_exist(page: Path) -> None:
    for command in commands(page.read_text()):
        verb, options = parsed(command)
        known = options_of(verb)
        assert known is not None, f"{command}: no such verb"
        assert set(options) <= known, f"{command}: no such option"


@pages
def test_files_exist(page: Path) -> None:
    """Every path in code type that begins with one of our folders; `*` stands for any name."""
    paths = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./*-]+)", page.read_text())
    for path in set(paths) - SAMPLES - {"model_store/models"}:
        assert list(ROOT.glob(path.rstrip("/."))), f"{path} does not exist"


@pytest.mark.parametrize("page", WALKS)
def test_functions_named_beside_a_file_exist(page: str) -> None:
    """In "`path/to/file.py`: `name`", the file's module has that name."""
    text = (ROOT / page).read_text()
    pairs = [(name, path) for path, name in re.findall(r"`([\w/]+\.py)`:? `([\w.]+)`", text)]
    assert pairs
    for name, path in pairs:
        found = importlib.import_module(
            path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        )
        for part in name.split("."):
            assert hasattr(found, part), f"{path} has no {name}"
            found = getattr(found, part)


@pytest.mark.parametrize("room", ["candor", "monitoring", "serving", "training"])
def test_the_architecture_shows_the_layers_that_are_held(room: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = (each["layers"] for each in contracts if each.get("containers") == [room])
    folders = [
        [name for name in layer.split(" | ") if (ROOT / room / name).is_dir()] for layer in layers
    ]
    (row,) = re.findall(
        rf"^\| `{room}/` \| .* \| (.*) \|$",
        (ROOT / "docs/architecture.md").read_text(),
        re.MULTILINE,
    )
    shown = [re.findall(r"`(\w+)`", layer) for layer in row.split(" → ")]
    assert shown == [layer for layer in folders if layer]


@pytest.mark.parametrize("folder", ["decisions", "runbooks"])
def test_an_index_lists_every_page_of_its_folder(folder: str) -> None:
    index = (ROOT / "docs" / folder / "README.md").read_text()
    names = {file.name for file in (ROOT / "docs" / folder).glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", index)) == names


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs/explanation").glob("*.md")), ids=lambda page: page.name
)
def test_examples_give_what_they_show(page: Path) -> None:
    assert doctest.testfile(str(page), module_relative=False).failed == 0


def test_pages_named_in_the_code_exist() -> None:
    for room in (*ROOMS, "benchmarks"):
        for file in (
            file for suffix in ("py", "yml", "jinja") for file in (ROOT / room).rglob(f"*.{suffix}")
        ):
            for path in re.findall(r"docs/[\w/.-]+\.md", file.read_text()):
                assert (ROOT / path).is_file(), f"{file.relative_to(ROOT)} names {path}"


def commands(text: str) -> Iterator[str]:
    """The command lines of `candor` in code blocks and code spans, without what is not ours (pipes,
    comments).
    """
    for found in re.findall(
        r"^(?: {4,}|.*?[=$] ?|)(candor [a-z][^#|>&\n`]*)$|`(candor [a-z][^`|]*)`", text, re.M
    ):
        command = " ".join("".join(found).split("#")[0].split("&")[0].split())
        if re.match(r"candor [a-z]+( |$)", command) and "..." not in command:
            yield command


def parsed(command: str) -> tuple[tuple[str, ...], list[str]]:
    """The words before the first option that name a verb, and the options."""
    words = command.split()[1:]
    two = words[0] in GROUPS and len(words) > 1 and not words[1].startswith("-")
    verb = tuple(words[:2]) if two else (words[0],)
    return verb, re.findall(r"(?<![\w-])--[a-z][a-z-]*", command)


@functools.cache
def options_of(verb: tuple[str, ...]) -> set[str] | None:
    """The options of a verb, or None if there is none of this name."""
    command = typer.main.get_command(app)
    for word in verb:
        command = getattr(command, "commands", {}).get(word)  # type: ignore[assignment]
        if command is None:
            return None
    return {"--help"} | {
        name for each in command.params for name in (*each.opts, *each.secondary_opts)
    }
