"""The choices that a user of `candor train` makes, and the configuration that follows from them."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from calibration.strict_json import read_json
from calibration.wording import parameter
from candor.commands.options import FilePath, WrongUse, settings, unused
from training.choices import weights_of
from training.load_options import LoadOptions, options_of

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from training.runs.config import TrainConfig


def parted(options: Mapping[str, object]) -> tuple[LoadOptions, dict[str, object]]:
    """Return what is said of the data, and the other options."""
    known = options_of(LoadOptions)
    reading = {name: value for name, value in options.items() if name in known}
    rest = {name: value for name, value in options.items() if name not in known}
    return cast(LoadOptions, reading), rest


def made_choices(file: FilePath | None, given: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of TrainConfig that the user gave: those of the file, and over them what is
    `given` and not None.
    """
    choices = {} if file is None else _fields_of(Path(file))
    choices |= {name: value for name, value in given.items() if value is not None}
    if "weights" in choices:
        choices["weights"] = weights_of(str(choices["weights"]))
    return choices


def _fields_of(file: Path) -> dict[str, object]:
    """The fields in a file. Raises WrongUse if it cannot be read or has no fields."""
    try:
        text = file.read_text(encoding="utf-8")
        fields = tomllib.loads(text) if file.suffix == ".toml" else read_json(text)
    except (OSError, ValueError) as error:
        raise WrongUse(
            f"{parameter('config')}: {file} cannot be read ({error}); give a .toml or .json file"
        ) from error
    if isinstance(fields, dict) and isinstance(fields.get("config"), dict):  # of a run
        fields = fields["config"]
    if not isinstance(fields, dict):
        raise WrongUse(
            f"{parameter('config')}: {file} has no fields; write them by name, such as heads = 3"
        )
    return fields


def chosen_config(choices: Mapping[str, object], *, digits: bool) -> "TrainConfig":
    """Return `choices` over the defaults, or over those of the digits. Raises WrongUse."""
    from pydantic import ValidationError

    from training.losses import LossSettings
    from training.losses.objective import strength
    from training.networks.backbones import find_weights
    from training.runs.config import TrainConfig, offline_config

    # The bundled digits have a small network of their own, which needs no pretrained weights.
    base = offline_config(loss="dca", seed=0) if digits else TrainConfig()
    try:
        config = TrainConfig.model_validate({**base.model_dump(), **choices})
    except ValidationError as error:
        problems = (": ".join([*map(str, each["loc"]), each["msg"]]) for each in error.errors())
        raise WrongUse("; ".join(problems)) from error
    if {"beta", "loss"} <= choices.keys() and strength(config.loss, LossSettings()) is None:
        unused(f"no part of the loss {config.loss} has one", beta=config.beta)
    if "weights" in choices:
        return config
    return config.model_copy(update={"weights": find_weights(config.backbone, settings().data)})
