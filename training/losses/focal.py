"""Focal loss, in which images that are already right count less, and FLSD, whose gamma depends on
the probability.

Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 4; for calibration
Mukhoti et al. 2020, "Calibrating Deep Neural Networks using Focal Loss": gamma 3, or
sample-dependent (FLSD-53): 5 below p = .2, else 3.
"""

import torch
from torch import Tensor

from training.losses.loss import MainTerm
from training.losses.recipe import Option, Recipe

UNSURE, UNSURE_GAMMA, GAMMA = 0.2, 5.0, 3.0


class Focal(MainTerm):
    """Cost of label k: (1 - p_k)^gamma * -log p_k.

    >>> logits = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    >>> # (.25 ln 2 + .04 ln 1.25) / 2
    >>> round(Focal(gamma=2.0)(logits, torch.tensor([0, 1])).item(), 4)
    0.0911
    """

    def __init__(self, class_weights: Tensor | None = None, *, gamma: float) -> None:
        super().__init__(class_weights)
        self.gamma = gamma

    def costs(self, logits: Tensor) -> Tensor:
        logs = logits.log_softmax(dim=1)
        return _focal(logs, self.gamma)


class SampleFocal(MainTerm):
    """Focal loss with gamma 5 if p_k < .2, else 3.

    >>> logits = torch.log(torch.tensor([[0.1, 0.9]]))
    >>> # .9^5 ln 10, .1^3 ln (1/.9)
    >>> [round(SampleFocal()(logits, torch.tensor([k])).item(), 5) for k in (0, 1)]
    [1.35965, 0.00011]
    """

    def costs(self, logits: Tensor) -> Tensor:
        logs = logits.log_softmax(dim=1)
        return torch.where(logs.exp() < UNSURE, _focal(logs, UNSURE_GAMMA), _focal(logs, GAMMA))


def _focal(logs: Tensor, gamma: float) -> Tensor:
    """1 - p is kept above zero, where a power below one has no finite slope."""
    return -((-torch.expm1(logs)).clamp(min=torch.finfo(logs.dtype).tiny) ** gamma) * logs


RECIPE = Recipe(
    title="focal",
    source="Lin et al. 2017, eq. 4; Mukhoti et al. 2020",
    formula="-(1 - p[y])^gamma log p[y]",
    role="main",
    build=Focal,
    options={"gamma": Option(3.0, "how fast the weight of a right image falls")},
)
FLSD = Recipe(
    title="FLSD-53",
    source="Mukhoti et al. 2020",
    formula="focal, gamma 5 where p[y] < .2, else 3",
    role="main",
    build=SampleFocal,
)
