"""The choices that a user of `candor train` makes, and the configuration that follows: from them,
or from a card.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from candor.commands.data import load_arguments
from candor.commands.options import settings

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from training.datasets.records import LoadArguments
    from training.runs.config import TrainConfig
    from training.runs.repetition import Repetition


def option_numbers(options: list[str]) -> dict[str, float]:
    """The options NAME=VALUE as numbers by name."""
    pairs = (option.partition("=") for option in options)
    try:
        return {name: float(value) for name, _, value in pairs}
    except ValueError as error:
        raise typer.BadParameter(
            f"{error}; write a number, as in --option gamma=3", param_hint="--option"
        ) from error


def made_choices(choices: Mapping[str, object]) -> dict[str, object]:
    """The choices that the user made."""
    return {name: value for name, value in choices.items() if value is not None}


def chosen_config(choices: Mapping[str, object], *, digits: bool) -> "TrainConfig":
    """The configuration: `choices` over the defaults, or those of the digits; a usage error if it
    is invalid.
    """
    from pydantic import ValidationError

    from training.networks.backbones import find_weights
    from training.runs.config import TrainConfig, offline_config

    # The bundled digits have a small network of their own, which needs no pretrained weights.
    base = offline_config(loss="dca", seed=0) if digits else TrainConfig()
    try:
        config = TrainConfig.model_validate({**base.model_dump(), **choices})
    except ValidationError as error:
        problems = (": ".join([*map(str, each["loc"]), each["msg"]]) for each in error.errors())
        raise typer.BadParameter("; ".join(problems)) from error
    if "weights" in choices:
        return config
    return config.model_copy(update={"weights": find_weights(config.backbone, settings().data)})


def card_repetition(
    card: Path, choices: Mapping[str, object], reading: "LoadArguments"
) -> "Repetition":
    """The run behind a card; a usage error if choices are given that it makes itself."""
    from training.runs.repetition import read_repetition

    plain = load_arguments(
        layout=None,
        group_pattern=None,
        allow_leakage=False,
        max_corrupt=0.01,
        window=None,
        first_frame=False,
    )
    given = [name for name in choices if name not in ("weights", "device")]
    given += [name for name, value in reading.items() if value != plain.get(name)]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise typer.BadParameter(
            f"it repeats a run with its own choices; leave out {options}", param_hint="--from-card"
        )
    return read_repetition(card)


def repeated_config(repetition: "Repetition", choices: Mapping[str, object]) -> "TrainConfig":
    """The configuration of the run to repeat; says on stderr which libraries differ from those of
    the card.
    """
    from candor.terminal.console import stderr

    if differences := repetition.differences():
        stderr.print(
            "Note: other libraries than the card's may change the last bits: "
            f"{'; '.join(differences)}."
        )
    weights, device = choices.get("weights"), choices.get("device")
    return repetition.config(
        weights=weights if weights in ("hub", "none", None) or isinstance(weights, Path) else None,
        device=None if device is None else str(device),
        data_folder=settings().data,
    )
