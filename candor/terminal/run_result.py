"""What `candor train` says when a run is done."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

from rich.console import RenderableType

from calibration.measures.confusion import KNOWN_IMAGES, recall_intervals, recalls
from calibration.wording import counted
from candor.terminal.console import print_json, stdout
from candor.terminal.evaluation import evaluation_tables
from candor.terminal.findings import findings_tables
from candor.terminal.tables import figure, interval, table
from training.evaluation.caveats import balanced_price, contradiction
from training.evaluation.evaluation import Evaluation
from training.evaluation.findings import FindingsEvaluation, findings_shortcomings
from training.evaluation.usefulness import constant_answer, shortcomings
from training.runs.config import CandidateScore, RecipeRecord, RunRecord
from training.runs.repetition import Repetition
from training.runs.run import RunResult


def print_result(
    note: str, result: RunResult, repetition: Repetition | None, *, json_out: bool
) -> None:
    """Print a run, after a `note` on its data."""
    evaluation, record = result.evaluation, result.record
    found, tables = _assessed(evaluation, record)
    contradicted = (
        contradiction(evaluation, "temperature") if isinstance(evaluation, Evaluation) else None
    )
    if json_out:
        repeats = {"repeats": repetition.repeats(result.folder)} if repetition else {}
        print_json(
            {
                "run": str(result.folder),
                "shortcomings": found,
                "contradiction": contradicted and dataclasses.asdict(contradicted),
            }
            | repeats
            | evaluation.as_dict()
        )
        return
    stdout.print(f"{note}\n")
    if record.recipe is not None and record.recipe.candidates:
        stdout.print(recipe_sentence(record.recipe))
        stdout.print()
    for part in tables():
        stdout.print(part)
    if record.config.class_weights == "balanced" and isinstance(evaluation, Evaluation):
        stdout.print(price_sentence(evaluation, record.counts["train"]))
    if repetition and repetition.repeats(result.folder):
        stdout.print("\nThe run is repeated: its weights are those of the card, to the bit.")
    elif repetition:
        stdout.print(
            "\n"
            "The choices and the data are the card's, but the weights are not equal to the bit: "
            "other libraries, another processor or number of threads add in another order."
        )
    stdout.print(f"\nRun folder: {result.folder} (plots/, all measures in metrics.json)")
    if contradicted and not found:
        stdout.print(f"\nWARNING: `candor export` refuses it without --anyway: {contradicted}.")
        return
    if not found:
        stdout.print(f"Next: candor export {result.folder} --name MODEL")
        return
    stdout.print(
        "\nWARNING: this model is of no use as it is, and `candor export` refuses it without "
        "--anyway:"
    )
    for each in found:
        stdout.print(f"- {each}")


def _assessed(
    evaluation: Evaluation | FindingsEvaluation, record: RunRecord
) -> tuple[list[str], Callable[[], Sequence[RenderableType]]]:
    """Why a model is of no use, and its tables when they are wanted."""
    if isinstance(evaluation, FindingsEvaluation):
        return findings_shortcomings(evaluation), partial(findings_tables, evaluation)
    balanced = record.config.class_weights == "balanced"
    found = shortcomings(evaluation, record.classes, method="temperature", balanced=balanced)

    def tables() -> list[RenderableType]:
        return [*evaluation_tables(evaluation), "", *answer_tables(evaluation, record.classes)]

    return found, tables


COLUMNS = 10  # classes whose answers get a column each
HEADER = 14  # characters of a class name above a column


def answer_tables(evaluation: Evaluation, classes: Sequence[str]) -> list[RenderableType]:
    """Return answers by true class on test, and the comparison with a constant answer.

    Of more than ten classes only those with the lowest recall are shown.
    """
    confusion = evaluation.confusion("test", "temperature")
    rows: list[tuple[float | None, list[str]]] = []
    known = zip(classes, confusion.tolist(), recalls(confusion), strict=True)
    for (name, counts, recall), ends in zip(known, recall_intervals(confusion), strict=True):
        shown = (
            [str(count) for count in counts]
            if len(classes) <= COLUMNS
            else [_mistakes(counts, name, classes)]
        )
        rows.append((recall, [name, str(sum(counts)), figure(recall), interval(*ends), *shown]))
    answered = (
        [_short(name) for name in classes] if len(classes) <= COLUMNS else ["most frequent mistake"]
    )
    title = (
        "Answers on test by true class (recall is the share of its images that got its answer; "
        f"unknown below {KNOWN_IMAGES} images)"
    )
    if len(rows) > COLUMNS:
        rows = sorted(rows, key=lambda row: 2.0 if row[0] is None else row[0])[:COLUMNS]
        title = f"Answers on test: the {COLUMNS} of {len(classes)} classes with the lowest recall"
    shown_rows = [row for _, row in rows]
    return [
        table(title, ("", "images", "recall", "95 % interval", *answered), shown_rows),
        _comparison(evaluation, classes),
    ]


def _comparison(evaluation: Evaluation, classes: Sequence[str]) -> str:
    constant = constant_answer(evaluation, "test", "temperature")
    unproven = (
        f", so these {counted(constant.images, 'image')} "
        f"{'does' if constant.images == 1 else 'do'} not show that the model is better"
        if constant.lead > 0 >= constant.lead_lower
        else ""
    )
    return (
        f"Accuracy on test {constant.accuracy + constant.lead:.3f}; always answering "
        f"{classes[constant.label]!r} would be right on {constant.accuracy:.3f}. Difference "
        f"{constant.lead:+.3f} (95 % interval {constant.lead_lower:+.3f} to "
        f"{constant.lead_upper:+.3f}){unproven}."
    )


def _mistakes(counts: Sequence[int], name: str, classes: Sequence[str]) -> str:
    """Return the wrong answer that a class got most often.

    >>> _mistakes([5, 1, 2], "a", ("a", "b", "c")), _mistakes([5, 0, 0], "a", ("a", "b", "c"))
    ('c (2)', '-')
    """
    wrong = [(count, other) for other, count in zip(classes, counts, strict=True) if other != name]
    count, other = max(wrong, key=lambda each: each[0])
    return f"{other} ({count})" if count else "-"


def _short(name: str) -> str:
    return name if len(name) <= HEADER else f"{name[: HEADER - 1]}…"


def price_sentence(evaluation: Evaluation, counts: Sequence[int]) -> str:
    """Return what balanced class weights give and cost on validation."""
    balanced, corrected = balanced_price(evaluation, counts)
    return (
        f"Balanced class weights answer as if all classes were equally frequent. On validation: "
        f"{balanced}. Corrected to the frequencies in the data: {corrected}. If the second suits "
        "you better, train without --class-weights balanced."
    )


def rare_sentence(kept: CandidateScore, candidates: Sequence[CandidateScore]) -> str:
    """Return what it would cost to answer classes that the kept candidate never answers; empty if
    no other one answers more.

    >>> kept = CandidateScore(choices={}, val_nll=0.5, val_accuracy=0.9, unanswered=("rare",))
    >>> other = CandidateScore(choices={"loss": "ce"}, val_nll=0.7, val_accuracy=0.8)
    >>> rare_sentence(kept, [kept, other])
    " It never answers 'rare'. Loss ce would, for NLL 0.700 and accuracy 0.800."
    """
    more = [each for each in candidates if len(each.unanswered) < len(kept.unanswered)]
    if not more:
        return ""
    other = min(more, key=lambda each: (len(each.unanswered), each.val_nll or 0.0))
    gained = [name for name in kept.unanswered if name not in other.unanswered]
    return (
        f" It never answers {', '.join(map(repr, gained))}. {_choices(other).capitalize()} would, "
        f"for NLL {figure(other.val_nll)} and accuracy {figure(other.val_accuracy)}."
    )


def _choices(candidate: CandidateScore) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {_choice(value)}" for name, value in candidate.choices.items()
    )


def recipe_sentence(recipe: RecipeRecord) -> str:
    """Return the candidate that was kept, its choices and how it did on validation, in one line."""
    (kept,) = (each for each in recipe.candidates if each.chosen)
    return (
        f"Recipe auto, best of {counted(len(recipe.candidates), 'candidate')}: {_choices(kept)} "
        f"(validation: NLL {figure(kept.val_nll)}, accuracy {figure(kept.val_accuracy)})."
        + rare_sentence(kept, recipe.candidates)
    )


def _choice(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
