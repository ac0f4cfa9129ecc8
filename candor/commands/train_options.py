"""The options of `candor train`, one for each field of TrainConfig and a few more, grouped as
`--help` shows them.

Defaults are None: TrainConfig owns them, and data such as `digits` has others. The help names both
in parentheses.
"""

from pathlib import Path
from typing import Annotated

import typer
from typer.models import OptionInfo

METHOD, OPTIMIZER, EPOCHS = "Method", "Optimizer", "Epochs"
NETWORK, IMAGES, MACHINE, OUTPUT = "Network", "Images", "Machine", "Output"


def _option(panel: str, text: str, *names: str) -> OptionInfo:
    option: OptionInfo = typer.Option(*names, help=text, rich_help_panel=panel, show_default=False)
    return option


Data = Annotated[
    str | None,
    typer.Argument(
        help="MedMNIST .npz, image folder, MedMNIST name or 'digits' (default: what CANDOR_DATA "
        "holds)."
    ),
]

Out = Annotated[Path | None, _option(OUTPUT, "Run folder to write (runs/DATA-LOSS-seed-N).")]
Restart = Annotated[
    bool, _option(OUTPUT, "Start an interrupted run over instead of resuming it.", "--restart")
]
FromCard = Annotated[
    Path | None,
    _option(
        METHOD,
        "Repeat the run of this card.json or bundle folder: same choices, same data, same weights "
        "to the bit. Only "
        "--weights, --device and the options for processes and output go with it.",
        "--from-card",
    ),
]
TensorBoard = Annotated[
    bool, _option(OUTPUT, "Also write TensorBoard logs to RUN/tensorboard.", "--tensorboard")
]
Verbose = Annotated[
    bool,
    _option(
        OUTPUT,
        "Also print every candidate, calibrator and measure; metrics.json has them.",
        "--verbose",
    ),
]

RecipeName = Annotated[
    str,
    _option(
        METHOD,
        "auto: steps, head, loss and class weights that suit the data, by its size and a short "
        "search on validation; "
        "fixed: the values in parentheses (auto). Options override both.",
        "--recipe",
    ),
]
Loss = Annotated[
    str | None,
    _option(
        METHOD, "Training loss, or several joined by +, as in focal+dca (dca; auto: dca or ce)."
    ),
]
Beta = Annotated[
    float | None, _option(METHOD, "Strength of the auxiliary loss (the loss's own default).")
]
LossOptions = Annotated[
    list[str] | None,
    _option(METHOD, "Another option of the loss, NAME=VALUE; repeatable.", "--option"),
]
ListLosses = Annotated[
    bool, _option(METHOD, "List the losses and their options, and exit.", "--list-losses")
]
ClassWeights = Annotated[
    str | None,
    _option(METHOD, "natural, or balanced by class frequency (natural; auto: by validation)."),
]
Perturbed = Annotated[
    bool | None,
    _option(
        METHOD,
        "Also fit a temperature on perturbed validation images, for use under a shift. Without a "
        "shift it makes "
        "confidence too low (PneumoniaMNIST: ECE .016 to .071).",
        "--perturbed",
    ),
]

