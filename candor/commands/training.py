"""`candor train`."""

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from candor.commands import train_options as opt
from candor.commands.data import (
    CorruptOption,
    ExclusiveOption,
    FindingsOption,
    FirstFrameOption,
    GroupOption,
    LayoutOption,
    LeakageOption,
    UncertainOption,
    WindowOption,
    load_arguments,
)
from candor.commands.options import HelpAllOption, JsonOption, cache_folder, settings
from candor.commands.train_choices import (
    chosen_config,
    made_choices,
)
from candor.terminal.console import note, stderr, stdout

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from training.datasets import FoundDataset
    from training.datasets.records import LoadArguments
    from training.processes.distributed import Group
    from training.runs.config import TrainConfig
    from training.runs.run import RunResult


def train(
    context: typer.Context,
    data: opt.Data = None,
    layout: LayoutOption = None,
    group_pattern: GroupOption = None,
    allow_leakage: LeakageOption = False,
    max_corrupt: CorruptOption = 0.01,
    window: WindowOption = None,
    first_frame: FirstFrameOption = False,
    findings: FindingsOption = None,
    exclusive: ExclusiveOption = False,
    uncertain: UncertainOption = "missing",
    out: opt.Out = None,
    restart: opt.Restart = False,
    recipe: opt.Recipe = "auto",
    config: opt.Config = None,
    loss: opt.Loss = None,
    beta: opt.Beta = None,
    list_losses: opt.ListLosses = False,
    class_weights: opt.ClassWeights = None,
    epochs: opt.Epochs = None,
    batch_size: opt.BatchSize = None,
    learning_rate: opt.LearningRate = None,
    seed: opt.Seed = None,
    backbone: opt.Backbone = None,
    weights: opt.Weights = None,
    frozen: opt.Frozen = None,
    augment: opt.Augment = None,
    image_size: opt.ImageSize = None,
    device: opt.Device = None,
    micro_batch: opt.MicroBatch = None,
    nproc: opt.Nproc = 1,
    json_out: JsonOption = False,
    help_all: HelpAllOption = False,
) -> object:
    """Train a classifier on images, measure its calibration, and write a run folder.

    What you do not choose suits the data, by its size and a short search on validation (--recipe).

    If a run was interrupted, the same command resumes it after its last whole epoch.

    Example: candor train images --seed 1
    """
    if list_losses:
        _show_losses()
        return None
    from training.processes.distributed import Group
    from training.processes.launch import already_started, launch

    if nproc > 1 and not already_started():
        launch("candor", sys.argv[1:], processes=nproc)
        return None
    reading = load_arguments(context)
    choices = made_choices(context)
    own_recipe = data == "digits" and "backbone" not in choices
    chosen = chosen_config(choices, digits=own_recipe)
    group = Group.from_environment()
    try:
        found, result = _train(
            chosen,
            data,
            given=None if own_recipe or recipe == "fixed" else choices.keys(),
            reading=reading,
            out=out,
            group=group,
            restart=restart,
        )
    except BaseException:
        group.close(failed=True)
        raise
    group.close()
    if not group.leads:
        return None
    from candor.terminal.run_result import Trained

    done = Trained(found.note, result)
    return done.as_dict() if json_out else done


def _show_losses() -> None:
    from candor.terminal.tables import FigureTable
    from training.losses import LOSSES

    columns = ("name", "title", "source", "options")
    rows = [(name, loss.title, loss.source, loss.defaults) for name, loss in LOSSES.items()]
    stdout.print(
        FigureTable("Losses; join several with +, as in focal+dca", columns, rows, text=columns)
    )


def _train(
    config: "TrainConfig",
    data: str | None,
    *,
    given: Collection[str] | None,
    reading: "LoadArguments",
    out: Path | None,
    group: "Group",
    restart: bool,
) -> tuple["FoundDataset", "RunResult"]:
    """Return data set and result; `given`: choices that the recipe `auto` keeps, or None."""
    from candor.terminal.progress import bars
    from training.datasets import find_dataset, source_title
    from training.processes.execution import leader_first
    from training.progress import silent
    from training.runs.recipe import TrainingPlan, automatic, chooses_loss
    from training.runs.run import refuse_early
    from training.runs.run import train as run_training

    method = config.loss if given is None or not chooses_loss(given) else "auto"
    folder = out or Path("runs") / f"{source_title(data)}-{method}-seed-{config.seed}"
    data_folder = settings().data
    if group.leads:
        refuse_early(config, folder)
    with bars(lines=True) as shown, _resumable(folder, told=group.leads):
        progress = shown if group.leads else silent
        found = leader_first(
            group,
            lambda: find_dataset(
                data,
                data_folder=data_folder,
                cache=cache_folder(),
                seed=config.seed,
                progress=progress,
                **reading,
            ),
        )
        for sentence in found.dataset.notes if group.leads else ():
            note(f"Note: {sentence}.")
        plan = TrainingPlan((config,))
        if given is not None:
            plan = automatic(found.dataset, config, given=given)
        for reason in plan.reasons if group.leads else ():
            note(f"Recipe: {reason}.")
        result = run_training(
            plan,
            found.dataset,
            folder,
            cache=cache_folder() / "features",
            restart=restart,
            group=group,
            notice=note,
            progress=progress,
        )
    return found, result


@contextmanager
def _resumable(folder: Path, *, told: bool) -> Iterator[None]:
    """Say how to go on after an interruption: when it happens, and before, where nobody watches."""
    from training.runs.folder import run_folder_of

    if told and not stderr.is_terminal:
        note("If this is interrupted, the same command resumes it after its last whole epoch.")
    try:
        yield
    except KeyboardInterrupt:
        if told and run_folder_of(folder).begun:
            note("Interrupted. The same command resumes the run after its last whole epoch.")
        raise
