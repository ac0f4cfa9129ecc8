"""What `candor train` says when a run is done."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from calibration.document import Diagram, Items, Part
from calibration.figures import figure
from calibration.measures.reliability import reliability
from calibration.wording import call, counted, parameter, percent
from candor.terminal.evaluation import class_tables
from candor.terminal.findings import findings_tables
from candor.terminal.verb_result import VerbResult
from training.evaluation.evaluation import Evaluation
from training.evaluation.findings import FindingsEvaluation
from training.runs.config import CandidateScore, RecipeRecord, RunRecord
from training.runs.run import RunResult
from training.runs.task import Judgment


@dataclass(repr=False, eq=False)
class Trained(VerbResult):
    """A finished run.

    Attributes:
        data_note: a sentence on its data.
        result: folder, record, history and evaluation.
    """

    data_note: str
    result: RunResult

    @property
    def folder(self) -> Path:
        """The run folder, which `candor export` takes."""
        return self.result.folder

    def __fspath__(self) -> str:
        return str(self.folder)

    @property
    def judgment(self) -> Judgment:
        """What test says of its use."""
        return self.result.judgment

    @property
    def evaluation(self) -> Evaluation | FindingsEvaluation:
        """The predictions of validation and test, and their measures."""
        return self.result.evaluation

    def as_dict(self) -> dict[str, Any]:
        return {
            "run": str(self.folder),
            **dataclasses.asdict(self.judgment),
            **self.evaluation.as_dict(),
        }

    def document(self) -> Iterator[Part]:
        record = self.result.record
        yield self.data_note
        if record.recipe is not None and record.recipe.candidates:
            yield recipe_sentence(record.recipe)
        yield from _TABLES[type(self.evaluation)](self.evaluation, record)
        for split, sums in self.evaluation.calibrated_sums.items():
            yield Diagram(f"{split}, calibrated", reliability(sums))
        yield f"Run folder: {self.folder} (plots/, all measures in metrics.json)"
        yield from self._advice()

    def _advice(self) -> Iterator[Part]:
        judgment = self.judgment
        why = "this model beats a constant answer, but"
        if judgment.refused:
            without = f"without {parameter('anyway', True)}"
            why = f"this model is of no use as it is, and `candor export` refuses it {without}"
        if judgment.shortcomings or judgment.refused:
            yield Items(judgment.shortcomings, f"WARNING: {why}")
        if judgment.contradiction:
            left_out = f"leaves out the temperature: {judgment.contradiction}"
            yield f"WARNING: `candor export` {left_out}."
        if not judgment.refused:
            yield f"Next: {call('export', str(self.folder), name='MODEL')}"


_TABLES: Final[Mapping[type, Callable[[Any, RunRecord], Iterable[Part]]]] = {
    Evaluation: class_tables,
    FindingsEvaluation: findings_tables,
}


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
