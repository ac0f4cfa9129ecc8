"""`candor train` and `candor export`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from candor.commands.data import (
    CorruptOption,
    FirstFrameOption,
    GroupOption,
    LayoutOption,
    LeakageOption,
    WindowOption,
    loading,
)
from candor.commands.options import JsonOption, StoreOption, cache_folder, settings

METHOD, SCHEDULE, NETWORK, MACHINE, OUTPUT = "Method", "Schedule", "Network", "Machine", "Output"


def _option(panel: str, text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False)


def train(
    data: Annotated[
        str | None,
        typer.Argument(
            help="MedMNIST .npz, image folder, MedMNIST name or 'digits' (default: what CANDOR_DATA holds)."
        ),
    ] = None,
    layout: LayoutOption = None,
    group_pattern: GroupOption = None,
    allow_leakage: LeakageOption = False,
    max_corrupt: CorruptOption = 0.01,
    window: WindowOption = None,
    first_frame: FirstFrameOption = False,
    out: Annotated[Path | None, _option(OUTPUT, "Run folder to write (runs/LOSS-seed-N).")] = None,
    restart: Annotated[
        bool, _option(OUTPUT, "Begin an interrupted run anew instead of continuing it.", "--restart")
    ] = False,
    tensorboard: Annotated[
        bool, _option(OUTPUT, "Write TensorBoard logs too, into RUN/tensorboard.", "--tensorboard")
    ] = False,
    loss: Annotated[str | None, _option(METHOD, "Training loss, or several: dca, ce, dca+mixup ... (dca).")] = None,
    beta: Annotated[float | None, _option(METHOD, "Strength of the auxiliary loss (the method's own).")] = None,
    options: Annotated[
        list[str] | None, _option(METHOD, "A further number of the method, NAME=VALUE; repeatable.", "--option")
    ] = None,
    list_losses: Annotated[
        bool, _option(METHOD, "List the losses and their options, and exit.", "--list-losses")
    ] = False,
    class_weights: Annotated[str | None, _option(METHOD, "natural | balanced by class frequency (natural).")] = None,
    epochs: Annotated[int | None, _option(SCHEDULE, "Passes over the training data (12; digits 80).")] = None,
    batch_size: Annotated[int | None, _option(SCHEDULE, "Images a step, over all processes (64; digits 32).")] = None,
    learning_rate: Annotated[float | None, _option(SCHEDULE, "Adam's, at the start (2e-4; digits 1e-3).")] = None,
    weight_decay: Annotated[float | None, _option(SCHEDULE, "Adam's (0).")] = None,
    decay: Annotated[str | None, _option(SCHEDULE, "Of the rate: none | cosine | exponential (cosine).")] = None,
    decay_rate: Annotated[float | None, _option(SCHEDULE, "Of the exponential decay, an epoch (0.985).")] = None,
    averaging: Annotated[str | None, _option(SCHEDULE, "Of the weights: none | ema | swa (none).")] = None,
    ema_decay: Annotated[float | None, _option(SCHEDULE, "Of the running mean of weights, a step (0.99).")] = None,
    select: Annotated[str | None, _option(SCHEDULE, "Epoch to keep: last | val_nll | val_ece (last).")] = None,
    patience: Annotated[int | None, _option(SCHEDULE, "Stop after so many epochs without a better one.")] = None,
    seed: Annotated[int | None, _option(SCHEDULE, "Two runs of one seed are equal (0).")] = None,
    backbone: Annotated[str | None, _option(NETWORK, "timm name, or torchvision/NAME, or small_conv.")] = None,
    weights: Annotated[str | None, _option(NETWORK, ".safetensors file, 'hub', or 'none' (random).")] = None,
    frozen: Annotated[
        bool | None, _option(NETWORK, "Train the head alone, or the whole network (frozen).", "--frozen/--whole")
    ] = None,
    trainable: Annotated[
        str | None, _option(NETWORK, "Last blocks of a frozen backbone to train: how many, or a share like 0.3 (0).")
    ] = None,
    heads: Annotated[int | None, _option(NETWORK, "Heads on one frozen backbone, averaged when served (1).")] = None,
    views: Annotated[int | None, _option(NETWORK, "Views of each image in the feature cache (1).")] = None,
    perturbed: Annotated[
        bool | None,
        _option(METHOD, "Fit a temperature on validation images as another place could send them too.", "--perturbed"),
    ] = None,
    head_reduction: Annotated[
        int | None, _option(NETWORK, "2 | 4: how much the head narrows the features (4).")
    ] = None,
    image_size: Annotated[int | None, _option(NETWORK, "Side of the input in pixels (by the data's own).")] = None,
    resize: Annotated[str | None, _option(NETWORK, "stretch | crop to a square (stretch).")] = None,
    device: Annotated[str | None, _option(MACHINE, "auto | cpu | cuda (auto).")] = None,
    amp: Annotated[bool | None, _option(MACHINE, "Compute the network in half precision.", "--amp")] = None,
    micro_batch: Annotated[int | None, _option(MACHINE, "Images in the network at a time (the whole batch).")] = None,
    nproc: Annotated[int, _option(MACHINE, "Processes on this machine, by torchrun (1).")] = 1,
    nnodes: Annotated[int, _option(MACHINE, "Machines; run the same command on each (1).")] = 1,
    node_rank: Annotated[int, _option(MACHINE, "Which of the machines this is, from 0.")] = 0,
    master: Annotated[str | None, _option(MACHINE, "HOST:PORT of machine 0, for several machines.")] = None,
    json_out: JsonOption = False,
) -> None:
    """Train a classifier on images and measure how calibrated it is; writes a run folder.

    The same command again continues a run that was interrupted, after its last whole epoch.
    """
    chosen = {name: value for name, value in locals().items() if value is not None}
    if list_losses:
        _show_losses()
        return
    from training.processes.distributed import Group
    from training.processes.launch import Processes, inside_torchrun, launch

    processes = Processes(nproc, nnodes, node_rank, master)
    if processes.several and not inside_torchrun():
        launch("candor", sys.argv[1:], processes)
        return
    reading = loading(
        layout=layout,
        group_pattern=group_pattern,
        allow_leakage=allow_leakage,
        max_corrupt=max_corrupt,
        window=window,
        first_frame=first_frame,
    )
    config = _config(chosen | {"loss_options": _numbers(options or [])}, data=data)
    group = Group.from_environment()
    try:
        found, result = _train(
            config, data, reading=reading, out=out, group=group, restart=restart, tensorboard=tensorboard
        )
        if group.leads:
            _show(found.note, result, json_out=json_out)
    finally:
        group.close()


def _show_losses() -> None:
    from candor.terminal.console import stdout
    from candor.terminal.tables import table
    from training.losses import loss_table

    grid = table("Losses; join several with +, such as dca+mixup", ("name", "title", "source", "options"), loss_table())
    for column in grid.columns:
        column.justify, column.no_wrap = "left", False
    stdout.print(grid)


def _numbers(options: list[str]) -> dict[str, float]:
    """NAME=VALUE, each, as numbers by name."""
    pairs = (option.partition("=") for option in options)
    try:
        return {name: float(value) for name, _, value in pairs}
    except ValueError as error:
        raise typer.BadParameter(f"{error}; write a number, as in --option gamma=3", param_hint="--option") from error


def _config(chosen: dict[str, Any], *, data: str | None) -> Any:
    """The configuration: what was `chosen`, over what suits the data; a usage error where it cannot be."""
    from pydantic import ValidationError

    from training.networks.backbones import find_weights
    from training.runs.config import TrainConfig, offline_config

    # Digits come with a network of their own size; it needs no weights from anywhere.
    base = offline_config(loss="dca", seed=0) if data == "digits" and "backbone" not in chosen else TrainConfig()
    given = {name: value for name, value in chosen.items() if name in TrainConfig.model_fields}
    if given.get("weights") not in ("hub", "none", None):
        given["weights"] = Path(given["weights"])
    try:
        config = TrainConfig.model_validate(base.model_dump() | given)
    except ValidationError as error:
        problems = (": ".join([*map(str, each["loc"]), each["msg"]]) for each in error.errors())
        raise typer.BadParameter("; ".join(problems)) from error
    if "weights" in given:
        return config
    return config.model_copy(update={"weights": find_weights(config.backbone, settings().data)})


def _train(
    config: Any,
    data: str | None,
    *,
    reading: dict[str, Any],
    out: Path | None,
    group: Any,
    restart: bool,
    tensorboard: bool,
) -> tuple[Any, Any]:
    """The data set that was found, and the run's result."""
    from candor.terminal.console import stderr
    from candor.terminal.progress import bars
    from training.datasets import find_dataset
    from training.processes.execution import leader_first
    from training.progress import silent
    from training.runs.run import train as run_training

    folder, known = out or Path("runs") / f"{config.loss}-seed-{config.seed}", settings()
    with bars() as shown:
        progress = shown if group.leads else silent
        found = leader_first(
            group,
            lambda: find_dataset(
                data, data_folder=known.data, cache=cache_folder(), seed=config.seed, progress=progress, **reading
            ),
        )
        for note in found.dataset.notes if group.leads else ():
            stderr.print(f"Note: {note}.")
        result = run_training(
            config,
            found.dataset,
            folder,
            cache=cache_folder() / "features",
            restart=restart,
            tensorboard=tensorboard,
            group=group,
            notice=lambda said: stderr.print(said, soft_wrap=True),
            progress=progress,
        )
    return found, result


