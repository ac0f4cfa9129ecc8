"""What the command line prints: text is never taken for markup, long text is wrapped, errors are
one sentence.
"""

import httpx
import numpy as np
import pytest
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import OperationalError

from candor.commands.exporting import _bound_notes
from candor.terminal.console import sentence, stderr, stdout, visible
from candor.terminal.evaluation import temperature_notes
from candor.terminal.run_result import answer_tables, recipe_sentence
from candor.terminal.store import catalog_table
from candor.terminal.tables import figure, interval, table
from model_store.bundle.card import VariantCard
from model_store.store.catalog import CatalogEntry
from tests.builders.bundles import build_card
from training.evaluation.evaluation import Predictions, evaluate
from training.runs.config import CandidateScore, RecipeRecord


def test_text_in_brackets_is_printed_as_it_is() -> None:
    with stdout.capture() as printed:
        stdout.print("classes [bold] and [/red]")
        stdout.print(table("[x]", ("[dim]", "n"), [["tag:site=[b]", "1"]]))
    for text in ("classes [bold] and [/red]", "[x]", "[dim]", "tag:site=[b]"):
        assert text in printed.get()


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


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_of_a_user_is_printed_and_never_obeyed(name: str) -> None:
    shown = visible(name)
    assert shown.isprintable()
    for console in (stdout, stderr):
        with console.capture() as printed:
            console.print(f"class {name}", style="red")
            console.print(table(name, (name, "n"), [[name, "1"]], text=(name,)))
        assert printed.get().count(shown) >= 4
        assert name.isprintable() or name not in printed.get()


def test_a_long_reference_is_wrapped_and_no_figure_is_cut() -> None:
    entry = CatalogEntry(
        "lung", 12, True, temperature=1.234, ece=0.021, noise_floor=0.02, reference="word " * 30
    )
    console = Console(width=100, markup=False)
    with console.capture() as printed:
        console.print(catalog_table([entry]))
    assert "…" not in printed.get()
    assert printed.get().count("word") == 30


def test_what_is_not_a_number_is_a_dash() -> None:
    assert (figure(float("nan")), figure(None), interval(None, 0.5)) == ("-", "-", "[-, 0.500]")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            FileNotFoundError(2, "No such file or directory", "a.csv"),
            "a.csv: No such file or directory",
        ),
        (ValueError("as it is"), "as it is"),
        (
            OperationalError("SELECT 1", {}, Exception("disk full")),
            "the ledger's database failed: disk full",
        ),
        (
            httpx.ConnectError("refused", request=httpx.Request("GET", "http://host:1/models")),
            "no answer from http://host:1/models: refused; check the address, and that the server "
            "is running",
        ),
    ],
)
def test_an_error_is_a_sentence_that_names_its_object(error: Exception, said: str) -> None:
    assert sentence(error) == said


def test_a_temperature_at_its_bound_is_told() -> None:
    logits = np.array([[0.0, 3.0], [3.0, 0.0]] * 20, dtype=np.float32)
    sure = Predictions(100 * logits, np.array([1] + [1, 0] * 19 + [0]))  # and often wrong
    (note,) = temperature_notes(evaluate({"val": sure, "test": sure}))
    assert note.startswith("Note: the temperature 20 is a bound of its range (0.05 to 20)")
    both = temperature_notes(evaluate({"val": sure, "test": sure, "perturbed": sure}))
    assert [each.split(" 20 is")[0] for each in both] == [
        "Note: the temperature",
        "Note: the perturbed temperature",
    ]
    right = Predictions(logits, np.array([1, 0] * 20))
    assert temperature_notes(evaluate({"val": right, "test": right})) == []
    other = Predictions(logits, np.array([1, 0, 0, 0] * 10))
    assert temperature_notes(evaluate({"val": other, "test": other})) == []


def test_an_export_names_every_temperature_at_its_bound() -> None:
    card = build_card(temperature=20.0)
    low, well = build_card(temperature=0.05), build_card(temperature=1.4)
    variant = VariantCard(
        precision="int8",
        file="model.int8.onnx",
        calibration=low.calibration,
        accuracy_loss=0.0,
        agreement=1.0,
        max_difference=0.0,
    )
    notes = _bound_notes(card.model_copy(update={"variants": (variant,)}))
    assert [each.split(" is a bound")[0] for each in notes] == [
        "Note: the temperature 20",
        "Note: the temperature of int8 0.05",
    ]
    assert _bound_notes(well) == []


@pytest.mark.parametrize(("images", "shown"), [(20, False), (400, True)])
def test_a_lead_over_the_constant_answer_that_chance_explains_is_called_so(
    images: int, shown: bool
) -> None:
    """Right on 75 %, the constant answer on 60 %: 15 points on 20 images prove nothing, on 400 they
    do.
    """
    labels = np.repeat([0, 1], [images * 60 // 100, images * 40 // 100])
    answers = labels.copy()
    answers[: images // 10] = 1
    answers[-images * 15 // 100 :] = 0
    predictions = Predictions((2.0 * np.eye(2))[answers].astype(np.float32), labels)
    said = str(
        answer_tables(evaluate({"val": predictions, "test": predictions}), ("normal", "ill"))[-1]
    )
    assert (
        "Accuracy on test 0.750; always answering 'normal' would be right on 0.600. Difference "
        "+0.150" in said
    )
    assert ("so these 20 images do not show that the model is better." in said) is not shown
    assert ("not show" in said) is not shown


def test_of_many_classes_those_with_the_lowest_recall_are_shown() -> None:
    labels = np.repeat(np.arange(12), 4)
    answers = np.where(labels >= 10, 0, labels)  # the last two classes are never answered
    predictions = Predictions((5.0 * np.eye(12))[answers].astype(np.float32), labels)
    evaluation, classes = (
        evaluate({"val": predictions, "test": predictions}),
        tuple(f"class {n}" for n in range(12)),
    )
    short, full = (
        answer_tables(evaluation, classes, verbose=verbose)[0] for verbose in (False, True)
    )
    assert isinstance(short, Table)
    assert isinstance(full, Table)
    assert (short.row_count, full.row_count) == (10, 12)
    assert list(short.columns[0].cells)[:2] == ["class 10", "class 11"]


def test_the_kept_candidate_in_one_line() -> None:
    candidates = (
        CandidateScore(
            choices={"loss": "dca", "learning_rate": 1e-3}, val_nll=0.41, val_accuracy=0.8
        ),
        CandidateScore(
            choices={"loss": "ce", "learning_rate": 3e-4},
            val_nll=0.4,
            val_accuracy=0.81,
            chosen=True,
        ),
    )
    assert recipe_sentence(RecipeRecord(reasons=(), candidates=candidates)) == (
        "Recipe auto, best of 2 candidates: loss ce, learning rate 0.0003 (validation: NLL 0.400, "
        "accuracy 0.810)"
    )
