"""What the pages name exists: settings, metrics, commands and their options, files, functions.

Each test reads all pages and lists everything that is wrong, with the page.
"""

import doctest
import importlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from candor.import_conflicts import ROOMS
from docs.generators.server import families
from hosting.settings import PREFIX, Settings
from model_store.torchserve import handler
from model_store.torchserve.counters import COUNTERS

ROOT = Path(__file__).parents[2]
PAGES = {
    file.relative_to(ROOT).as_posix(): file.read_text()
    for file in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
}
FOLDERS = ("candor", *ROOMS, "benchmarks", "container", "deploy", "docs", "tests")
SAMPLES = {"training/losses/brier.py", "model_store/models"}  # what a page shows how to make


def refuse(missing: Callable[[str], Iterable[str]]) -> None:
    """Fail with `PAGE: NAME` for every name in `missing(text of the page)`."""
    wrong = [f"{page}: {name}" for page, text in PAGES.items() for name in sorted(missing(text))]
    assert not wrong, "these do not exist:\n" + "\n".join(wrong)


def test_settings_exist() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {handler.MONITOR_URL, handler.MONITOR_OUTBOX, handler.MONITOR_TOKEN_FILE}
    refuse(lambda text: {*re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]\b", text)} - known)


def test_metrics_exist() -> None:
    known = {
        f"{family.name}{end}"
        for family in families()
        for end in ("", "_total", "_bucket", "_sum", "_count")
    }
    names = re.compile(r"`(candor_[a-z_]+[a-z])(?:\{[^`]*)?`")
    refuse(lambda text: {*names.findall(text)} - known - {*COUNTERS})


def test_files_exist() -> None:
    """Every path in code type that begins with one of our folders; `*` stands for any name."""
    paths = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./*-]+)")

    def missing(text: str) -> Iterable[str]:
        found = {*paths.findall(text)} - SAMPLES
        return (path for path in found if not list(ROOT.glob(path.rstrip("/."))))

    refuse(missing)


def test_functions_named_beside_a_file_exist() -> None:
    """In "`path/to/file.py`: `name`", the file's module has that name."""
    pairs = re.compile(r"`([\w/]+\.py)`:? `([\w.]+)`")
    assert sum(len(pairs.findall(text)) for text in PAGES.values()) > 20
    refuse(lambda text: (f"{f} {n}" for f, n in pairs.findall(text) if not has(f, n)))


def has(file: str, name: str) -> bool:
    """Whether the module in `file` has an attribute `name`, which may have dots."""
    found: object = importlib.import_module(
        file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    )
    for part in name.split("."):
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


def test_examples_give_what_they_show() -> None:
    for page in (ROOT / "docs" / "explanation").glob("*.md"):
        assert doctest.testfile(str(page), module_relative=False).failed == 0, page


def test_pages_named_in_the_code_exist() -> None:
    missing = [
        f"{file.relative_to(ROOT)}: {page}"
        for room in ("candor", *ROOMS, "benchmarks")
        for file in (ROOT / room).rglob("*")
        if file.suffix in (".py", ".yml", ".jinja")
        for page in re.findall(r"docs/[\w/.-]+\.md", file.read_text())
        if page not in PAGES
    ]
    assert not missing, "these pages do not exist:\n" + "\n".join(missing)
