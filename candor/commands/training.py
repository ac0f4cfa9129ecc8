"""`candor train`."""

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Unpack

from candor.commands.options import RARE, FilePath, cache_folder, settings
from candor.commands.train_choices import chosen_config, made_choices, parted
from candor.commands.verb import verb
from candor.terminal.console import note, stderr
from training.choices import TrainOptions
from training.load_options import LoadOptions

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from candor.terminal.run_result import Trained
    from training.processes.distributed import Group
    from training.runs.config import TrainConfig
    from training.runs.run import RunResult


@verb
def train(
    data: FilePath | None = None,
    *,
    out: FilePath | None = None,
    restart: Annotated[bool, RARE] = False,
    recipe: Literal["auto", "fixed"] = "auto",
    config: FilePath | None = None,
    **options: Unpack[TrainOptions],
) -> "Trained":
    """Train a classifier on images, measure its calibration, and write a run folder.

    What you do not choose suits the data (recipe). If a run was interrupted, the same command
    resumes it after its last whole epoch.

    Example: candor train images --seed 1

    Args:
        data: Image folder, CSV file, MedMNIST .npz or 'digits' (default: what CANDOR_DATA holds).
        out: Run folder to write (runs/DATA-LOSS-seed-N).
        restart: Start an interrupted run over instead of resuming it.
        recipe: auto: what suits the data, by its size and a short search on validation; fixed: the
            values in parentheses.
        config: .toml or .json with fields of the configuration, as a run's config.json; options
            override it.

    Returns:
        The run: `folder`, which `export` takes, `evaluation` and `judgment`.

    Raises:
        Refused: the data cannot be read or leaks, choices contradict each other, or the run folder
            holds something else.
    """
    from candor.terminal.run_result import Trained
    from training.datasets import chosen_source
    from training.processes.distributed import Group

    reading, given = parted(options)
    choices = made_choices(config, given)
    source, said = chosen_source(None if data is None else str(data), settings().data)
    own_recipe = source == "digits" and "backbone" not in choices
    chosen = chosen_config(choices, digits=own_recipe)
    processes = Group.from_environment()
    try:
        result = _train(
            chosen,
            source,
            given=None if own_recipe or recipe == "fixed" else choices.keys(),
            reading=reading,
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
    return Trained(said, result)


def _train(
    config: "TrainConfig",
    source: str | Path,
    *,
    given: Collection[str] | None,
    reading: LoadOptions,
    out: Path | None,
    group: "Group",
    restart: bool,
) -> "RunResult":
    """Train; `given`: choices that the recipe `auto` keeps, or None."""
    from candor.terminal.progress import bars
    from training.datasets import load_dataset, source_title
    from training.processes.execution import leader_first
    from training.progress import silent
    from training.runs.recipe import TrainingPlan, automatic, chooses_loss
    from training.runs.run import refuse_early
    from training.runs.run import train as run_training

    method = config.loss if given is None or not chooses_loss(given) else "auto"
    folder = out or Path("runs") / f"{source_title(source)}-{method}-seed-{config.seed}"
    if group.leads:
        refuse_early(config, folder)
    with bars(lines=True) as shown, _resumable(folder, told=group.leads):
        progress = shown if group.leads else silent
        dataset = leader_first(
            group,
            lambda: load_dataset(
                source, cache=cache_folder(), seed=config.seed, progress=progress, **reading
            ),
        )
        for sentence in dataset.notes if group.leads else ():
            note(f"Note: {sentence}.")
        plan = TrainingPlan((config,))
        if given is not None:
            plan = automatic(dataset, config, given=given)
        for reason in plan.reasons if group.leads else ():
            note(f"Recipe: {reason}.")
        return run_training(
            plan,
            dataset,
            folder,
            cache=cache_folder() / "features",
            restart=restart,
            group=group,
            notice=note,
            progress=progress,
        )


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
