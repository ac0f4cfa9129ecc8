"""Averages of weights over steps or epochs, by torch's own `AveragedModel`; batch norm's statistics too."""

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.fitting.schedule import SWA_START, Schedule


class AveragedWeights:
    """The mean of a module's weights as `schedule.averaging` says, or the module itself where that is "none".

    "ema": mean <- decay * mean + (1 - decay) * weights after each step, beginning at the first step's weights.
    "swa": the plain mean of the weights after each epoch beyond three quarters of them (Izmailov et al. 2018, but batch
    norm's statistics are averaged instead of measured again).
    """

    def __init__(self, module: nn.Module, schedule: Schedule) -> None:
        self._module = module
        self._schedule = schedule
        decay = get_ema_multi_avg_fn(schedule.ema_decay) if schedule.averaging == "ema" else None
        self._mean = (
            None if schedule.averaging == "none" else AveragedModel(module, multi_avg_fn=decay, use_buffers=True)
        )

    @property
    def module(self) -> nn.Module:
        """What is validated and kept: the mean once there is one."""
        return self._module if self._mean is None or int(self._mean.n_averaged) == 0 else self._mean.module

    def after_step(self) -> None:
        """Take in the weights after a step."""
        if self._mean is not None and self._schedule.averaging == "ema":
            self._mean.update_parameters(self._module)

    def after_epoch(self, epoch: int) -> None:
        """Take in the weights after `epoch` (from 1)."""
        if self._mean is not None and self._schedule.averaging == "swa" and epoch > SWA_START * self._schedule.epochs:
            self._mean.update_parameters(self._module)

    def tensors(self) -> dict[str, Tensor]:
        """Everything to go on from, by name."""
        return {} if self._mean is None else dict(self._mean.state_dict())

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` gave."""
        if self._mean is not None:
            self._mean.load_state_dict(tensors)
