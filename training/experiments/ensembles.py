"""Deep ensembles from runs that differ in their seed: the mean of their probabilities
(Lakshminarayanan et al. 2017).

Nothing is trained again. The seeds of a method are divided into groups without a common seed, so
each ensemble is made of networks of its own, and ensembles are as independent of each other as
single networks are. Calibrators are fitted on the ensemble's own answers to validation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import torch

from training.errors import BadChoice
from training.evaluation.evaluation import EvaluatedSplit, Predictions
from training.experiments.cell import CellResult
from training.experiments.summary import estimate, measure
from training.experiments.table import ResultTable, file_stem, format_estimate
from training.networks.classifier import mean_answer

CALIBRATORS = ("none", "temperature")
FIGURES = ("accuracy", "ece", "nll")
COLUMNS = (
    "method, calibrator",
    "ensembles",
    "accuracy",
    "ECE",
    "z",
    "NLL",
    "accuracy gained",
    "ECE against members",
    "NLL against members",
)


def ensemble_tables(results: Sequence[CellResult], size: int) -> list[ResultTable]:
    """A table for each data set and network: ensembles of `size` seeds of each method, and their
    members' mean.

    Raises BadChoice if the seeds of no method make one ensemble.
    """
    rows: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for (data, network, method), members in _by_method(results).items():
        groups = [
            members[start : start + size] for start in range(0, len(members) - size + 1, size)
        ]
        if groups:
            rows.setdefault((data, network), []).extend(
                _row(method, groups, name) for name in CALIBRATORS
            )
    if not rows:
        raise BadChoice(
            f"there are too few seeds for an ensemble of {size}; give --seeds {size} or a "
            "multiple of it"
        )
    return [
        ResultTable(
            file_stem("ensembles", *pair),
            f"Ensembles of {size} seeds on test: {', '.join(pair)}",
            COLUMNS,
            tuple(lines),
            (
                f"The unit is an ensemble: groups of {size} runs without a common seed, all "
                "measured on the same test "
                "images. Mean ± half of the 95 % t interval over ensembles; differences are those "
                "of each ensemble to "
                "the mean of its members.",
            ),
        )
        for pair, lines in rows.items()
    ]


def ensemble(members: Sequence[CellResult]) -> CellResult:
    """The result of a network that answers with the mean probability of `members`."""
    first = members[0]
    predictions: Mapping[EvaluatedSplit, Predictions] = {
        split: replace(
            known,
            logits=mean_answer(
                [torch.from_numpy(each.predictions[split].logits) for each in members]
            ).numpy(),
        )
        for split, known in first.predictions.items()
    }
    return CellResult(first.cell, sum(each.seconds for each in members), predictions)


def _by_method(results: Sequence[CellResult]) -> dict[tuple[str, str, str], list[CellResult]]:
    """The results that did not fail, by data set, network and method, in the order of seeds."""
    found: dict[tuple[str, str, str], list[CellResult]] = {}
    for result in sorted(results, key=lambda each: each.cell.config.seed):
        if not result.failure:
            found.setdefault(
                (result.cell.data, result.cell.network, result.cell.method), []
            ).append(result)
    return found


def _row(method: str, groups: Sequence[Sequence[CellResult]], calibrator: str) -> tuple[str, ...]:
    whole = [measure(ensemble(group))[calibrator] for group in groups]
    single = [[measure(member)[calibrator] for member in group] for group in groups]
    figures = {name: estimate(getattr(each, name) for each in whole) for name in FIGURES}
    against = {
        name: estimate(
            getattr(each, name) - fmean(getattr(member, name) for member in members)
            for each, members in zip(whole, single, strict=True)
        )
        for name in FIGURES
    }
    return (
        f"{method}, {calibrator}",
        str(len(groups)),
        format_estimate(figures["accuracy"]),
        format_estimate(figures["ece"]),
        f"{fmean(each.ece_z for each in whole):.1f}",
        format_estimate(figures["nll"]),
        *(format_estimate(against[name]) for name in FIGURES),
    )
