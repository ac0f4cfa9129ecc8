"""A search for every method with the same budget, by validation alone, and its choices measured on
fresh seeds.

Every method gets the same number of recipes from the same space (search_space.py). All are trained
with a few seeds; the best are trained with all seeds of the search, and the best of those is
chosen. Then each method's choice is trained with seeds that chose nothing, and measured on test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Literal

from training.datasets import Dataset
from training.errors import BadChoice
from training.experiments.cell import Cell, CellResult
from training.experiments.choice import EvaluationSet, Limits
from training.experiments.grid import Grid
from training.experiments.runner import ExperimentRunner
from training.experiments.search_space import (
    Axes,
    SearchedMethod,
    SearchedRecipe,
    recipes,
    split_axes,
)
from training.experiments.summary import BASELINE
from training.experiments.trial import TRIALS, TrialResult
from training.experiments.variant import Variant

Rule = Literal["ece", "nll"]  # by which recipes are chosen: for calibration, or for prediction
Place = tuple[str, int]  # title of a method and number of its recipe


@dataclass(frozen=True)
class SearchBudget:
    """What each method gets: `trials` recipes with the first `few` of `seeds`, the best `finalists`
    with all.
    """

    trials: int
    finalists: int
    few: int
    seeds: tuple[int, ...]

    @property
    def fits(self) -> int:
        """Networks trained for each method on each data set."""
        return self.trials * self.few + self.finalists * (len(self.seeds) - self.few)


@dataclass(frozen=True)
class TrialScore:
    """Means over the `seeds` of a recipe on validation; `admissible` says whether it is within the
    limits.
    """

    ece: float
    accuracy: float
    nll: float
    signed_gap: float
    seeds: int
    admissible: bool = True

    def rank(self, rule: Rule) -> tuple[bool, float, float]:
        """Lower is better. By "ece": within the limits ECE to a thousandth, then NLL; beyond them
        NLL alone.
        """
        if rule == "nll":
            return False, 0.0, self.nll
        return not self.admissible, round(self.ece, 3) if self.admissible else 0.0, self.nll


@dataclass(frozen=True)
class TriedRecipe:
    """A recipe of a method with its score among all trials, and among the finalists if it is one of
    them.
    """

    method: SearchedMethod
    recipe: SearchedRecipe
    first: TrialScore | None
    final: TrialScore | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class SearchedPair:
    """The search on one data set with one network: every recipe that was tried, and the best of
    each method.
    """

    data: Variant
    network: Variant
    space: Axes
    tried: tuple[TriedRecipe, ...]
    rule: Rule = "ece"

    @property
    def chosen(self) -> tuple[TriedRecipe, ...]:
        """The best finalist of each method; a method of which every recipe diverged has none."""
        best: dict[str, TriedRecipe] = {}
        for each in self.tried:
            title = each.method.variant.title
            if each.final and (
                title not in best
                or each.final.rank(self.rule) < _final(best[title]).rank(self.rule)
            ):
                best[title] = each
        return tuple(best.values())


def _final(tried: TriedRecipe) -> TrialScore:
    assert tried.final is not None
    return tried.final


@dataclass(frozen=True)
class MethodSearch:
    """Searches the recipes of all `methods` on each data set and network of `grid`."""

    grid: Grid
    methods: tuple[SearchedMethod, ...]
    shared: Axes
    budget: SearchBudget
    limits: Limits
    evaluation_set: EvaluationSet
    runner: ExperimentRunner
    datasets: Mapping[str, Dataset]
    data_folder: Path | None
    rule: Rule = "ece"

    def run(self) -> list[SearchedPair]:
        """Every pair of data set and network. Raises BadChoice without cross-entropy, or if it
        always diverges.
        """
        if BASELINE[0] not in {method.variant.title for method in self.methods}:
            raise BadChoice(
                f"a search compares with cross-entropy: give --method {BASELINE[0]} too"
            )
        return [
            self._pair(data, network)
            for data, network in self.grid.pairs()
            if data.title in self.datasets
        ]

    def space(self, data: Variant) -> Axes:
        """The shared axes, with those of `data` in the place of their namesakes."""
        return {**self.shared, **split_axes(data)[1]}

    def evaluate(self, pairs: Sequence[SearchedPair], seeds: Sequence[int]) -> list[CellResult]:
        """The choice of every method with every one of `seeds`, on validation and test."""
        cells = [
            replace(
                self._cell(pair.data, pair.network, each, seed), method=each.method.variant.title
            )
            for seed in seeds
            for pair in pairs
            for each in pair.chosen
        ]
        return self.runner.run(cells, self.datasets)[0]

    def _pair(self, data: Variant, network: Variant) -> SearchedPair:
        few, rest = self.budget.seeds[: self.budget.few], self.budget.seeds[self.budget.few :]
        drawn = [
            TriedRecipe(method, recipe, None)
            for method in self.methods
            for recipe in recipes(self.budget.trials, shared=self.space(data), own=method.own)
        ]
        first = self._train(data, network, drawn, few)
        scores = self._scores(first)
        tried = [
            replace(
                each,
                first=scores.get(_place(each)),
                seconds=sum(run.seconds for run in first[_place(each)]),
            )
            for each in drawn
        ]
        finalists = [each for method in self.methods for each in self._best(tried, method)]
        more = self._train(data, network, finalists, rest)
        final = self._scores({place: [*first[place], *runs] for place, runs in more.items()})
        return SearchedPair(
            data,
            network,
            self.space(data),
            tuple(
                replace(
                    each,
                    final=final.get(_place(each)),
                    seconds=each.seconds + sum(run.seconds for run in more.get(_place(each), ())),
                )
                for each in tried
            ),
            self.rule,
        )

    def _best(self, tried: Sequence[TriedRecipe], method: SearchedMethod) -> list[TriedRecipe]:
        """The finalists of `method`; a recipe that diverged is none."""
        own = [
            (each.first.rank(self.rule), each)
            for each in tried
            if each.method is method and each.first
        ]
        return [each for _, each in sorted(own, key=lambda pair: pair[0])[: self.budget.finalists]]

    def _train(
        self, data: Variant, network: Variant, wanted: Sequence[TriedRecipe], seeds: Sequence[int]
    ) -> dict[Place, list[TrialResult]]:
        """The runs of each recipe, one for each seed; seed by seed, so that all methods advance
        together.
        """
        cells = [self._cell(data, network, each, seed) for seed in seeds for each in wanted]
        found: dict[Place, list[TrialResult]] = {_place(each): [] for each in wanted}
        results = self.runner.run_job(TRIALS, cells, self.datasets)[0] if cells else []
        for at, result in enumerate(results):
            found[_place(wanted[at % len(wanted)])].append(result)
        return found

    def _scores(self, runs: Mapping[Place, Sequence[TrialResult]]) -> dict[Place, TrialScore]:
        """The score of every recipe that never diverged; the limits come from cross-entropy's
        lowest NLL.
        """
        means = {
            place: _means(results, self.evaluation_set)
            for place, results in runs.items()
            if not any(each.failure for each in results)
        }
        bases = [score for (title, _), score in means.items() if title == BASELINE[0]]
        if not bases:
            raise BadChoice(
                "cross-entropy diverged with every recipe; lower the learning rates of the space"
            )
        base = min(bases, key=lambda score: score.nll)
        return {
            place: replace(
                score,
                admissible=self.limits.admit(score.accuracy, score.nll, base.accuracy, base.nll),
            )
            for place, score in means.items()
        }

    def _cell(self, data: Variant, network: Variant, tried: TriedRecipe, seed: int) -> Cell:
        dataset = self.datasets[data.title]
        method = tried.recipe.variant(tried.method, image_count=len(dataset.splits["train"]))
        config = self.grid.config(
            split_axes(data)[0], network, method, seed=seed, folder=self.data_folder
        )
        return Cell(data.title, network.title, method.title, config, dataset.fingerprint)


def _place(tried: TriedRecipe) -> Place:
    return tried.method.variant.title, tried.recipe.number


def _means(results: Sequence[TrialResult], evaluation_set: EvaluationSet) -> TrialScore:
    def mean(figure: str) -> float:
        return fmean(each.figures[evaluation_set][figure] for each in results)

    return TrialScore(mean("ece"), mean("accuracy"), mean("nll"), mean("signed_gap"), len(results))
