"""The options of `candor train`, grouped as `--help` shows them.

Defaults are None: TrainConfig owns them, and data such as `digits` has others. The help names both
in parentheses.
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from candor.commands.options import argument, option

method, optimizer, epochs, network, images, machine, output = (
    partial(option, rich_help_panel=panel, show_default=False)
    for panel in ("Method", "Optimizer", "Epochs", "Network", "Images", "Machine", "Output")
)


Data = Annotated[
    str | None,
    argument(
        "MedMNIST .npz, image folder, MedMNIST name or 'digits' (default: what CANDOR_DATA holds)."
    ),
]

Out = Annotated[Path | None, output("Run folder to write (runs/DATA-LOSS-seed-N).")]
Restart = Annotated[
    bool, output("Start an interrupted run over instead of resuming it.", "--restart")
]
Recipe = Annotated[
    Literal["auto", "fixed"],
    method(
        "auto: steps, head, loss and class weights that suit the data, by its size and a short "
        "search on validation; fixed: the values in parentheses (auto). Options override both.",
        "--recipe",
    ),
]
Loss = Annotated[
    str | None,
    method("Training loss, or several joined by +, as in focal+dca (dca; auto: dca or ce)."),
]
Beta = Annotated[float | None, method("Strength of the auxiliary loss (the loss's own default).")]
LossOptions = Annotated[
    list[str] | None, method("Another option of the loss, NAME=VALUE; repeatable.", "--option")
]
ListLosses = Annotated[
    bool, method("List the losses and their options, and exit.", "--list-losses")
]
ClassWeights = Annotated[
    str | None, method("natural, or balanced by class frequency (natural; auto: by validation).")
]

Epochs = Annotated[
    int | None, epochs("Passes over the training data (12; auto: 400 steps at least; digits 80).")
]
BatchSize = Annotated[int | None, epochs("Images per step, over all processes (64; digits 32).")]
Optimizer = Annotated[str | None, optimizer("adam, adamw or sgd (adam).", hidden=True)]
Warmup = Annotated[
    float | None, optimizer("Epochs in which the learning rate rises from zero (0).", hidden=True)
]
ClipNorm = Annotated[
    float | None, optimizer("Largest norm of a step's gradient (no limit).", hidden=True)
]
LearningRate = Annotated[
    float | None, optimizer("Highest learning rate (2e-4; auto: by validation; digits 1e-3).")
]
WeightDecay = Annotated[
    float | None,
    optimizer("Weight decay; adamw decays matrices and filters alone (0).", hidden=True),
]
Decay = Annotated[
    str | None, optimizer("Decay of the learning rate: none or cosine (cosine).", hidden=True)
]
Averaging = Annotated[
    str | None, epochs("Averaging of the weights: none or ema (none).", hidden=True)
]
EmaDecay = Annotated[
    float | None, epochs("Decay of the weights' running mean, per step (0.99).", hidden=True)
]
Select = Annotated[
    str | None,
    epochs("Epoch to keep: last or val_nll (last; auto: val_nll).", hidden=True),
]
Seed = Annotated[int | None, epochs("Two runs with the same seed are equal (0).")]

Backbone = Annotated[
    str | None, network("timm name, torchvision/NAME or small_conv (tf_efficientnet_lite0).")
]
Weights = Annotated[str | None, network("Weights file, 'hub', or 'none' (random).")]
Frozen = Annotated[
    bool | None, network("Train only the head, or the whole network (frozen).", "--frozen/--whole")
]
Heads = Annotated[
    int | None,
    network(
        "Networks whose probabilities are averaged; they share what is frozen (1).", hidden=True
    ),
]
Validation = Annotated[
    Literal["split", "folds"] | None,
    epochs(
        "split: by the validation split; folds: each of the --heads leaves out another part of "
        "train and val, and is validated on it (split; auto: folds below 1,000 images).",
        "--validation",
        hidden=True,
    ),
]
Augment = Annotated[
    str | None,
    images(
        "Change images again in each epoch: light, strong, hflip, vflip or rot90, joined by + "
        "(none)."
    ),
]
HeadName = Annotated[
    str | None,
    network(
        "paper; pooled: one hidden layer on the mean of the features; blend: the mean of one "
        "of these and of a logistic regression (paper; auto: by the number of images).",
        "--head",
        hidden=True,
    ),
]
HeadReduction = Annotated[
    int | None, network("Factor by which the head reduces the channels: 2 or 4 (4).", hidden=True)
]
Dropout = Annotated[
    float | None,
    network("Share of the head's values that each step leaves out (0.5).", hidden=True),
]
ImageSize = Annotated[int | None, images("Side of the input in pixels (from the data).")]
Resize = Annotated[str | None, images("stretch, or crop to a square (stretch).", hidden=True)]

Device = Annotated[str | None, machine("auto, cpu or cuda (auto).")]
Amp = Annotated[
    bool | None, machine("Compute the network in half precision.", "--amp", hidden=True)
]
MicroBatch = Annotated[
    int | None, machine("Images in the network at a time (the whole batch).", hidden=True)
]
Nproc = Annotated[int, machine("Processes on this machine (1).", hidden=True)]
