"""Which weights a fit keeps: their running mean, and those of the best epoch on validation."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.fitting.history import Epoch
from training.fitting.schedule import Schedule, Select


class AveragedWeights:
    """The running mean of a module's weights, or the module itself with the averaging "none".

    mean <- decay * mean + (1 - decay) * weights after each step, from the weights of the first.
    """

    def __init__(self, module: nn.Module, schedule: Schedule) -> None:
        self._module = module
        self._mean: AveragedModel | None = None
        if schedule.averaging == "ema":
            average = get_ema_multi_avg_fn(schedule.ema_decay)
            self._mean = AveragedModel(module, multi_avg_fn=average, use_buffers=True)

    @property
    def module(self) -> nn.Module:
        """The module to validate and keep."""
        return self._module if self._mean is None else self._mean.module

    def after_step(self) -> None:
        if self._mean is not None:
            self._mean.update_parameters(self._module)

    def tensors(self) -> dict[str, Tensor]:
        """The state for a snapshot, by name."""
        return {} if self._mean is None else dict(self._mean.state_dict())

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore the state that `tensors` returned."""
        if self._mean is not None:
            self._mean.load_state_dict(tensors)


class BestEpoch:
    """The weights of the best epoch so far; with "last" nothing, since the module has them."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.tensors: dict[str, Tensor] = {}

    def offer(self, history: Sequence[Epoch], module: nn.Module) -> None:
        """Store the weights of `module` if the last epoch of `history` is the best one."""
        select = self._schedule.select
        if select != "last" and best(history, select) == len(history) - 1:
            self.tensors = {
                name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()
            }

    def restore(self, module: nn.Module) -> None:
        """Load the stored weights into `module`."""
        if self.tensors:
            module.load_state_dict(self.tensors)


def best(history: Sequence[Epoch], select: Select) -> int:
    """Index of the epoch to keep, the first of equals; -1 for an empty history.

    >>> lines = [Epoch(n, 0, 0, 0, loss, 0.9, 0, 0) for n, loss in enumerate((3, 2, 2))]
    >>> best(lines, "last"), best(lines, "val_nll")
    (2, 1)
    """
    if select == "last" or not history:
        return len(history) - 1
    losses = [epoch.val_loss for epoch in history]
    return losses.index(min(losses))
