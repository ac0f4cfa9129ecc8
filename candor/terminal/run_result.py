"""What `candor train` says when a run is done."""

import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from calibration.measures.confusion import KNOWN_IMAGES, recall_intervals, recalls
from calibration.measures.reliability import reliability
from calibration.wording import counted, in_points, percent, percents, signed_points
from candor.terminal.evaluation import evaluation_tables
from candor.terminal.findings import findings_tables
from candor.terminal.tables import figure, table
from candor.terminal.verb_result import VerbResult
from model_store.bundle.diagram import diagram_file
from training.evaluation.caveats import Contradiction, balanced_price, contradiction
from training.evaluation.evaluation import EVALUATED, Evaluation, Method
from training.evaluation.findings import FindingsEvaluation, findings_shortcomings
from training.evaluation.usefulness import beats_constant, constant_answer, shortcomings
from training.runs.config import CandidateScore, RecipeRecord
from training.runs.repetition import Repetition
from training.runs.run import RunResult


@dataclass(repr=False, eq=False)
class Trained(VerbResult):
    """A finished run.

    Attributes:
        data_note: a sentence on its data.
        result: folder, record, history and evaluation.
        repetition: the run that it repeats, if it does.
    """

    data_note: str
    result: RunResult
    repetition: Repetition | None = None

    @property
    def folder(self) -> Path:
        """The run folder, which `candor export` takes."""
        return self.result.folder

    def __fspath__(self) -> str:
        return str(self.folder)

    @property
    def evaluation(self) -> Evaluation | FindingsEvaluation:
        """The predictions of validation and test, and their measures."""
        return self.result.evaluation

    @cached_property
    def shortcomings(self) -> list[str]:
        """Where the model fails on test; empty if it does not."""
        if isinstance(self.evaluation, FindingsEvaluation):
            return findings_shortcomings(self.evaluation)
        record = self.result.record
        balanced = record.config.class_weights == "balanced"
        return shortcomings(
            self.evaluation, record.classes, method="temperature", balanced=balanced
        )

    @cached_property
    def refused(self) -> bool:
        """Whether `candor export` refuses it: it beats no constant answer."""
        evaluation = self.evaluation
        if isinstance(evaluation, FindingsEvaluation):
            return bool(self.shortcomings)
        exported: Method = "uncalibrated" if self.contradiction else "temperature"
        return bool(self.shortcomings) and not beats_constant(evaluation, exported)

    @cached_property
    def contradiction(self) -> Contradiction | None:
        """How test contradicts the temperature, if it does."""
        if isinstance(self.evaluation, FindingsEvaluation):
            return None
        return contradiction(self.evaluation, "temperature")

    def as_dict(self) -> dict[str, Any]:
        return {
            "run": str(self.folder),
            "shortcomings": self.shortcomings,
            "refused": self.refused,
            "contradiction": self.contradiction and dataclasses.asdict(self.contradiction),
            **({"repeats": self.repetition.repeats(self.folder)} if self.repetition else {}),
            **self.evaluation.as_dict(),
        }

    def pictures(self) -> dict[str, str]:
        if isinstance(self.evaluation, FindingsEvaluation):
            return {}
        return {
            f"{split}, calibrated": str(
                diagram_file(reliability(self.evaluation.sums(split, "temperature")))
            )
            for split in EVALUATED
        }

    def parts(self) -> Iterator[RenderableType]:
        record, evaluation = self.result.record, self.evaluation
        yield f"{self.data_note}\n"
        if record.recipe is not None and record.recipe.candidates:
            yield recipe_sentence(record.recipe)
            yield ""
        if isinstance(evaluation, FindingsEvaluation):
            yield from findings_tables(evaluation)
        else:
            yield from (*evaluation_tables(evaluation), "")
            yield from answer_tables(evaluation, record.classes)
            if record.config.class_weights == "balanced":
                yield price_sentence(evaluation, record.counts["train"])
        if self.repetition:
            yield _REPEATED if self.repetition.repeats(self.folder) else _NOT_REPEATED
        yield f"\nRun folder: {self.folder} (plots/, all measures in metrics.json)"
        yield from self._advice()

    def _advice(self) -> Iterator[str]:
        if self.refused:
            yield (
                "\nWARNING: this model is of no use as it is, and `candor export` refuses it "
                "without --anyway:"
            )
        elif self.shortcomings:
            yield "\nWARNING: this model beats a constant answer, but:"
        yield from (f"- {each}" for each in self.shortcomings)
        if self.contradiction:
            yield f"\nWARNING: `candor export` leaves out the temperature: {self.contradiction}."
        if not self.refused:
            yield f"Next: candor export {shlex.quote(str(self.folder))} --name MODEL"


_REPEATED = "\nThe run is repeated: its weights are those of the card, to the bit."
_NOT_REPEATED = (
    "\n"
    "The choices and the data are the card's, but the weights are not equal to the bit: other "
    "libraries, another processor or number of threads add in another order."
)

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
        rows.append((recall, [name, str(sum(counts)), percent(recall), percents(*ends), *shown]))
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
        f"Accuracy on test {percent(constant.accuracy + constant.lead)}; always answering "
        f"{classes[constant.label]!r} would be right on {percent(constant.accuracy)}. Difference "
        f"{in_points(constant.lead)} (95 % interval {signed_points(constant.lead_lower)} to "
        f"{signed_points(constant.lead_upper)}){unproven}."
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
        "you better, train with --class-weights natural."
    )


def rare_sentence(kept: CandidateScore, candidates: Sequence[CandidateScore]) -> str:
    """Return what it would cost to answer classes that the kept candidate never answers; empty if
    no other one answers more.

    >>> kept = CandidateScore(choices={}, val_nll=0.5, val_accuracy=0.9, unanswered=("rare",))
    >>> other = CandidateScore(choices={"loss": "ce"}, val_nll=0.7, val_accuracy=0.8)
    >>> rare_sentence(kept, [kept, other])
    " It never answers 'rare'. Loss ce would, for NLL 0.700 and accuracy 80.0 %."
    """
    more = [each for each in candidates if len(each.unanswered) < len(kept.unanswered)]
    if not more:
        return ""
    other = min(more, key=lambda each: (len(each.unanswered), each.val_nll or 0.0))
    gained = [name for name in kept.unanswered if name not in other.unanswered]
    return (
        f" It never answers {', '.join(map(repr, gained))}. {_choices(other).capitalize()} would, "
        f"for NLL {figure(other.val_nll)} and accuracy {percent(other.val_accuracy)}."
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
        f"(validation: {_validated(kept)})." + rare_sentence(kept, recipe.candidates)
    )


def _validated(each: CandidateScore) -> str:
    recall = each.val_mean_recall
    shown = f"NLL {figure(each.val_nll)}, accuracy {percent(each.val_accuracy)}"
    return shown if recall is None else f"{shown}, mean recall {percent(recall)}"


def _choice(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
