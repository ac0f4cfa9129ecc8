"""What an experiment computes: data sets x networks x methods x seeds -> cells.

A data set, a network or a method is a `Variant`, written as one line: the subject, then `key=value`
for any field of TrainConfig, and for a method also any option of its loss. `x3` is short for
`heads=3`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from training.datasets import Dataset
from training.errors import BadChoice
from training.experiments.cell import Cell
from training.networks.backbones import find_weights
from training.runs.config import TrainConfig

# Choices with a place of their own. A title such as "ce seed=21" would promise a run that is not
# made.
ELSEWHERE = {
    "seed": "give --first-seed and --seeds",
    "loss": "start the method with the name of the loss",
    "backbone": "start the network with the name of the backbone",
}


@dataclass(frozen=True)
class Variant:
    """`title` in tables; `subject`, a data source, backbone or loss; `changes` of TrainConfig."""

    title: str
    subject: str
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """What is compared. Of data, network, `exceptions` (by both), method, the last change wins."""

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
        """The choices of a cell; weights are those in `folder` unless a variant names them."""
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
        """All cells on the available data, seed by seed, so that an early part is a comparison."""
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


def parse_variant(text: str, *, title: str | None = None) -> Variant:
    """The variant that `text` describes. Raises BadChoice.

    >>> parse_variant("focal+dca x3 beta=10").changes
    {'heads': 3, 'beta': 10}
    """
    subject, *words = text.split() or [""]
    if not subject or "=" in subject:
        raise BadChoice(f"{text!r} does not start with a name; expected NAME [key=value ...]")
    changes: dict[str, Any] = {}
    for word in words:
        key, value = _change(word, text)
        changes[key] = value
    return Variant(title or " ".join([subject, *words]), subject, changes)


def changed(config: TrainConfig, *changes: Mapping[str, Any]) -> TrainConfig:
    """`config` with `changes`; keys that are no fields are the loss's options. Raises BadChoice."""
    merged: dict[str, Any] = {key: value for each in changes for key, value in each.items()}
    options = {key: merged.pop(key) for key in list(merged) if key not in TrainConfig.model_fields}
    if options:
        merged["loss_options"] = config.loss_options | options
    try:
        return TrainConfig.model_validate(config.model_dump() | merged)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise BadChoice(f"{problems} (in {merged})") from error


def _change(word: str, text: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    if equals and key in ELSEWHERE:
        raise BadChoice(f"{word!r} in {text!r} has no effect there; {ELSEWHERE[key]}")
    if equals and key:
        return key, _value(value)
    if word.startswith("x") and word[1:].isdigit():
        return "heads", int(word[1:])
    raise BadChoice(f"{word!r} in {text!r} is unknown; expected key=value or xN")


def _value(text: str) -> Any:
    """The text as a JSON value, such as a number or true, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
