"""TensorBoard logs of a run, written live into its folder."""

from pathlib import Path
from typing import Any

from model_store.installation import install_command
from training.errors import TensorBoardMissing
from training.fitting.history import PLOTTED, Epoch


class TensorBoardLog:
    """Writes each epoch's figures, one TensorBoard run per head. Raises TensorBoardMissing."""

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
