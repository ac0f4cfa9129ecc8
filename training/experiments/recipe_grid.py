"""The grid of what `candor train` would train: each method with the candidates that the recipe
`auto` makes of it.

A method that was measured with another head or too few steps says little about the model that a
user gets. So each method is measured as `candor train --loss METHOD` would try it on this data:
with enough steps, its best epoch, and every head and learning rate of the recipe. The first
candidate keeps the method's title; others add what differs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from training.datasets import Dataset
from training.experiments.grid import Grid
from training.experiments.variant import Variant
from training.networks.backbones import SMALL
from training.runs.config import TrainConfig
from training.runs.recipe import automatic
from training.runs.search import differing

SHORT = {"heads": "x{}"}  # as methods are written


def recipe_grids(
    grid: Grid, datasets: Mapping[str, Dataset], folder: Path | None
) -> tuple[Grid, ...]:
    """`grid` as a grid for each data set of `datasets` and network, with the candidates of each
    method.

    What data, network and method choose themselves is kept. The small network of the digits has a
    recipe of its own.
    """
    pairs = [(data, network) for data, network in grid.pairs() if data.title in datasets]
    return tuple(
        replace(
            grid,
            data=(data,),
            networks=(network,),
            methods=grid.methods
            if network.subject == SMALL
            else tuple(
                candidate
                for method in grid.methods
                for candidate in _candidates(
                    grid, data, network, method, datasets[data.title], folder
                )
            ),
        )
        for data, network in pairs
    )


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
        words = (
            []
            if number == 0
            else [_word(*choice) for choice in differing(candidate, candidates).items()]
        )
        yield Variant(
            " ".join([method.title, *words]),
            method.subject,
            dict(method.changes) | _changes(candidate, own),
        )


def _changes(candidate: TrainConfig, own: TrainConfig) -> dict[str, Any]:
    return {
        name: getattr(candidate, name)
        for name in TrainConfig.model_fields
        if getattr(candidate, name) != getattr(own, name)
    }


def _word(name: str, value: object) -> str:
    return SHORT[name].format(value) if name in SHORT else f"{name}={value}"
