"""The options of `candor train`, grouped as `--help` shows them.

Only what many users set has an option; a file that `--config` names sets every field of
TrainConfig. Defaults are None: TrainConfig owns them, and data such as `digits` has others. The
help names both in parentheses.
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from candor.commands.options import argument, option

method, epochs, network, images, machine, output = (
    partial(option, rich_help_panel=panel, show_default=False)
    for panel in ("Method", "Epochs", "Network", "Images", "Machine", "Output")
)


Data = Annotated[
    str | None,
    argument(
        "MedMNIST .npz, image folder, MedMNIST name or 'digits' (default: what CANDOR_DATA holds)."
    ),
]

Out = Annotated[Path | None, output("Run folder to write (runs/DATA-LOSS-seed-N).")]
Restart = Annotated[
    bool, output("Start an interrupted run over instead of resuming it.", "--restart", hidden=True)
]
Recipe = Annotated[
    Literal["auto", "fixed"],
    method(
        "auto: steps, head, loss and class weights that suit the data, by its size and a short "
        "search on validation; fixed: the values in parentheses (auto). Options override both.",
        "--recipe",
    ),
]
Config = Annotated[
    Path | None,
    method(
        "File with fields of the configuration, .toml or .json, such as the config.json of a run. "
        "Options override it.",
        "--config",
    ),
]
Loss = Annotated[
    str | None,
    method("Training loss, or several joined by +, as in focal+dca (dca; auto: dca or ce)."),
]
Beta = Annotated[float | None, method("Strength of the auxiliary loss (the loss's own default).")]
ListLosses = Annotated[
    bool, method("List the losses and their options, and exit.", "--list-losses", hidden=True)
]
ClassWeights = Annotated[
    str | None,
    method("natural, or balanced by class frequency (natural; auto: by validation).", hidden=True),
]

Epochs = Annotated[
    int | None, epochs("Passes over the training data (12; auto: 400 steps at least; digits 80).")
]
BatchSize = Annotated[
    int | None, epochs("Images per step, over all processes (64; digits 32).", hidden=True)
]
LearningRate = Annotated[
    float | None, epochs("Highest learning rate (2e-4; auto: by validation; digits 1e-3).")
]
Seed = Annotated[int | None, epochs("Two runs with the same seed are equal (0).")]

Backbone = Annotated[
    str | None, network("timm name, torchvision/NAME or small_conv (tf_efficientnet_lite0).")
]
Weights = Annotated[str | None, network("Weights file, 'hub', or 'none' (random).")]
Frozen = Annotated[
    bool | None, network("Train only the head, or the whole network (frozen).", "--frozen/--whole")
]
Augment = Annotated[
    str | None,
    images(
        "Change images again in each epoch: light, strong, hflip, vflip or rot90, joined by + "
        "(none)."
    ),
]
ImageSize = Annotated[
    int | None, images("Side of the input in pixels (from the data).", hidden=True)
]
Device = Annotated[str | None, machine("auto, cpu or cuda (auto).")]
MicroBatch = Annotated[
    int | None, machine("Images in the network at a time (the whole batch).", hidden=True)
]
Nproc = Annotated[int, machine("Processes on this machine (1).", hidden=True)]
