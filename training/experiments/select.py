"""The report of `select`: every candidate on validation, the certainty of the choice, and test for
the record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.errors import BadChoice
from training.experiments.cell import CellResult
from training.experiments.choice import RESAMPLES, Candidate, Choice, EvaluationSet, Limits, choose
from training.experiments.summary import MethodSummary, summarize
from training.experiments.table import (
    ResultTable,
    certainty_notes,
    file_stem,
    format_estimate,
    format_number,
)

SHOWN = 15
SURE = 0.8  # of the resamples
SPLITS: Mapping[EvaluationSet, str] = {"val": "validation", "perturbed": "perturbed validation"}


@dataclass(frozen=True)
class MethodSelection:
    """The choice on one data set and network, with the test figures of every candidate."""

    pair: tuple[str, str]
    choice: Choice
    limits: Limits
    evaluation_set: EvaluationSet
    seeds: int
    images: int
    test: Mapping[Candidate, MethodSummary]

    @property
    def sentence(self) -> str:
        """The choice and its certainty, in one sentence."""
        chosen, share = self.choice.chosen, self.choice.shares[self.choice.chosen]
        rivals = sum(1 for each in self.choice.shares.values() if each > 0.05)
        certainty = (
            "a clear choice"
            if share >= SURE
            else f"not a clear one: {rivals} candidates are chosen in more than 5 % of resamples"
        )
        seeds = f"{self.seeds} seed{'s' if self.seeds > 1 else ''}"
        return (
            f"{self.pair[0]}, network {self.pair[1]}: {chosen.method} with {chosen.calibrator}, "
            "chosen on "
            f"{SPLITS[self.evaluation_set]} in {100 * share:.0f} % of {RESAMPLES} resamples of "
            f"{seeds} and "
            f"{self.images} images; {certainty}."
        )

    def table(self) -> ResultTable:
        """The best candidates on validation, including cross-entropy alone."""
        ordered = sorted(self.choice.scores, key=self._rank)
        first = ordered[:SHOWN]
        baseline = Candidate("ce", "none")
        rows = tuple(
            self._row(each) for each in (first if baseline in first else [*first, baseline])
        )
        rest = len(ordered) - len(rows)
        notes = (
            "Admissible: accuracy at least that of cross-entropy less "
            f"{self.limits.accuracy_loss:g}, NLL at most "
            f"{1 + self.limits.nll_share:g} times its. Test is shown for the record and chooses "
            "nothing.",
            *certainty_notes(
                [each.figures[name] for each in self.test.values() for name in ("ece", "accuracy")]
            ),
            *((f"{rest} more candidates in selection.csv.",) if rest > 0 else ()),
        )
        columns = (
            "candidate",
            *(f"{self.evaluation_set} {figure}" for figure in ("ECE", "accuracy", "NLL")),
            "admissible",
            "chosen %",
            "test ECE",
            "test z",
            "test accuracy",
        )
        return ResultTable(
            file_stem("select", self.evaluation_set, *self.pair),
            self.sentence,
            columns,
            rows,
            notes,
        )

    def as_rows(self) -> list[dict[str, Any]]:
        """A row per candidate."""
        return [
            {
                "data": self.pair[0],
                "network": self.pair[1],
                **candidate._asdict(),
                "judge": self.evaluation_set,
                "judge_ece": score.ece,
                "judge_accuracy": score.accuracy,
                "judge_nll": score.nll,
                "admissible": score.admissible,
                "chosen": candidate == self.choice.chosen,
                "share": self.choice.shares[candidate],
                **{
                    f"test_{name}": self.test[candidate].figures[name].mean
                    for name in ("ece", "ece_z", "accuracy")
                },
            }
            for candidate, score in self.choice.scores.items()
        ]

    def _rank(self, candidate: Candidate) -> tuple[bool, float, float]:
        score = self.choice.scores[candidate]
        return not score.admissible, round(score.ece, 3), score.nll

    def _row(self, candidate: Candidate) -> tuple[str, ...]:
        score, test = self.choice.scores[candidate], self.test[candidate].figures
        mark = " *" if candidate == self.choice.chosen else ""
        return (
            f"{candidate.method}, {candidate.calibrator}{mark}",
            format_number(score.ece),
            format_number(score.accuracy),
            format_number(score.nll),
            "yes" if score.admissible else "no",
            f"{100 * self.choice.shares[candidate]:.0f}",
            format_estimate(test["ece"]),
            f"{test['ece_z'].mean:.1f}",
            format_estimate(test["accuracy"]),
        )


def select(
    results: Sequence[CellResult], *, limits: Limits, evaluation_set: EvaluationSet = "val"
) -> list[MethodSelection]:
    """A choice for each data set and network of `results`. Raises BadChoice."""
    groups: dict[tuple[str, str], list[CellResult]] = {}
    for result in results:
        groups.setdefault((result.cell.data, result.cell.network), []).append(result)
    return [_selection(pair, group, limits, evaluation_set) for pair, group in groups.items()]


def _selection(
    pair: tuple[str, str],
    group: Sequence[CellResult],
    limits: Limits,
    evaluation_set: EvaluationSet,
) -> MethodSelection:
    try:
        choice = choose(group, limits=limits, evaluation_set=evaluation_set)
    except ValueError as error:
        raise BadChoice(str(error)) from error
    whole = [result for result in group if not result.failure]
    return MethodSelection(
        pair,
        choice,
        limits,
        evaluation_set,
        seeds=len({result.cell.config.seed for result in whole}),
        images=len(whole[0].predictions["val"].labels),
        test={Candidate(line.method, line.calibrator): line for line in summarize(group)},
    )
