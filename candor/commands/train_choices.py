"""The choices that a user of `candor train` makes, and the configuration that follows from them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from candor.commands.options import settings
from candor.terminal.console import note

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from training.runs.config import TrainConfig
    from training.runs.repetition import Repetition

OF_THE_MACHINE = {"weights", "device"}  # what a repeated run may change


def made_choices(context: typer.Context) -> dict[str, object]:
    """Return the fields of TrainConfig that the user gave, by name."""
    from training.runs.config import TrainConfig

    given = context.params | {"loss_options": _numbers(context.params["options"] or ())}
    if given["weights"] not in ("hub", "none", None):
        given["weights"] = Path(given["weights"])
    return {
        name: given[name]
        for name in TrainConfig.model_fields
        if given[name] is not None and given[name] != {}
    }


def _numbers(options: Iterable[str]) -> dict[str, float]:
    """The options NAME=VALUE as numbers by name."""
    pairs = (option.partition("=") for option in options)
    try:
        return {name: float(value) for name, _, value in pairs}
    except ValueError as error:
        raise typer.BadParameter(
            f"{error}; write a number, as in --option gamma=3", param_hint="--option"
        ) from error


def chosen_config(choices: Mapping[str, object], *, digits: bool) -> "TrainConfig":
    """Return `choices` over the defaults, or over those of the digits; a usage error if invalid."""
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


def card_repetition(card: Path, context: typer.Context) -> "Repetition":
    """Return the run behind a card; a usage error if choices are given that it makes itself."""
    from training.datasets.records import LoadArguments
    from training.runs.config import TrainConfig
    from training.runs.repetition import read_repetition

    own = {*TrainConfig.model_fields, "options", *LoadArguments.__annotations__} - OF_THE_MACHINE
    given = sorted(
        each.opts[0]
        for each in context.command.params
        if each.name in own and _is_given(context, each.name or "")
    )
    if given:
        raise typer.BadParameter(
            f"it repeats a run with its own choices; leave out {', '.join(given)}",
            param_hint="--from-card",
        )
    return read_repetition(card)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def repeated_config(repetition: "Repetition", choices: Mapping[str, object]) -> "TrainConfig":
    """Return the configuration of the run to repeat; name the libraries that differ on stderr."""
    if differences := repetition.differences():
        note(
            "Note: other libraries than the card's may change the last bits: "
            f"{'; '.join(differences)}."
        )
    weights, device = choices.get("weights"), choices.get("device")
    return repetition.config(
        weights=weights if weights in ("hub", "none", None) or isinstance(weights, Path) else None,
        device=None if device is None else str(device),
        data_folder=settings().data,
    )
