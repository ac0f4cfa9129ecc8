"""The choices that a user of `candor train` makes, and the configuration that follows from them."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from candor.commands.options import settings

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from training.runs.config import TrainConfig


def made_choices(context: typer.Context) -> dict[str, object]:
    """Return the fields of TrainConfig that the user gave, by name; options override the file."""
    from training.runs.config import TrainConfig

    file = context.params["config"]
    given = {} if file is None else _fields_of(file)
    options = {name: context.params.get(name) for name in TrainConfig.model_fields}
    given |= {name: value for name, value in options.items() if value is not None}
    if given.get("weights") not in ("hub", "none", None):
        given["weights"] = Path(str(given["weights"]))
    return given


def _fields_of(file: Path) -> dict[str, object]:
    """The fields in a file; a usage error if it cannot be read or has no fields."""
    try:
        text = file.read_text(encoding="utf-8")
        fields = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(
            f"{file} cannot be read ({error}); give a .toml or .json file", param_hint="--config"
        ) from error
    if isinstance(fields, dict) and isinstance(fields.get("config"), dict):  # of a run
        fields = fields["config"]
    if not isinstance(fields, dict):
        raise typer.BadParameter(
            f"{file} has no fields; write them by name, such as heads = 3", param_hint="--config"
        )
    return fields


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
