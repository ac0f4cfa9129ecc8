"""Averages of weights over steps or epochs with torch's `AveragedModel`, including the statistics
of batch norm.
"""

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.fitting.schedule import SWA_START, Schedule


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
