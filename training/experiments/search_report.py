"""The report of a search: what was searched, what each method got, and what that gives on test with
fresh seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from calibration.measures.summary import Measures
from calibration.wording import counted
from training.experiments.averages import average_table
from training.experiments.cell import CellResult
from training.experiments.choice import EvaluationSet, Limits
from training.experiments.compare import GridComparison
from training.experiments.paired import paired_tables
from training.experiments.search import SearchBudget, SearchedPair, TriedRecipe
from training.experiments.select import SPLITS, select
from training.experiments.summary import BASELINE, MethodSummary, estimate, measure, summarize
from training.experiments.table import (
    ResultTable,
    file_stem,
    format_estimate,
    format_number,
    write_csv,
)

COLUMNS = (
    "method",
    "recipe",
    "val ECE",
    "val accuracy",
    "val NLL",
    "within limits",
    "test ECE",
    "z",
    "accuracy",
    "NLL",
    "ECE + temperature",
    "z + temperature",
)


@dataclass(frozen=True)
class SearchReport:
    """The pairs of a search, the test results of its choices, and the terms of the comparison."""

    pairs: tuple[SearchedPair, ...]
    results: tuple[CellResult, ...]
    budget: SearchBudget
    limits: Limits
    evaluation_set: EvaluationSet
    seeds: tuple[int, ...]

    def tables(self) -> list[ResultTable]:
        """What was searched on each data set, what validation would choose among all, and the
        comparison on test.
        """
        summaries = summarize(self.results)
        return [
            *(self._pair(pair, summaries) for pair in self.pairs),
            *(
                each.table()
                for each in select(
                    self.results, limits=self.limits, evaluation_set=self.evaluation_set
                )
            ),
            *paired_tables(self.results),
            average_table(summaries),
            cut_table(self.results),
        ]

    def write(self, folder: Path) -> None:
        """Write trials-JUDGE.csv, and summary.csv and cells.csv of the choices as `compare`
        does.
        """
        GridComparison(tuple(summarize(self.results)), self.results, ()).write(folder)
        write_csv(folder / f"trials-{self.evaluation_set}.csv", self.trial_rows())

    def trial_rows(self) -> list[dict[str, Any]]:
        """A row for each recipe that was tried: its choices and its scores."""
        return [
            {
                "data": pair.data.title,
                "network": pair.network.title,
                "method": each.method.variant.title,
                "number": each.recipe.number,
                "recipe": each.recipe.text(),
                **_columns("first", each),
                **_columns("final", each),
                "seconds": round(each.seconds, 1),
                "chosen": each in pair.chosen,
            }
            for pair in self.pairs
            for each in pair.tried
        ]

    def _pair(self, pair: SearchedPair, summaries: Sequence[MethodSummary]) -> ResultTable:
        titles = (pair.data.title, pair.network.title)
        known = {(line.method, line.calibrator): line for line in summaries if line.pair == titles}
        return ResultTable(
            file_stem("search", self.evaluation_set, *titles),
            f"Search on {titles[0]}, network {titles[1]}: chosen on "
            f"{SPLITS[self.evaluation_set]}, measured on test",
            COLUMNS,
            tuple(_row(each, known) for each in pair.chosen),
            (self._terms(pair), _space(pair)),
        )

    def _terms(self, pair: SearchedPair) -> str:
        budget = self.budget
        seconds = sum(each.seconds for each in pair.tried)
        lowest = (
            "the lowest NLL"
            if pair.rule == "nll"
            else "the lowest ECE without a calibrator among recipes within the limits, else the "
            "lowest NLL"
        )
        return (
            f"Each method: {counted(budget.trials, 'recipe')} with {counted(budget.few, 'seed')}, "
            "the best "
            f"{budget.finalists} of them with {len(budget.seeds)}: {counted(budget.fits, 'fit')}. "
            f"Seeds of the search: {_range(budget.seeds)}; of the test: "
            f"{_range(self.seeds)}. Chosen is {lowest}. "
            f"trials-{self.evaluation_set}.csv has all trials; they took {seconds:.0f} s."
        )


def _space(pair: SearchedPair) -> str:
    own = {each.method.variant.title: each.method.own for each in pair.tried}
    shared = "; ".join(f"{name} {_values(values)}" for name, values in pair.space.items())
    further = "; ".join(
        f"{title}: {', '.join(f'{name} {_values(values)}' for name, values in axes.items())}"
        for title, axes in own.items()
        if axes
    )
    return f"Space of every method: {shared}. Further for {further}."


def _columns(name: str, tried: TriedRecipe) -> dict[str, Any]:
    score = tried.first if name == "first" else tried.final
    figures = ("ece", "accuracy", "nll", "signed_gap", "seeds", "admissible")
    known: Mapping[str, Any] = {} if score is None else asdict(score)
    return {f"{name}_{figure}": known.get(figure, "") for figure in figures}


def _row(tried: TriedRecipe, known: Mapping[tuple[str, str], MethodSummary]) -> tuple[str, ...]:
    score, title = tried.final, tried.method.variant.title
    plain, scaled = (known[title, name].figures for name in ("none", "temperature"))
    assert score is not None
    return (
        title,
        tried.recipe.text(),
        format_number(score.ece),
        format_number(score.accuracy),
        format_number(score.nll),
        "yes" if score.admissible else "no",
        format_estimate(plain["ece"]),
        f"{plain['ece_z'].mean:.1f}",
        format_estimate(plain["accuracy"]),
        format_estimate(plain["nll"]),
        format_estimate(scaled["ece"]),
        f"{scaled['ece_z'].mean:.1f}",
    )


def cut_table(results: Sequence[CellResult]) -> ResultTable:
    """The average over data sets by seed, and its cut against cross-entropy alone with the same
    seed.
    """
    pairs = {(result.cell.data, result.cell.network) for result in results}
    known: dict[tuple[str, str], dict[int, list[Measures]]] = {}
    for result in results:
        for calibrator, measures in {} if result.failure else measure(result).items():
            by_seed = known.setdefault((result.cell.method, calibrator), {})
            by_seed.setdefault(result.cell.config.seed, []).append(measures)
    means = {
        key: {
            seed: (fmean(each.ece for each in found), fmean(each.accuracy for each in found))
            for seed, found in by_seed.items()
            if len(found) == len(pairs)
        }
        for key, by_seed in known.items()
    }
    base = means.get(BASELINE, {})
    return ResultTable(
        "cut",
        f"Average over {counted(len(pairs), 'data set')} by seed, against cross-entropy alone "
        "with the same seed",
        ("method, calibrator", "seeds", "ECE", "cut %", "accuracy gained"),
        tuple(
            _cut_row(", ".join(key), found, base)
            for key, found in means.items()
            if found.keys() & base.keys()
        ),
        ("Mean ± half of the 95 % t interval over seeds.",),
    )


def _cut_row(
    title: str, found: Mapping[int, tuple[float, float]], base: Mapping[int, tuple[float, float]]
) -> tuple[str, ...]:
    seeds = [seed for seed in found if seed in base]
    cut = estimate(100 * (1 - found[seed][0] / base[seed][0]) for seed in seeds)
    return (
        title,
        str(len(seeds)),
        format_estimate(estimate(found[seed][0] for seed in seeds)),
        f"{cut.mean:.1f}" + ("" if cut.half is None else f" ± {cut.half:.1f}"),
        format_estimate(estimate(found[seed][1] - base[seed][1] for seed in seeds)),
    )


def _range(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"


def _values(values: Sequence[Any]) -> str:
    return "/".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
