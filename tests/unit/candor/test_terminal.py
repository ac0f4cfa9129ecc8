"""What is printed: text is no markup, no width cuts a figure, and errors are one sentence."""

import io

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

from calibration.bins import BinSums
from calibration.document import Diagram, FactList, FigureTable, Heading, Items, Part, Verdict
from calibration.markdown import markdown
from calibration.measures.reliability import reliability
from candor.terminal import progress
from candor.terminal.console import LiteralConsole, sentence, stderr, stdout, visible
from candor.terminal.evaluation import answer_tables
from candor.terminal.predictions import short_text
from candor.terminal.rendering import ShownTable, rendered
from console.document import document_page, fragment
from training.evaluation.evaluation import evaluate
from training.evaluation.predictions import Predictions

HOSTILE = (
    ":heart:",
    "[red]",
    "[/]",
    "a:b [c] (d)",
    "50% $x$",
    "=cmd()",
    "\x1b[31mred",
    "back\rward",
    "\u202eevil",
    "\udcff.png",
)


def test_a_name_of_a_user_is_printed_and_never_obeyed() -> None:
    for name in HOSTILE:
        shown = visible(name)
        assert shown.isprintable()
        for console in (stdout, stderr):
            with console.capture() as printed:
                console.print(f"class {name}", style="red")
                console.print(
                    ShownTable(FigureTable(name, (name, "n"), [[name, "1"]], text=(name,)))
                )
            assert printed.get().count(shown) >= 4
            assert name.isprintable() or name not in printed.get()


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("width", [20, 80, 120])
def test_no_width_cuts_a_figure(width: int, is_terminal: bool) -> None:
    names = [f"m{number}" for number in range(100, 130)]
    figures = [f"{number}.12345" for number in range(100, 130)]
    console = LiteralConsole(width=width, force_terminal=is_terminal, color_system=None)
    with console.capture() as printed:
        console.print(
            ShownTable(FigureTable("t", ["", *names], [["a long name of a row", *figures]]))
        )
    shown = printed.get()
    assert [each for each in shown.split() if each[0] == "1"] == figures
    assert [each for each in shown.split() if each[0] == "m"] == names
    assert (max(map(len, shown.splitlines())) <= width) == is_terminal


@pytest.mark.parametrize("width", [40, 50, 80])
def test_columns_that_wrap_fit_into_every_terminal(width: int) -> None:
    columns, said = ("measure", "value", "meaning"), "a sentence of several words"
    rows = [["expected calibration error", "1.2 % (0.3 to 4.5 %)", said], ["brier", "0.1", said]]
    console = LiteralConsole(width=width, force_terminal=True, color_system=None)
    with console.capture() as printed:
        console.print(ShownTable(FigureTable("", columns, rows, text=("value", "meaning"))))
    assert max(map(len, printed.get().splitlines())) <= width
    for words in (*columns, *rows[0]):
        assert all(word in printed.get() for word in words.split())


def test_an_error_of_the_database_is_told_without_its_statement() -> None:
    said = sentence(OperationalError("SELECT 1", {}, Exception("disk full")))
    assert said.endswith(": disk full")
    assert "SELECT" not in said


def test_of_many_classes_those_with_the_lowest_recall_are_shown() -> None:
    labels = np.repeat(np.arange(12), 8)
    answers = np.where(labels >= 10, 0, labels)  # the last two classes are never answered
    predictions = Predictions((5.0 * np.eye(12))[answers].astype(np.float32), labels)
    evaluation = evaluate({"val": predictions, "test": predictions})
    shown = answer_tables(evaluation, [f"class {n}" for n in range(12)])[0]
    assert isinstance(shown, FigureTable)
    assert len(shown.rows) == 10
    assert [row[0] for row in shown.rows[:2]] == ["class 10", "class 11"]


@pytest.mark.parametrize("width", [80, 120])
def test_no_width_cuts_stage_count_or_figures_of_a_bar(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.StringIO()
    terminal = LiteralConsole(file=shown, force_terminal=True, width=width)
    monkeypatch.setattr(progress, "stderr", terminal)
    with progress.bars() as show:
        show("train network_of_tests with dca", 3, 40, loss=0.5123, accuracy=0.8432, gap=0.0123)
    assert "…" not in shown.getvalue()
    for part in ("network_of_tests", "dca", "3/40", "0.512", "84.3", "+1.2"):
        assert part in shown.getvalue()


def test_no_answer_is_shown_as_certain_or_impossible() -> None:
    said = short_text({"probabilities": {"a": 0.99999, "b": 0.00001}, "refer": False})
    assert [line.split(maxsplit=1)[1] for line in said.splitlines()] == [
        "over 99.9 %",
        "under 0.1 %",
    ]


MARKUP = "<b>|[red]*x*"
BINS = reliability(BinSums.from_predictions([0.9, 0.8], [True, False]))
DOCUMENT: list[Part] = [
    Heading(f"title {MARKUP}", level=1),
    Verdict(f"word {MARKUP}", "sentence"),
    f"text {MARKUP}",
    FactList([(f"name {MARKUP}", f"value {MARKUP}")]),
    Items([f"item {MARKUP}"], f"items {MARKUP}"),
    FigureTable("table", ["", f"column {MARKUP}"], [[f"row {MARKUP}", "1"]]),
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
    assert printed.get().count(MARKUP) == 9
    for text in (said, *shown.values()):
        assert "<b>" not in text
    assert "](d.svg)" in said
    assert "<svg" in shown["page"]
    assert shown["fragment"].count("data:image/svg+xml;base64,") == 1
