"""The choices of `candor train`, declared once: name, type, default, range and help.

The command line makes its options from them, so nothing here imports torch or pydantic, which take
long. `training.runs.config.TrainConfig` adds what only a file sets.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, cast

from annotated_types import Ge, Gt

from training.load_options import LoadOption

Weights = Path | Literal["hub", "none"]
DeviceChoice = Literal["auto", "cpu", "cuda"]


def weights_of(given: str) -> Weights:
    """A weights file, or what stands for one."""
    return Path(given) if given not in ("hub", "none") else cast(Literal["hub", "none"], given)


@dataclass(kw_only=True)
class Choices:
    """Parentheses in the help are the values of the recipe `fixed`."""

    loss: Annotated[
        str,
        LoadOption(
            "Training loss, or several joined by +, as in focal+dca (dca; auto: dca or ce)."
        ),
    ] = "dca"
    beta: Annotated[
        Annotated[float, Ge(0)] | None,
        LoadOption("Strength of the auxiliary loss (its own default).", rare=True),
    ] = None
    class_weights: Annotated[
        Literal["natural", "balanced"],
        LoadOption("natural, or balanced by class frequency (natural; auto: by validation)."),
    ] = "natural"
    epochs: Annotated[
        int,
        LoadOption("Passes over the training data (12; auto: 400 steps at least; digits 80)."),
        Gt(0),
    ] = 12
    batch_size: Annotated[
        int,
        LoadOption("Images per step, over all processes (64; digits 32).", rare=True),
        Ge(2),
    ] = 64
    learning_rate: Annotated[
        float, LoadOption("Highest (2e-4; auto: by validation; digits 1e-3)."), Gt(0)
    ] = 2e-4
    seed: Annotated[int, LoadOption("Two runs with the same seed are equal (0)."), Ge(0)] = 0
    backbone: Annotated[
        str, LoadOption("timm name, torchvision/NAME or small_conv (tf_efficientnet_lite0).")
    ] = "tf_efficientnet_lite0"
    weights: Annotated[
        Weights,
        LoadOption("Weights file, 'hub', or 'none' (random).", shown="WEIGHTS", read=weights_of),
    ] = "hub"
    frozen: Annotated[
        bool, LoadOption("Train only the head, or everything (frozen).", shown="--frozen/--whole")
    ] = True
    gentle: Annotated[
        bool,
        LoadOption("For whole: AdamW, warm-up and limited gradients."),
    ] = False
    augment: Annotated[
        str | None,
        LoadOption(
            "Change images in each epoch: light, strong, hflip, vflip or rot90, joined by + (none)."
        ),
    ] = None
    image_size: Annotated[
        Annotated[int, Gt(0)] | None,
        LoadOption("Side of the input in pixels (from the data).", rare=True),
    ] = None
    device: Annotated[DeviceChoice, LoadOption("auto, cpu or cuda (auto).")] = "auto"
    micro_batch: Annotated[
        Annotated[int, Gt(0)] | None,
        LoadOption("Images in the network at a time (the whole batch).", rare=True),
    ] = None
