"""The choices of `candor train` that have an option: name, type, range of words and help.

The command line and editors read them here, so nothing imports torch or pydantic, which take long.
`training.runs.config.TrainConfig` has their defaults and ranges, and what only a file sets.
"""

from pathlib import Path
from typing import Annotated, Literal, cast

from training.load_options import LoadOption, LoadOptions

Weights = Path | Literal["hub", "none"]
DeviceChoice = Literal["auto", "cpu", "cuda"]


def weights_of(given: str) -> Weights:
    """A weights file, or what stands for one."""
    return Path(given) if given not in ("hub", "none") else cast(Literal["hub", "none"], given)


class TrainOptions(LoadOptions, total=False):
    """Of the data and of a run. Parentheses in the help are the values of the recipe `fixed`."""

    loss: Annotated[
        str,
        LoadOption(
            "Training loss, or several joined by +, as in focal+dca (dca; auto: dca or ce)."
        ),
    ]
    beta: Annotated[
        float, LoadOption("Strength of the auxiliary loss (its own default).", rare=True)
    ]
    class_weights: Annotated[
        Literal["natural", "balanced"],
        LoadOption("natural, or balanced by class frequency (natural; auto: by validation)."),
    ]
    epochs: Annotated[
        int,
        LoadOption("Passes over the training data (12; auto: 400 steps at least; digits 80)."),
    ]
    batch_size: Annotated[
        int, LoadOption("Images per step, over all processes (64; digits 32).", rare=True)
    ]
    learning_rate: Annotated[float, LoadOption("Highest (2e-4; auto: by validation; digits 1e-3).")]
    seed: Annotated[int, LoadOption("Two runs with the same seed are equal (0).")]
    backbone: Annotated[
        str, LoadOption("timm name, torchvision/NAME or small_conv (tf_efficientnet_lite0).")
    ]
    weights: Annotated[
        Weights,
        LoadOption("Weights file, 'hub', or 'none' (random).", shown="WEIGHTS", read=weights_of),
    ]
    frozen: Annotated[
        bool, LoadOption("Train only the head, or everything (frozen).", shown="--frozen/--whole")
    ]
    gentle: Annotated[bool, LoadOption("For whole: AdamW, warm-up and limited gradients.")]
    augment: Annotated[
        str,
        LoadOption(
            "Change images in each epoch: light, strong, hflip, vflip or rot90, joined by + (none)."
        ),
    ]
    image_size: Annotated[
        int, LoadOption("Side of the input in pixels (from the data).", rare=True)
    ]
    device: Annotated[DeviceChoice, LoadOption("auto, cpu or cuda (auto).")]
    micro_batch: Annotated[
        int, LoadOption("Images in the network at a time (the whole batch).", rare=True)
    ]
