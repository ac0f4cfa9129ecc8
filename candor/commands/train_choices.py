"""The choices that a user of `candor train` makes, and the configuration that follows from them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from candor.commands.options import settings

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from training.runs.config import TrainConfig


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
