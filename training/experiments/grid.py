"""What an experiment computes: data sets x networks x methods x seeds -> cells.

A data set, a network or a method is one line: a name, then `key=value` for any field of
TrainConfig, and for a method also any option of its loss.
"""

import functools
import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training.datasets import Dataset
from training.errors import BadChoice
from training.networks.backbones import find_weights
from training.runs.config import TrainConfig

FORMAT = 3  # increase it when a change of code changes the numbers
LIBRARIES = ("torch", "torchvision", "timm")  # which the numbers depend on
# Choices with an option of their own. A title such as "ce seed=21" would promise another run.
ELSEWHERE = {
    "seed": "seeds are chosen for all methods at once",
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
class Cell:
    """One run: its titles, its choices and its data. `traced`: measured after every epoch too."""

    data: str
    network: str
    method: str
    config: TrainConfig
    fingerprint: str
    traced: bool = False

    @property
    def key(self) -> str:
        """A hash of everything that the numbers depend on: the name of the cell's file."""
        choices, weights = self.config.model_dump(mode="json"), self.config.weights
        if isinstance(weights, Path) and weights.is_file():
            choices["weights"] = _file_digest(weights)
        return key_of(choices, self.fingerprint, self.traced)


@dataclass(frozen=True)
class Grid:
    """What is compared. Of base, data, network, `exceptions` (by both), method, the last wins."""

    data: tuple[Variant, ...]
    networks: tuple[Variant, ...]
    methods: tuple[Variant, ...]
    seeds: tuple[int, ...]
    exceptions: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    base: Mapping[str, Any] = field(default_factory=dict)
    traced: bool = False

    def cells(self, datasets: Mapping[str, Dataset], folder: Path | None) -> list[Cell]:
        """All cells, seed by seed, so that an early part is a comparison.

        Weights are those in `folder`, unless a variant names them. Raises BadChoice.
        """
        combinations = itertools.product(self.seeds, self.data, self.networks, self.methods)
        return [
            Cell(
                data.title,
                network.title,
                method.title,
                changed(
                    {"weights": find_weights(network.subject, folder)},
                    self.base,
                    data.changes,
                    network.changes,
                    self.exceptions.get((data.title, network.title), {}),
                    method.changes,
                    {"backbone": network.subject, "loss": method.subject, "seed": seed},
                ),
                datasets[data.title].fingerprint,
                self.traced,
            )
            for seed, data, network, method in combinations
        ]


def key_of(*parts: object) -> str:
    """A hash of these parts, of FORMAT and of the versions of LIBRARIES."""
    versions = [FORMAT, *map(version, LIBRARIES)]
    text = json.dumps([versions, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def parse(text: str, *, title: str | None = None) -> Variant:
    """The variant that `text` describes. Raises BadChoice.

    >>> parse("focal+dca heads=3 beta=10").changes
    {'heads': 3, 'beta': 10}
    """
    subject, *words = text.split() or [""]
    pairs = [word.partition("=") for word in words]
    if not subject or "=" in subject or not all(all(pair) for pair in pairs):
        raise BadChoice(f"{text!r} is unknown; expected NAME [key=value ...]")
    for key, _, _ in pairs:
        if key in ELSEWHERE:
            raise BadChoice(f"{key!r} in {text!r} has no effect there; {ELSEWHERE[key]}")
    changes = {key: _value(value) for key, _, value in pairs}
    if len(changes) < len(pairs):
        raise BadChoice(f"{text!r} gives a key twice; give it once")
    return Variant(title or " ".join([subject, *words]), subject, changes)


def changed(*changes: Mapping[str, Any]) -> TrainConfig:
    """The default choices with `changes`, of which the last wins; keys that are no fields are the
    loss's options.

    Raises BadChoice.

    >>> changed({"loss": "focal", "gamma": 2}).loss_options
    {'gamma': 2.0}
    """
    merged = {key: value for each in changes for key, value in each.items()}
    fields = {key: value for key, value in merged.items() if key in TrainConfig.model_fields}
    options = {key: value for key, value in merged.items() if key not in fields}
    try:
        return TrainConfig.model_validate(fields | ({"loss_options": options} if options else {}))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise BadChoice(f"{problems} (in {merged})") from error


def _value(text: str) -> Any:
    """The text as a JSON value, such as a number or true, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


@functools.cache
def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
