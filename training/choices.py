"""The choices of `candor train` that have an option: name, type, default, range and help, once.

The command line and editors read them here, so nothing imports torch or pydantic, which take long.
`training.runs.config.TrainConfig` takes defaults and ranges from here, and has what only a file
sets.
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
            "Training loss, or several joined by +, as in focal+dca ({}; auto: dca or ce).",
            fixed="dca",
        ),
    ]
    beta: Annotated[
        float | None,
        LoadOption(
            "Strength of the auxiliary loss (its own default).", within=(0, None), rare=True
        ),
    ]
    class_weights: Annotated[
        Literal["natural", "balanced"],
        LoadOption("By class frequency ({}; auto: validated).", fixed="natural"),
    ]
    epochs: Annotated[
        int,
        LoadOption(
            "Passes over the data ({}; auto: 400 steps or more; digits 80).",
            fixed=12,
            within=(1, None),
        ),
    ]
    batch_size: Annotated[
        int,
        LoadOption(
            "Images per step, over all processes ({}; digits 32).",
            fixed=64,
            within=(2, None),
            rare=True,
        ),
    ]
    learning_rate: Annotated[
        float,
        LoadOption("Highest ({}; auto: validated; digits 0.001).", fixed=2e-4, within=(1e-9, None)),
    ]
    seed: Annotated[
        int, LoadOption("Two runs with the same seed are equal ({}).", fixed=0, within=(0, None))
    ]
    backbone: Annotated[
        str,
        LoadOption(
            "timm name, torchvision/NAME or small_conv ({}).", fixed="tf_efficientnet_lite0"
        ),
    ]
    weights: Annotated[
        Weights,
        LoadOption(
            "Weights file, 'hub', or 'none' (random).",
            fixed="hub",
            shown="WEIGHTS",
            read=weights_of,
        ),
    ]
    frozen: Annotated[
        bool,
        LoadOption(
            "Train only the head, or everything (frozen).", fixed=True, shown="--frozen/--whole"
        ),
    ]
    gentle: Annotated[
        bool, LoadOption("For whole: AdamW, warm-up and limited gradients.", fixed=False)
    ]
    augment: Annotated[
        str | None,
        LoadOption(
            "Change images in each epoch: light, strong, hflip, vflip or rot90, joined by + (none)."
        ),
    ]
    image_size: Annotated[
        int | None,
        LoadOption("Side of the input in pixels (from the data).", within=(1, None), rare=True),
    ]
    device: Annotated[DeviceChoice, LoadOption("auto, cpu or cuda ({}).", fixed="auto")]
    micro_batch: Annotated[
        int | None,
        LoadOption(
            "Images in the network at a time (the whole batch).", within=(1, None), rare=True
        ),
    ]
