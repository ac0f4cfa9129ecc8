"""A finished run in MLflow or Weights & Biases, if their packages are installed.

Nothing leaves the machine unless its own setting asks for it. MLflow's runs go into `mlflow.db`
beside the run folder, or to MLFLOW_TRACKING_URI; those of Weights & Biases into `wandb/` beside it,
and to their server only if WANDB_MODE says `online`. A run is recorded once it is complete, so an
interrupted and resumed one appears once.

TensorBoard logs are written live, into the run folder.
"""

import importlib.util
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from model_store.installation import install_command
from training.errors import TensorBoardMissing, TrackerMissing
from training.evaluation.evaluation import Evaluation
from training.fitting.history import PLOTTED, Epoch
from training.runs.config import RunRecord

Tracker = Literal["mlflow", "wandb"]
PROJECT = "candor"


@dataclass(frozen=True)
class TrackedRun:
    """What is recorded of the run in `folder`."""

    folder: Path
    record: RunRecord
    history: Sequence[Epoch]
    evaluation: Evaluation

    @property
    def choices(self) -> dict[str, Any]:
        """Every choice, and what else the numbers depend on."""
        about = {"dataset": self.record.dataset, "fingerprint": self.record.fingerprint}
        return (
            self.record.config.model_dump(mode="json")
            | about
            | {"git_commit": self.record.git_commit}
        )

    def epochs(self) -> Iterator[tuple[int, dict[str, float]]]:
        """The figures of each epoch, by the names of TensorBoard, with the head in front if there
        are several.
        """
        several = any(epoch.head for epoch in self.history)
        for epoch in self.history:
            head = f"head_{epoch.head}/" if several else ""
            yield (
                epoch.epoch,
                {head + name.replace("_", "/", 1): getattr(epoch, name) for name in PLOTTED},
            )

    def measures(self) -> dict[str, float]:
        """The measures of every split and calibrator that are numbers."""
        return {
            f"{split}/{method}/{name}": float(value)
            for split, by_method in self.evaluation.measures.items()
            for method, measures in by_method.items()
            for name, value in measures.as_dict().items()
            if isinstance(value, int | float)
        }


def require(trackers: Sequence[Tracker]) -> None:
    """Raise TrackerMissing if the package of one of `trackers` is not installed."""
    for name in trackers:
        if importlib.util.find_spec(name) is None:
            raise TrackerMissing(f"--{name} needs another package: {install_command(name)}")


def track(run: TrackedRun, tracker: Tracker) -> str | None:
    """Record `run`; return a sentence that says why that failed, since a complete run is not lost
    for it.
    """
    try:
        with warnings.catch_warnings():  # of packages about each other
            warnings.simplefilter("ignore")
            _to_mlflow(run) if tracker == "mlflow" else _to_wandb(run)
    except _errors_of(tracker) as error:
        return f"the run is complete, but {tracker} did not record it: {error}"
    return None


def _errors_of(tracker: Tracker) -> tuple[type[Exception], ...]:
    """What may be raised: the package's own base of errors, and what it lets through of the
    packages below.
    """
    usual = (OSError, RuntimeError, ValueError, ImportError)
    if tracker == "mlflow":
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError  # of a database that cannot be opened

        return *usual, MlflowException, SQLAlchemyError
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    from wandb.errors import Error

    return *usual, Error


def _to_mlflow(run: TrackedRun) -> None:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    where = (
        os.environ.get("MLFLOW_TRACKING_URI")
        or f"sqlite:///{run.folder.parent.resolve() / 'mlflow.db'}"
    )
    client = MlflowClient(tracking_uri=where)
    known = client.get_experiment_by_name(PROJECT)
    experiment = known.experiment_id if known else client.create_experiment(PROJECT)
    made = client.create_run(experiment, run_name=run.folder.name)
    identity, when = made.info.run_id, made.info.start_time
    client.log_batch(
        identity, params=[Param(name, str(value)) for name, value in run.choices.items()]
    )
    for epoch, figures in run.epochs():
        client.log_batch(
            identity, metrics=[Metric(name, value, when, epoch) for name, value in figures.items()]
        )
    client.log_batch(
        identity, metrics=[Metric(name, value, when, 0) for name, value in run.measures().items()]
    )
    client.set_tag(identity, "run_folder", str(run.folder))
    client.set_terminated(identity)


def _to_wandb(run: TrackedRun) -> None:
    import wandb

    mode: Any = os.environ.get("WANDB_MODE", "offline")
    with wandb.init(
        project=PROJECT, name=run.folder.name, config=run.choices, mode=mode,
        dir=str(run.folder.parent),
        settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
    ) as made:  # fmt: skip
        several = any(epoch.head for epoch in run.history)
        for number, (epoch, figures) in enumerate(run.epochs(), 1):
            made.log(figures, step=number if several else epoch)
        made.summary.update(run.measures())


class TensorBoardLog:
    """Writes the figures of each epoch into `folder`, one TensorBoard run per head. Raises
    TensorBoardMissing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[int, Any] = {}
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: F401
        except ImportError as error:
            raise TensorBoardMissing(
                "--tensorboard needs another package (history.csv needs none): "
                f"{install_command('tensorboard')}"
            ) from error

    def __call__(self, epoch: Epoch) -> None:
        """Log one epoch; earlier logs of an interrupted run at this epoch or later are purged."""
        from torch.utils.tensorboard import SummaryWriter

        if epoch.head not in self._writers:
            self._writers[epoch.head] = SummaryWriter(
                self._folder / f"head-{epoch.head}", purge_step=epoch.epoch
            )
        writer = self._writers[epoch.head]
        for name in PLOTTED:
            writer.add_scalar(name.replace("_", "/", 1), getattr(epoch, name), epoch.epoch)
        writer.flush()

    def move(self, folder: Path) -> None:
        """Stop logging and move the logs into the finished run."""
        for writer in self._writers.values():
            writer.close()
        self._folder.rename(folder)
