"""Mixup: the main term sees images mixed in pairs.

Source: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", section 2; as a means of
calibration Thulasidasan et al. 2019, "On Mixup Training". x = a x_i + (1 - a) x_j and the loss a
L(x, y_i) + (1 - a) L(x, y_j), j a permutation of the batch and one `a` from Beta(alpha, alpha) per
batch. With cached features, features are mixed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.losses.recipe import Option, Recipe


@dataclass(frozen=True)
class Mixed:
    """Mixed `inputs` (N, ...) of labels `first` with weight `weight` and `second` with the rest,
    int64 (N,) both.
    """

    inputs: Tensor
    first: Tensor
    second: Tensor
    weight: float

    def targets(self, class_count: int) -> Tensor:
        """The mixed labels as probabilities, float32 (N, K).

        >>> Mixed(torch.zeros(1), torch.tensor([0]), torch.tensor([2]), 0.75).targets(3).tolist()
        [[0.75, 0.0, 0.25]]
        """
        first, second = (
            functional.one_hot(labels, class_count).float() for labels in (self.first, self.second)
        )
        return self.weight * first + (1 - self.weight) * second

    def split(self, count: int) -> "list[Mixed]":
        """The same in `count` parts of nearly equal size."""
        parts = [part.tensor_split(count) for part in (self.inputs, self.first, self.second)]
        return [
            Mixed(mixed, first, second, self.weight)
            for mixed, first, second in zip(*parts, strict=True)
        ]


class Mixup:
    """Mixes a batch. With several processes, the partner of an image comes from the same process's
    shard.
    """

    def __init__(self, *, alpha: float) -> None:
        self.alpha = alpha

    def __call__(self, inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Mixed:
        """NetworkInputs (N, ...) and labels int64 (N,), mixed by one draw from `generator` (on the
        CPU).
        """
        draws = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        weight = float(draws.beta(self.alpha, self.alpha))
        partner = torch.from_numpy(draws.permutation(len(inputs))).to(inputs.device)
        pixels = inputs if inputs.is_floating_point() else inputs.float()
        return Mixed(torch.lerp(pixels[partner], pixels, weight), labels, labels[partner], weight)


RECIPE = Recipe(
    title="mixup",
    source="Zhang et al. 2018",
    formula="the main term on a x_i + (1 - a) x_j, a from Beta(alpha, alpha); the others on clean "
    "images",
    role="mixing",
    build=Mixup,
    options={"alpha": Option(0.2, "Beta(alpha, alpha) of the mixing weight", low=1e-3)},
)
