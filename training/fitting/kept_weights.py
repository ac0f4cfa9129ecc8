"""Which weights a fit keeps: their average over steps or epochs, and those of the best epoch on
validation.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.fitting.history import Epoch
from training.fitting.schedule import SWA_START, Schedule, Select


class AveragedWeights:
    """The mean of a module's weights by `schedule.averaging`, or the module itself if that is
    "none".

    "ema": mean <- decay * mean + (1 - decay) * weights after each step, starting from the weights
    of the first step. "swa": the plain mean of the weights after each epoch of the last quarter
    (Izmailov et al. 2018, but the statistics of batch norm are averaged instead of computed again).
    """

    def __init__(self, module: nn.Module, schedule: Schedule) -> None:
        self._module = module
        self._schedule = schedule
        decay = get_ema_multi_avg_fn(schedule.ema_decay) if schedule.averaging == "ema" else None
        self._mean = (
            None
            if schedule.averaging == "none"
            else AveragedModel(module, multi_avg_fn=decay, use_buffers=True)
        )

    @property
    def module(self) -> nn.Module:
        """The module to validate and keep: the mean once there is one."""
        return (
            self._module
            if self._mean is None or int(self._mean.n_averaged) == 0
            else self._mean.module
        )

    def after_step(self) -> None:
        """Include the weights after a step."""
        if self._mean is not None and self._schedule.averaging == "ema":
            self._mean.update_parameters(self._module)

    def after_epoch(self, epoch: int) -> None:
        """Include the weights after `epoch` (from 1)."""
        if (
            self._mean is not None
            and self._schedule.averaging == "swa"
            and epoch > SWA_START * self._schedule.epochs
        ):
            self._mean.update_parameters(self._module)

    def tensors(self) -> dict[str, Tensor]:
        """The state for a snapshot, by name."""
        return {} if self._mean is None else dict(self._mean.state_dict())

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore the state that `tensors` returned."""
        if self._mean is not None:
            self._mean.load_state_dict(tensors)


ACCURACY_TOLERANCE = 0.01


class BestEpoch:
    """The weights of the best epoch so far. With "last" nothing is stored, since the module has
    them.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.tensors: dict[str, Tensor] = {}

    def offer(self, history: Sequence[Epoch], module: nn.Module) -> None:
        """Store the weights of `module` if the last epoch of `history` is the best one."""
        if (
            self._schedule.select != "last"
            and best(history, self._schedule.select) == len(history) - 1
        ):
            self.tensors = {
                name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()
            }

    def exhausted(self, history: Sequence[Epoch]) -> bool:
        """Whether patience has run out."""
        patience = self._schedule.patience
        return (
            patience is not None
            and len(history) - 1 - best(history, self._schedule.select) >= patience
        )

    def restore(self, module: nn.Module) -> None:
        """Load the stored weights into `module`."""
        if self.tensors:
            module.load_state_dict(self.tensors)


def best(history: Sequence[Epoch], select: Select) -> int:
    """Index of the epoch to keep, the first of equals; -1 for an empty history.

    With "val_ece" an epoch counts only if its accuracy is at most 0.01 below the best so far, since
    a network that has learned nothing can be calibrated too.

    >>> figures = [(3, 0.1), (2, 0.3), (2, 0.2)]
    >>> lines = [Epoch(n, 0, 0, 0, loss, 0.9, 0, ece) for n, (loss, ece) in enumerate(figures)]
    >>> [best(lines, select) for select in ("last", "val_nll", "val_ece")]
    [2, 1, 0]
    """
    if select == "last" or not history:
        return len(history) - 1
    if select == "val_nll":
        losses = [epoch.val_loss for epoch in history]
        return losses.index(min(losses))
    return _best_ece(history)


def _best_ece(history: Sequence[Epoch]) -> int:
    """After each epoch, choose between it and the previous choice: only their weights are
    available.
    """
    chosen, needed = 0, 0.0
    for index, epoch in enumerate(history):
        needed = max(needed, epoch.val_accuracy - ACCURACY_TOLERANCE)
        better = epoch.val_ece < history[chosen].val_ece or history[chosen].val_accuracy < needed
        if epoch.val_accuracy >= needed and better:
            chosen = index
    return chosen
