"""`candor train`."""

import inspect
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from candor.commands.data import Uncertain, read_window
from candor.commands.options import RARE, FilePath, Within, cache_folder, settings
from candor.commands.train_choices import chosen_config, made_choices
from candor.commands.verb import verb
from candor.terminal.console import note, stderr
from candor.terminal.verb_result import PlainResult, VerbResult

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from candor.terminal.run_result import Trained
    from training.datasets import FoundDataset
    from training.datasets.records import LoadArguments
    from training.processes.distributed import Group
    from training.runs.config import TrainConfig
    from training.runs.run import RunResult


@verb
def train(
    data: FilePath | None = None,
    *,
    layout: str | None = None,
    group: str | None = None,
    group_pattern: str | None = None,
    allow_leakage: bool = False,
    max_corrupt: Annotated[float, Within(0, 1), "SHARE"] = 0.01,
    window: Annotated[str | Sequence[float] | None, "CENTER,WIDTH", RARE] = None,
    first_frame: Annotated[bool, RARE] = False,
    findings: str | Sequence[str] | None = None,
    exclusive: bool = False,
    uncertain: Annotated[Uncertain, RARE] = "missing",
    out: FilePath | None = None,
    restart: Annotated[bool, RARE] = False,
    recipe: Literal["auto", "fixed"] = "auto",
    config: FilePath | None = None,
    loss: str | None = None,
    beta: float | None = None,
    class_weights: Annotated[Literal["natural", "balanced"] | None, RARE] = None,
    epochs: int | None = None,
    batch_size: Annotated[int | None, RARE] = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    frozen: Annotated[bool | None, "--frozen/--whole"] = None,
    augment: str | None = None,
    image_size: Annotated[int | None, RARE] = None,
    device: str | None = None,
    micro_batch: Annotated[int | None, RARE] = None,
) -> "Trained":
    """Train a classifier on images, measure its calibration, and write a run folder.

    What you do not choose suits the data (recipe). If a run was interrupted, the same command
    resumes it after its last whole epoch.

    Example: candor train images --seed 1

    Args:
        data: MedMNIST .npz, image folder, MedMNIST name or 'digits' (default: what CANDOR_DATA
            holds).
        layout: How the images are stored (default: detected).
        group: Column of the patient or slide (default: one that is called so); none if each image
            stands alone.
        group_pattern: Regular expression on the path; its first group is the patient or slide.
        allow_leakage: Continue though splits share images or patients.
        max_corrupt: Share of images that may be missing or damaged.
        window: Window for gray DICOM (default: the layout's, else the file's).
        first_frame: Use the first frame of DICOM files that have several.
        findings: Several findings an image: columns to read, or those looked for in lists; 'A|B',
            or '*' for all.
        exclusive: Labels are classes though they look like findings.
        uncertain: What a finding's label of -1 (uncertain) is taken for.
        out: Run folder to write (runs/DATA-LOSS-seed-N).
        restart: Start an interrupted run over instead of resuming it.
        recipe: auto: what suits the data, by its size and a short search on validation; fixed: the
            values in parentheses.
        config: .toml or .json with fields of the configuration, as a run's config.json; options
            override it.
        loss: Training loss, or several joined by +, as in focal+dca (dca; auto: dca or ce).
        beta: Strength of the auxiliary loss (its own default).
        class_weights: natural, or balanced by class frequency (natural; auto: by validation).
        epochs: Passes over the training data (12; auto: 400 steps at least; digits 80).
        batch_size: Images per step, over all processes (64; digits 32).
        learning_rate: Highest learning rate (2e-4; auto: by validation; digits 1e-3).
        seed: Two runs with the same seed are equal (0).
        backbone: timm name, torchvision/NAME or small_conv (tf_efficientnet_lite0).
        weights: Weights file, 'hub', or 'none' (random).
        frozen: Train only the head, or everything (frozen).
        augment: Change images in each epoch: light, strong, hflip, vflip or rot90, joined by +
            (none).
        image_size: Side of the input in pixels (from the data).
        device: auto, cpu or cuda (auto).
        micro_batch: Images in the network at a time (the whole batch).

    Raises:
        Refused: the data cannot be read or leaks, choices contradict each other, or the run folder
            holds something else.
    """
    from candor.terminal.run_result import Trained
    from training.processes.distributed import Group

    choices = made_choices(
        config,
        {
            "loss": loss,
            "beta": beta,
            "class_weights": class_weights,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "seed": seed,
            "backbone": backbone,
            "weights": weights,
            "frozen": frozen,
            "augment": augment,
            "image_size": image_size,
            "device": device,
            "micro_batch": micro_batch,
        },
    )
    source = None if data is None else str(data)
    own_recipe = source == "digits" and "backbone" not in choices
    chosen = chosen_config(choices, digits=own_recipe)
    processes = Group.from_environment()
    try:
        found, result = _train(
            chosen,
            source,
            given=None if own_recipe or recipe == "fixed" else choices.keys(),
            reading={
                "layout": layout,
                "group": group,
                "group_pattern": group_pattern,
                "allow_leakage": allow_leakage,
                "max_corrupt": max_corrupt,
                "window": read_window(window),
                "first_frame": first_frame,
                "findings": findings if isinstance(findings, str | None) else "|".join(findings),
                "exclusive": exclusive,
                "uncertain": uncertain,
            },
            out=None if out is None else Path(out),
            group=processes,
            restart=restart,
        )
    except BaseException:
        processes.close(failed=True)
        raise
    processes.close()
    if not processes.leads:
        sys.exit()
    return Trained(found.note, result)


def train_in_shell(
    *,
    list_losses: Annotated[bool, RARE] = False,
    nproc: Annotated[int, RARE] = 1,
    **given: Any,
) -> VerbResult | int:
    """Train here, or in processes that do.

    Args:
        list_losses: List the losses and their options, and exit.
        nproc: Processes on this machine (1).
    """
    from training.processes.launch import already_started, launch

    if list_losses:
        return _losses()
    if nproc > 1 and not already_started():
        launch("candor", sys.argv[1:], processes=nproc)
        return 0
    done: Trained = inspect.unwrap(train)(**given)
    return done


def _losses() -> PlainResult:
    from candor.terminal.tables import FigureTable
    from training.losses import LOSSES

    columns = ("name", "title", "source", "options")
    rows = [(name, loss.title, loss.source, loss.defaults) for name, loss in LOSSES.items()]
    title = "Losses; join several with +, as in focal+dca"
    data = [dict(zip(columns, row, strict=True)) for row in rows]
    return PlainResult(data, FigureTable(title, columns, rows, text=columns))


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
