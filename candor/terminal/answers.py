"""What `candor train` prints about the answers by class, beside calibration: recall, confusion, the
constant answer.
"""

from collections.abc import Sequence

from rich.console import RenderableType

from calibration.measures.confusion import recalls
from calibration.wording import counted
from candor.terminal.tables import figure, table
from training.evaluation.evaluation import Evaluation
from training.evaluation.usefulness import constant_answer

COLUMNS = 10  # classes whose answers get a column each
HEADER = 14  # characters of a class name above a column


def answer_tables(
    evaluation: Evaluation, classes: Sequence[str], *, verbose: bool = False
) -> list[RenderableType]:
    """Return recall and answers by true class on test, and how the model compares with the best
    constant answer.

    Of more than ten classes only those with the lowest recall are shown, unless `verbose`.
    """
    confusion = evaluation.confusion("test", "temperature")
    rows: list[tuple[float | None, list[str]]] = []
    for name, counts, recall in zip(classes, confusion.tolist(), recalls(confusion), strict=True):
        shown = (
            [str(count) for count in counts]
            if len(classes) <= COLUMNS
            else [_mistakes(counts, name, classes)]
        )
        rows.append((recall, [name, str(sum(counts)), figure(recall), *shown]))
    answered = (
        [_short(name) for name in classes] if len(classes) <= COLUMNS else ["most frequent mistake"]
    )
    title = "Answers on test by true class (recall is the share of its images that got its answer)"
    if len(rows) > COLUMNS and not verbose:
        rows = sorted(rows, key=lambda row: 2.0 if row[0] is None else row[0])[:COLUMNS]
        title = f"Answers on test: the {COLUMNS} of {len(classes)} classes with the lowest recall"
    shown_rows = [row for _, row in rows]
    return [
        table(title, ("", "images", "recall", *answered), shown_rows),
        _comparison(evaluation, classes),
    ]


def _comparison(evaluation: Evaluation, classes: Sequence[str]) -> str:
    constant = constant_answer(evaluation, "test", "temperature")
    unproven = (
        f", so these {counted(constant.images, 'image')} "
        f"{'does' if constant.images == 1 else 'do'} not show that the "
        "model is better"
        if constant.lead > 0 >= constant.lead_lower
        else ""
    )
    return (
        f"Accuracy on test {constant.accuracy + constant.lead:.3f}; always answering "
        f"{classes[constant.label]!r} would "
        f"be right on {constant.accuracy:.3f}. Difference {constant.lead:+.3f} "
        f"(95 % interval {constant.lead_lower:+.3f} to {constant.lead_upper:+.3f}){unproven}."
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
