"""A document in Markdown, which no text in it can break."""

from collections.abc import Iterator, Sequence

from calibration.document import (
    Diagram,
    Document,
    FactList,
    FigureTable,
    Heading,
    Items,
    Part,
    Verdict,
)


def markdown(document: Document, *, diagram_file: str = "") -> str:
    """Return the document; its diagram, if it has one, is in a file beside it."""
    blocks = ("\n".join(_lines(part, diagram_file)) for part in document)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _lines(part: Part, diagram_file: str) -> Iterator[str]:
    match part:
        case str():
            yield plain(part)
        case Heading():
            yield f"{'#' * part.level} {plain(part.text)}"
        case Verdict():
            yield f"**{plain(part.word)}.** {plain(part.sentence)}"
        case FactList():
            yield from (f"- **{plain(name)}**: {plain(value)}" for name, value in part.rows)
        case Items():
            yield from (f"- {plain(line)}" for line in part.lines)
        case FigureTable():
            yield from _table(part)
        case Diagram():
            yield f"![Reliability diagram]({diagram_file})"


def _table(part: FigureTable) -> Iterator[str]:
    yield from ([f"**{plain(part.title)}**", ""] if part.title else [])
    yield _row(part.columns)
    yield "|" + "---|" * len(part.columns)
    yield from map(_row, part.rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(plain, cells))} |"


def plain(text: str) -> str:
    r"""Return text in which nothing is Markdown or HTML.

    >>> plain("a|b <i>*c*"), plain("two\nlines")
    ('a\\|b &lt;i>\\*c\\*', 'two lines')
    """
    shown = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{each}" if each in "\\`*_[]|#" else each for each in shown)
