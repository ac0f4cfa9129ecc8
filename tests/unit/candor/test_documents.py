"""One document in terminal, Markdown and HTML: all of it is there, and no text is markup."""

import io

from calibration.bins import BinSums
from calibration.document import (
    Diagram,
    FactList,
    FigureTable,
    Heading,
    Items,
    Part,
    Verdict,
)
from calibration.markdown import markdown
from calibration.measures.reliability import reliability
from candor.terminal.console import LiteralConsole
from candor.terminal.rendering import rendered
from console.document import document_page, fragment

HOSTILE = "<b>|[red]*x*"
BINS = reliability(BinSums.from_predictions([0.9, 0.8], [True, False]))
DOCUMENT: list[Part] = [
    Heading(f"title {HOSTILE}", level=1),
    Verdict(f"word {HOSTILE}", "sentence"),
    f"text {HOSTILE}",
    FactList([(f"name {HOSTILE}", f"value {HOSTILE}")]),
    Items([f"item {HOSTILE}"], f"items {HOSTILE}"),
    FigureTable("table", ["", f"column {HOSTILE}"], [[f"row {HOSTILE}", "1"]]),
    Diagram("diagram", BINS),
]
WORDS = ("title", "word", "sentence", "text", "name", "value", "item", "table", "column", "row")


def test_every_renderer_shows_all_and_obeys_nothing() -> None:
    console = LiteralConsole(file=io.StringIO(), width=200, color_system=None)
    with console.capture() as printed:
        for part in rendered(DOCUMENT):
            console.print(part)
    said = markdown(DOCUMENT, diagram_file="d.svg")
    shown = {"page": document_page(DOCUMENT, title="t"), "fragment": fragment(DOCUMENT)}
    for text in (printed.get(), said, *shown.values()):
        assert [word for word in WORDS if word not in text] == []
    assert printed.get().count(HOSTILE) == 9
    for text in (said, *shown.values()):
        assert "<b>" not in text
    assert "](d.svg)" in said
    assert "<svg" in shown["page"]
    assert shown["fragment"].count("data:image/svg+xml;base64,") == 1


def test_sentences_stay_together_and_all_else_stands_apart() -> None:
    parts = ["a", "b", FactList([("n", "v")]), Diagram("d", BINS), "c"]
    console = LiteralConsole(file=io.StringIO(), width=80, color_system=None)
    with console.capture() as printed:
        for part in rendered(parts):
            console.print(part)
    assert [line.split() for line in printed.get().splitlines()] == [
        ["a"], ["b"], [], ["n", "v"], [], ["c"],
    ]  # fmt: skip
