"""Data sets x networks x methods x seeds -> cells."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from training.datasets import Dataset
from training.experiments.cell import Cell
from training.experiments.variant import Variant, changed
from training.networks.backbones import find_weights
from training.runs.config import TrainConfig


@dataclass(frozen=True)
class Grid:
    """What is compared. Changes apply in the order data, network, `exceptions` (by both), method;
    the last one wins.
    """

    data: tuple[Variant, ...]
    networks: tuple[Variant, ...]
    methods: tuple[Variant, ...]
    seeds: tuple[int, ...]
    exceptions: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    base: TrainConfig = field(default_factory=TrainConfig)

    def with_changes(self, **changes: object) -> Self:
        """The grid with `changes` in every method that does not set them itself."""
        return replace(
            self,
            methods=tuple(
                replace(each, changes=changes | dict(each.changes)) for each in self.methods
            ),
        )

    def config(
        self, data: Variant, network: Variant, method: Variant, *, seed: int, folder: Path | None
    ) -> TrainConfig:
        """The choices of a cell; weights come from `find_weights` in `folder` unless a variant
        names them.
        """
        found = {"weights": find_weights(network.subject, folder), "backbone": network.subject}
        between = self.exceptions.get((data.title, network.title), {})
        named = {"loss": method.subject, "seed": seed}
        return changed(
            self.base, found, data.changes, network.changes, between, method.changes, named
        )

    def pairs(self) -> Iterator[tuple[Variant, Variant]]:
        """Every data set with every network."""
        return ((data, network) for data in self.data for network in self.networks)

    def cells(self, datasets: Mapping[str, Dataset], folder: Path | None) -> list[Cell]:
        """All cells on the available data sets, seed by seed, so that an early part is already a
        comparison.
        """
        return [
            Cell(
                data=data.title,
                network=network.title,
                method=method.title,
                config=self.config(data, network, method, seed=seed, folder=folder),
                fingerprint=datasets[data.title].fingerprint,
            )
            for seed in self.seeds
            for data, network in self.pairs()
            for method in self.methods
            if data.title in datasets
        ]
