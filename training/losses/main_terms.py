"""Main terms: cross-entropy, label smoothing, focal loss and mixup. They alone are weighted by
class.

Sources: Liang et al. 2020, section 5.1, weights the cross-entropy by class and nothing else.
Label smoothing: Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7. Focal
loss: Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 4, with the gamma of
Mukhoti et al. 2020, "Calibrating Deep Neural Networks using Focal Loss". Mixup: Zhang et al. 2018,
"mixup: Beyond Empirical Risk Minimization", section 2; for calibration Thulasidasan et al. 2019,
"On Mixup Training".
"""

import torch
from torch import Tensor

from training.losses.claims import log_probabilities
from training.losses.terms import Loss, MainTerm, MixedLabels, Option


class CrossEntropy(MainTerm):
    """sum_i w[y_i] * -log softmax(z_i)[y_i] / sum_i w[y_i].

    >>> logits = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    >>> labels = torch.tensor([0, 1])
    >>> round(CrossEntropy()(logits, labels).item(), 4)  # (ln 2 + ln 1.25) / 2
    0.4581
    >>> # (3 ln 2 + ln 1.25) / 4
    >>> round(CrossEntropy(torch.tensor([3.0, 1.0]))(logits, labels).item(), 4)
    0.5756
    """

    def costs(self, logits: Tensor) -> Tensor:
        return -log_probabilities(logits)


class SmoothCrossEntropy(MainTerm):
    """Cost of label k: (1 - s) * -log p_k + s / K * sum_j -log p_j.

    A class weight multiplies an image by the weight of its label; torch's own loss also weights
    each class of the spread.

    >>> logits = torch.log(torch.tensor([[0.8, 0.2]]))
    >>> # .95 ln 1.25 + .05 ln 5
    >>> round(SmoothCrossEntropy(smoothing=0.1)(logits, torch.tensor([0])).item(), 4)
    0.2925
    """

    def __init__(self, class_weights: Tensor | None = None, *, smoothing: float) -> None:
        super().__init__(class_weights)
        self.smoothing = smoothing

    def costs(self, logits: Tensor) -> Tensor:
        costs = -log_probabilities(logits)
        return torch.lerp(costs, costs.mean(dim=1, keepdim=True), self.smoothing)


class Focal(MainTerm):
    """Cost of label k: (1 - p_k)^gamma * -log p_k, so images that are already right count less.

    >>> logits = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    >>> # (.25 ln 2 + .04 ln 1.25) / 2
    >>> round(Focal(gamma=2.0)(logits, torch.tensor([0, 1])).item(), 4)
    0.0911
    """

    def __init__(self, class_weights: Tensor | None = None, *, gamma: float) -> None:
        super().__init__(class_weights)
        self.gamma = gamma

    def costs(self, logits: Tensor) -> Tensor:
        logs = log_probabilities(logits)
        # Above zero, where a power below one has no finite slope.
        rest = (-torch.expm1(logs)).clamp(min=torch.finfo(logs.dtype).tiny)
        return -(rest**self.gamma) * logs


class Mixup(CrossEntropy):
    """Cross-entropy on images (or their features) mixed in pairs: a x_i + (1 - a) x_j costs a times
    what label i costs and 1 - a times what label j costs.
    """

    def __init__(self, class_weights: Tensor | None = None, *, alpha: float) -> None:
        super().__init__(class_weights)
        self.share_of_first = torch.distributions.Beta(alpha, alpha)

    def mix(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, MixedLabels]:
        """Mix each of `inputs` (N, ...) with another one, by one draw of a >= 1/2 for all.

        The draws are torch's, on the CPU.
        """
        drawn = float(self.share_of_first.sample())
        weight, partner = max(drawn, 1 - drawn), torch.randperm(len(inputs)).to(inputs.device)
        pixels = inputs if inputs.is_floating_point() else inputs.float()
        mixed = torch.lerp(pixels[partner], pixels, weight)
        return mixed, MixedLabels(labels, labels[partner], weight)


def balanced_weights(labels: Tensor, class_count: int) -> Tensor:
    """Class weights N / (K n_k), float32 (K,): every class has the same total weight. `labels`
    int64 (N,).

    A class without images gets weight 0.

    >>> balanced_weights(torch.tensor([0, 1, 1, 1]), 2).tolist()
    [2.0, 0.6666666865348816]
    """
    counts = torch.bincount(labels, minlength=class_count).float()
    return torch.where(counts > 0, len(labels) / (class_count * counts.clamp(min=1)), 0.0)


CROSS_ENTROPY = Loss(
    title="cross-entropy",
    source="Liang et al. 2020, 5.1",
    formula="sum -w[y] log p[y] / sum w[y]",
    role="main",
    build=CrossEntropy,
)
LABEL_SMOOTHING = Loss(
    title="label smoothing",
    source="Szegedy et al. 2016, 7",
    formula="cross-entropy against (1 - s) y + s / K",
    role="main",
    build=SmoothCrossEntropy,
    options={"smoothing": Option(0.1, "s, the part that all classes share", high=1.0)},
)
FOCAL = Loss(
    title="focal",
    source="Lin et al. 2017, eq. 4; Mukhoti et al. 2020",
    formula="-(1 - p[y])^gamma log p[y]",
    role="main",
    build=Focal,
    options={"gamma": Option(3.0, "how fast the weight of a right image falls")},
)
MIXUP = Loss(
    title="mixup",
    source="Zhang et al. 2018; Thulasidasan et al. 2019",
    formula="cross-entropy on a x_i + (1 - a) x_j, a from Beta(alpha, alpha) for each batch",
    role="main",
    build=Mixup,
    options={"alpha": Option(0.2, "of Beta(alpha, alpha)", low=1e-3)},
)