Epochs = Annotated[
    int | None,
    _option(EPOCHS, "Passes over the training data (12; auto: 400 steps at least; digits 80)."),
]
BatchSize = Annotated[
    int | None, _option(EPOCHS, "Images per step, over all processes (64; digits 32).")
]
Optimizer = Annotated[str | None, _option(OPTIMIZER, "adam, adamw or sgd (adam).")]
Warmup = Annotated[
    float | None, _option(OPTIMIZER, "Epochs in which the learning rate rises from zero (0).")
]
LayerDecay = Annotated[
    float | None,
    _option(OPTIMIZER, "Factor of the learning rate for each trained layer below the head (1)."),
]
ProbeEpochs = Annotated[
    int | None,
    _option(
        EPOCHS, "Epochs of the head alone, before the blocks or the whole network learn too (0)."
    ),
]
ProbeRate = Annotated[
    float | None, _option(OPTIMIZER, "Learning rate of the epochs of the head alone (1e-3).")
]
ClipNorm = Annotated[
    float | None, _option(OPTIMIZER, "Largest norm of a step's gradient (no limit).")
]
LearningRate = Annotated[
    float | None,
    _option(OPTIMIZER, "Highest learning rate (2e-4; auto: by validation; digits 1e-3)."),
]
WeightDecay = Annotated[
    float | None, _option(OPTIMIZER, "Weight decay; adamw decays matrices and filters alone (0).")
]
Decay = Annotated[
    str | None, _option(OPTIMIZER, "Decay of the learning rate: none or cosine (cosine).")
]
Averaging = Annotated[str | None, _option(EPOCHS, "Averaging of the weights: none or ema (none).")]
EmaDecay = Annotated[
    float | None, _option(EPOCHS, "Decay of the weights' running mean, per step (0.99).")
]
Select = Annotated[
    str | None, _option(EPOCHS, "Epoch to keep: last, val_nll or val_ece (last; auto: val_nll).")
]
Patience = Annotated[
    int | None, _option(EPOCHS, "Stop after this many epochs without improvement.")
]
Seed = Annotated[int | None, _option(EPOCHS, "Two runs with the same seed are equal (0).")]

Backbone = Annotated[
    str | None,
    _option(NETWORK, "timm name, torchvision/NAME or small_conv (tf_efficientnet_lite0)."),
]
Weights = Annotated[str | None, _option(NETWORK, "Weights file, 'hub', or 'none' (random).")]
Frozen = Annotated[
    bool | None,
    _option(NETWORK, "Train only the head, or the whole network (frozen).", "--frozen/--whole"),
]
Trainable = Annotated[
    str | None,
    _option(
        NETWORK, "Last blocks of a frozen backbone to train: a number, or a share such as 0.3 (0)."
    ),
]
Heads = Annotated[
    int | None,
    _option(NETWORK, "Networks whose probabilities are averaged; they share what is frozen (1)."),
]
Augment = Annotated[
    str | None,
    _option(
        IMAGES,
        "Change images again in each epoch: light, strong, crop, blur, noise, erase, hflip, vflip "
        "or rot90, "
        "joined by + (none).",
    ),
]
HeadName = Annotated[
    str | None,
    _option(
        NETWORK,
        "paper, or pooled: one hidden layer on the mean of the features (paper; auto: by "
        "validation).",
        "--head",
    ),
]
HeadReduction = Annotated[
    int | None, _option(NETWORK, "Factor by which the head reduces the channels: 2 or 4 (4).")
]
Dropout = Annotated[
    float | None, _option(NETWORK, "Share of the head's values that each step leaves out (0.5).")
]
ImageSize = Annotated[int | None, _option(IMAGES, "Side of the input in pixels (from the data).")]
Resize = Annotated[str | None, _option(IMAGES, "stretch, or crop to a square (stretch).")]

Device = Annotated[str | None, _option(MACHINE, "auto, cpu or cuda (auto).")]
Amp = Annotated[bool | None, _option(MACHINE, "Compute the network in half precision.", "--amp")]
MicroBatch = Annotated[
    int | None, _option(MACHINE, "Images in the network at a time (the whole batch).")
]
Engine = Annotated[
    str,
    _option(
        MACHINE,
        "What starts several processes: torchrun on each machine, or Ray on a cluster (torchrun).",
    ),
]
Nproc = Annotated[
    int, _option(MACHINE, "Processes on this machine; with --engine ray, on the cluster (1).")
]
Nnodes = Annotated[int, _option(MACHINE, "Number of machines; run the same command on each (1).")]
NodeRank = Annotated[int, _option(MACHINE, "Number of this machine, from 0.")]
Master = Annotated[str | None, _option(MACHINE, "HOST:PORT of machine 0, for several machines.")]
