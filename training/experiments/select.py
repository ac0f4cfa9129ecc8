"""`candor experiment select`: every method as `candor train` would train it on this data, the
choice on validation, its certainty, and test for the record.

A method that was measured with another head or too few steps says little about the model that a
user gets. So each method has the candidates that the recipe `auto` makes of it. The first keeps the
method's title; others add what differs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from calibration.wording import counted, percent, points
from training.datasets import Dataset
from training.experiments.cell import CellResult
from training.experiments.choice import RESAMPLES, Candidate, Choice, Limits, choose
from training.experiments.grid import Grid, Variant
from training.experiments.summary import BASELINE, MethodSummary, summarize
from training.experiments.table import (
    ResultTable,
    certainty_notes,
    file_stem,
    format_estimate,
    format_number,
)
from training.networks.backbones import SMALL
from training.runs.config import TrainConfig
from training.runs.recipe import automatic, differing

SHOWN = 15
SURE = 0.8  # of the resamples


@dataclass(frozen=True)
class MethodSelection:
    """The choice on one data set and network, with the test figures of every candidate."""

    pair: tuple[str, str]
    choice: Choice
    limits: Limits
    seeds: int
    images: int
    test: Mapping[Candidate, MethodSummary]

    @property
    def sentence(self) -> str:
        """The choice and its certainty, in one sentence."""
        chosen, share = self.choice.chosen, self.choice.shares[self.choice.chosen]
        rivals = sum(1 for each in self.choice.shares.values() if each > 0.05)
        certainty = "a clear choice"
        if share < SURE:
            certainty = f"{rivals} candidates are chosen in more than 5 % of resamples"
        return (
            f"{self.pair[0]}, network {self.pair[1]}: {chosen.method} with {chosen.calibrator}, "
            f"chosen on validation in {percent(share, 0)} of {RESAMPLES} resamples of "
            f"{counted(self.seeds, 'seed')} and {self.images} images; {certainty}."
        )

    def table(self) -> ResultTable:
        """The best candidates on validation, including cross-entropy alone."""
        ordered = sorted(self.choice.scores, key=lambda each: self.choice.scores[each].rank)
        first = ordered[:SHOWN]
        baseline = Candidate(*BASELINE)
        if baseline not in first:
            first.append(baseline)
        rest = len(ordered) - len(first)
        notes = (
            "Admissible: accuracy at least that of cross-entropy less "
            f"{points(self.limits.accuracy_loss)}, NLL at most {1 + self.limits.nll_share:g} times "
            "its. Test is shown for the record and chooses nothing.",
            *certainty_notes(
                [each.figures[name] for each in self.test.values() for name in ("ece", "accuracy")]
            ),
            *((f"{rest} more candidates in selection.csv.",) if rest > 0 else ()),
        )
        columns = (
            "candidate",
            *(f"val {figure}" for figure in ("ECE", "accuracy", "NLL")),
            "admissible",
            "chosen",
            "test ECE",
            "test z",
            "test accuracy",
        )
        rows = tuple(map(self._row, first))
        return ResultTable(file_stem("select", *self.pair), self.sentence, columns, rows, notes)

    def as_rows(self) -> list[dict[str, Any]]:
        """A row per candidate."""
        return [
            {
                "data": self.pair[0],
                "network": self.pair[1],
                **candidate._asdict(),
                "val_ece": score.ece,
                "val_accuracy": score.accuracy,
                "val_nll": score.nll,
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

    def _row(self, candidate: Candidate) -> tuple[str, ...]:
        score, test = self.choice.scores[candidate], self.test[candidate].figures
        mark = " *" if candidate == self.choice.chosen else ""
        return (
            f"{candidate.method}, {candidate.calibrator}{mark}",
            percent(score.ece),
            percent(score.accuracy),
            format_number(score.nll),
            "yes" if score.admissible else "no",
            percent(self.choice.shares[candidate], 0),
            format_estimate(test["ece"]),
            f"{test['ece_z'].mean:.1f}",
            format_estimate(test["accuracy"]),
        )


def select(results: Sequence[CellResult], *, limits: Limits) -> list[MethodSelection]:
    """A choice for each data set and network of `results`. Raises BadChoice."""
    groups: dict[tuple[str, str], list[CellResult]] = {}
    for result in results:
        groups.setdefault((result.cell.data, result.cell.network), []).append(result)
    return [_selection(pair, group, limits) for pair, group in groups.items()]


def _selection(
    pair: tuple[str, str], group: Sequence[CellResult], limits: Limits
) -> MethodSelection:
    choice = choose(group, limits=limits)
    whole = [result for result in group if not result.failure]
    return MethodSelection(
        pair,
        choice,
        limits,
        seeds=len({result.cell.config.seed for result in whole}),
        images=len(whole[0].predictions["val"].labels),
        test={Candidate(line.method, line.calibrator): line for line in summarize(group)},
    )


def recipe_grids(
    grid: Grid, datasets: Mapping[str, Dataset], folder: Path | None
) -> tuple[Grid, ...]:
    """`grid` as a grid for each data set of `datasets` and network, with the candidates of each
    method.

    What data, network and method choose themselves is kept. The small network of the digits has a
    recipe of its own.
    """
    grids: list[Grid] = []
    for data, network in grid.pairs():
        if data.title not in datasets:
            continue
        methods = grid.methods
        if network.subject != SMALL:
            candidates = (
                _candidates(grid, data, network, method, datasets[data.title], folder)
                for method in methods
            )
            methods = tuple(chain.from_iterable(candidates))
        grids.append(replace(grid, data=(data,), networks=(network,), methods=methods))
    return tuple(grids)


def _candidates(
    grid: Grid,
    data: Variant,
    network: Variant,
    method: Variant,
    dataset: Dataset,
    folder: Path | None,
) -> Iterator[Variant]:
    own = grid.config(data, network, method, seed=0, folder=folder)
    exceptions = grid.exceptions.get((data.title, network.title), {})
    given = {"loss", "loss_options", *data.changes, *network.changes, *exceptions, *method.changes}
    candidates = automatic(dataset, own, given=given).candidates
    for number, candidate in enumerate(candidates):
        differences = differing(candidate, candidates).items() if number else ()
        words = [
            f"x{value}" if name == "heads" else f"{name}={value}" for name, value in differences
        ]
        changes = {
            name: getattr(candidate, name)
            for name in TrainConfig.model_fields
            if getattr(candidate, name) != getattr(own, name)
        }
        title = " ".join([method.title, *words])
        yield Variant(title, method.subject, dict(method.changes) | changes)
