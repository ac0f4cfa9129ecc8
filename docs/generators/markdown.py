"""Tables as Markdown."""

import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar in a cell does not end it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def plain(text: str) -> str:
    """Text not written as Markdown: brackets and angles outside of code are what they look like."""
    return re.sub(r"(`[^`]*`)|([\[<*_])", lambda found: found[1] or f"\\{found[2]}", text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
