"""DCA: the difference between confidence and accuracy, as an auxiliary loss.

Source: Liang et al. 2020, equations 5 and 6: beta * |mean_i c_i - mean_i p_i| over the mini-batch, p_i the top-label
confidence and c_i 1 where the top label is right. The accuracy term has no gradient; the term is not weighted by class.
The batch size is a hyper-parameter of it: a calibrated model still shows about sqrt(2/pi) sigma / sqrt(N).
"""

import torch
from torch import Tensor

from training.losses.ce import CrossEntropy
from training.losses.loss import LossSettings, Term, precise


class ConfidenceGap(Term):
    """beta * |G| with G = mean_i (p_i - c_i).

    Its gradient is beta * sign(G) / N * p_i * (1[j = top_i] - softmax(z_i)_j) for logit z_ij.

    >>> logits = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    >>> round(ConfidenceGap(beta=10.0)(logits, torch.tensor([1, 1])).item(), 4)  # 10 * |1.3 / 2 - 1 / 2|
    1.5
    """

    def __init__(self, *, beta: float) -> None:
        self.beta = beta

    def statistics(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum of (confidence - correctness), and the number of images, (2,)."""
        excess = _excess(logits.detach(), labels)
        return torch.stack([excess.sum(), excess.new_tensor(len(excess))])

    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor) -> Tensor:
        total, count = statistics
        return self.beta * total.sign() * _excess(logits, labels).sum() / count


def _excess(logits: Tensor, labels: Tensor) -> Tensor:
    """Confidence minus correctness of each image, (N,)."""
    confidence, predicted = precise(logits).softmax(dim=1).max(dim=1)
    return confidence - (predicted == labels).to(confidence.dtype)


def dca(settings: LossSettings) -> tuple[Term, ...]:
    """The recipe `dca`: cross-entropy and the gap."""
    return CrossEntropy(settings.class_weights), ConfidenceGap(beta=settings.beta)
