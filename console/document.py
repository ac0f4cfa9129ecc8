"""A document as HTML: a page that is one file, and a fragment for a notebook."""

import base64
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from calibration.document import Diagram, Document, Part
from console.rendering import render
from model_store.bundle.diagram import diagram_file, reliability_diagram, scale_of


def document_page(document: Document, *, title: str) -> str:
    """Return the document as a page without scripts, with its style sheet inside."""
    return str(render("document_page.html", title=title, blocks=_blocks(document, drawn=True)))


def fragment(document: Document) -> str:
    """Return the document without a page around it; diagrams are pictures."""
    return str(render("document_fragment.html", blocks=_blocks(document, drawn=False)))


def _blocks(document: Document, *, drawn: bool) -> list[tuple[str, Any]]:
    """The parts with their kinds; diagrams that stand together have one scale."""
    found: list[tuple[str, Any]] = []
    for are_diagrams, parts in groupby(document, lambda part: isinstance(part, Diagram)):
        if are_diagrams:
            found.append(("Diagrams", [*_drawings([*parts], drawn=drawn)]))
        else:
            found += [(type(part).__name__, part) for part in parts]
    return found


def _drawings(parts: Sequence[Part], *, drawn: bool) -> Iterator[tuple[str, Markup]]:
    diagrams = [part for part in parts if isinstance(part, Diagram)]
    scale = scale_of(each.bins for each in diagrams)
    for each in diagrams:
        if drawn:
            of = f"rows, {each.title.lower()}"
            yield each.title, reliability_diagram(each.bins, of=of, scale=scale)
        else:
            svg = diagram_file(each.bins, scale=scale)
            picture = base64.b64encode(svg.encode()).decode()
            address = f"data:image/svg+xml;base64,{picture}"
            alt = "Reliability diagram"
            yield each.title, Markup('<img alt="{}" width="380" src="{}">').format(alt, address)