def _show(note: str, result: Any, *, json_out: bool) -> None:
    from candor.terminal.console import print_json, stdout
    from candor.terminal.evaluation import evaluation_tables

    if json_out:
        print_json({"run": str(result.folder)} | result.evaluation.as_dict())
        return
    stdout.print(f"{note}\n")
    for part in evaluation_tables(result.evaluation.as_dict()):
        stdout.print(part)
    stdout.print(f"\nRun folder: {result.folder} (pictures in {result.folder / 'plots'})")
    stdout.print(f"Next: candor export {result.folder} --name MODEL")


def export(
    run: Annotated[Path, typer.Argument(help="Run folder that `candor train` wrote.")],
    name: Annotated[str, typer.Option(help="Name of the model in the store.")] = "model",
    calibrator: Annotated[
        str, typer.Option(help="What goes into the graph: temperature, perturbed, vector or none.")
    ] = "temperature",
    store: StoreOption = None,
    promote: Annotated[bool, typer.Option("--promote", help="Put the new version into production at once.")] = False,
    json_out: JsonOption = False,
) -> None:
    """Publish a run as the next version of a model: ONNX, card and TorchServe archive, verified against torch."""
    from candor.terminal.console import print_json, stdout
    from model_store.store import Store
    from training.runs.export import EXPORTABLE
    from training.runs.export import export as export_run

    if calibrator not in EXPORTABLE:
        raise typer.BadParameter(
            f"got {calibrator!r}; a graph holds {', '.join(EXPORTABLE)} (histogram and isotonic serve evaluation only)",
            param_hint="--calibrator",
        )
    target = Store(settings(store=store).store)
    exported = export_run(run, target, name, calibrator=EXPORTABLE[calibrator])
    if promote:
        target.promote(name, exported.version)
    folder = target.folder(name, exported.version)
    if json_out:
        print_json({"folder": str(folder), "version": exported.version, "max_difference": exported.max_difference})
        return
    stdout.print(f"Published {name} version {exported.version} in {folder}")
    stdout.print(f"torch and ONNX Runtime differ by at most {exported.max_difference:.1e} on {exported.images} images")
    if not promote:
        stdout.print(f"Next: candor promote {name} {exported.version}")
