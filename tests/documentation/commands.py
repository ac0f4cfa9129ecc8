"""The commands that a page tells its reader to type, and the programs it gives, by heading."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
# What a line begins with, after settings such as CANDOR_PORT=1: else an indented block is something
# to read.
PROGRAMS: Final = (
    *(
        "candor",
        "curl",
        "python",
        "python3",
        "pip",
        "uv",
        "make",
        "git",
        "docker",
        "kubectl",
        "ray",
        "apt-get",
    ),
    *(
        "openssl",
        "psql",
        "pg_dump",
        ".",
        ".venv/bin/pre-commit",
        "awk",
        "cd",
        "cp",
        "cut",
        "echo",
        "export",
    ),
    *("head", "kill", "mkdir", "printf", "sed", "tar", "touch", "until"),
)
_SETTING: Final = re.compile(r"""[A-Z_]+=(?:\$\(.*\)|"[^"]*"|[^\s"$]*)(?:\s+|$)""")
_COMMENT: Final = re.compile(r"\s+# .*$")
_FENCE: Final = re.compile(r"^\s*```(?:(\w+)(?: title=\"(.*)\")?)?$")
_SKIPPED: Final = ("docs/decisions",)  # what was true when it was written


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        heading: of the section it is in.
        typed: as printed, without the comment; several lines if it goes on. Of a program in Python:
            its text.
        file: where the program is to be saved before it is run by another command; None if it is
            run at once.
        is_python: whether it is a program in Python.
    """

    heading: str
    typed: str
    file: str | None = None
    is_python: bool = False


def pages() -> list[str]:
    """Every page whose commands a reader may type, from the root of the repository."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    names = sorted(file.relative_to(ROOT).as_posix() for file in files)
    return [name for name in names if not name.startswith(_SKIPPED) and name != "CHANGELOG.md"]


def commands_of(page: str) -> list[Command]:
    """The commands of a page, in their order."""
    return list(read_commands((ROOT / page).read_text(encoding="utf-8")))


def named_in_sentences(page: str) -> list[str]:
    """The commands of Candor in code type, without those that leave something out."""
    found = re.findall(r"`(candor [a-z][^`|<>]*)`", (ROOT / page).read_text(encoding="utf-8"))
    return [" ".join(command.split()) for command in found if "..." not in command]


def read_commands(markdown: str) -> Iterator[Command]:
    """Commands of fenced bash and Python, and indented ones that begin with a program."""
    for heading, language, title, lines in _blocks(markdown):
        if language == "python":
            yield Command(heading, "\n".join(lines) + "\n", file=title, is_python=True)
        elif language == "bash" or (language == "" and _is_typed(lines[0])):
            yield from (Command(heading, typed) for typed in _joined(lines))


def without_settings(typed: str) -> str:
    """The command without settings before it, such as CANDOR_PORT=1; or ""."""
    rest = typed.strip()
    while found := _SETTING.match(rest):
        rest = rest[found.end() :]
    return rest


def _is_typed(line: str) -> bool:
    words = without_settings(line).split(maxsplit=1)
    return not words or words[0] in PROGRAMS


def _joined(lines: list[str]) -> Iterator[str]:
    """Commands without comments; after a backslash or bar a line goes on."""
    parts: list[str] = []
    for line in lines:
        text = _COMMENT.sub("", line).rstrip()
        if text and not text.startswith("#"):
            parts.append(text)
        if parts and not text.endswith(("\\", "|")):
            yield "\n".join(parts)
            parts = []


def _blocks(markdown: str) -> Iterator[tuple[str, str, str | None, list[str]]]:
    """Heading, language, title, lines of each block; an indented one has no language."""
    heading, fence, block, after_blank = "", None, [], True
    for line in [*markdown.splitlines(), ""]:
        mark = _FENCE.match(line)
        if fence is not None:
            if mark:
                yield heading, fence[1] or "text", fence[2], block
                fence, block = None, []
            else:
                block.append(line)
            continue
        if line.startswith("    ") and (after_blank or block) and not mark:
            block.append(line)
        elif block:
            yield heading, "", None, _dedented(block)
            block = []
        if mark:
            fence = mark
        elif line.startswith("#"):
            heading = line.lstrip("#").strip()
        after_blank = not line.strip()


def _dedented(lines: list[str]) -> list[str]:
    depth = len(lines[0]) - len(lines[0].lstrip())
    return [line[depth:] if line[:depth].isspace() else line.lstrip() for line in lines]
