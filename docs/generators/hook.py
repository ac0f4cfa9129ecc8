"""MkDocs calls this: it puts what the code says into pages, and folders into the navigation."""

from pathlib import Path
from typing import Any

from docs.generators.tables import expand


def on_config(config: Any) -> Any:
    """Write out each entry of the navigation that is a folder: its README.md, then by name."""
    config["nav"] = [_written_out(entry, Path(config["docs_dir"])) for entry in config["nav"]]
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace each mark `<!-- generated: NAME -->` by its table."""
    return expand(markdown)


def _written_out(entry: Any, docs: Path) -> Any:
    if isinstance(entry, dict):
        return {title: _written_out(inside, docs) for title, inside in entry.items()}
    if isinstance(entry, list):
        return [_written_out(inside, docs) for inside in entry]
    if not entry.endswith("/"):
        return entry
    pages = sorted(
        (docs / entry).glob("*.md"), key=lambda page: (page.name != "README.md", page.name)
    )
    return [page.relative_to(docs).as_posix() for page in pages]
