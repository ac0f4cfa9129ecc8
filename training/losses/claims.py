"""What logits claim and what is true, for exclusive classes and for findings alike.

Logits (N, K) of exclusive classes go with labels int64 (N,). Those of findings go with labels
(N, K), 1 present, 0 absent, NaN unknown; one finding by itself has logits (N,) and labels (N,). The
claim of a class model is its top label, with the probability as confidence. A finding's claim is
always "present", so its confidence may be below one half.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Claims(NamedTuple):
    """Confidence (M,), whether the claim is true, and whether the answer is right, 0 or 1 (M,).

    M is N for classes, and the number of known labels for findings. The answer of a finding is
    "present" from one half on; for classes, answer and claim are the same.
    """

    confidence: Tensor
    true: Tensor
    right: Tensor


def precise(logits: Tensor) -> Tensor:
    """Logits in float32 or float64: half precision has errors larger than the gap."""
    return logits if logits.dtype == torch.float64 else logits.float()


def are_findings(labels: Tensor) -> bool:
    """Whether labels are of findings, (N, K) or one (N,), and not indices of classes."""
    return labels.is_floating_point()


def known_cells(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (M,) and labels (M,) of the findings whose label is known."""
    known = ~labels.isnan()
    return logits[known], labels[known]


def claims(logits: Tensor, labels: Tensor) -> Claims:
    """The claims of logits.

    >>> claims(torch.tensor([[0.0, -9.0]]), torch.tensor([[1.0, torch.nan]])).confidence
    tensor([0.5000])
    """
    if are_findings(labels):
        z, y = known_cells(precise(logits), labels)
        confidence = z.sigmoid()
        true = y.to(confidence.dtype)
        return Claims(confidence, true, ((confidence >= 0.5) == (y == 1)).to(confidence.dtype))
    confidence, predicted = precise(logits).softmax(dim=1).max(dim=1)
    true = (predicted == labels).to(confidence.dtype)
    return Claims(confidence, true, true)


def log_probabilities(logits: Tensor) -> Tensor:
    """Logarithms of probabilities: of classes (N, K), or of absent and present (N, 2) for one
    finding (N,).

    >>> log_probabilities(torch.tensor([0.0])).exp()
    tensor([[0.5000, 0.5000]])
    """
    if logits.dim() == 1:
        return torch.nn.functional.logsigmoid(torch.stack([-logits, logits], dim=1))
    return logits.log_softmax(dim=1)


def log_loss(logits: Tensor, labels: Tensor) -> float:
    """The mean negative log-likelihood of the labels, or of the known ones, in nats."""
    if are_findings(labels):
        logits, labels = known_cells(logits, labels)
    logs = log_probabilities(logits)
    return -logs.gather(1, labels.long()[:, None]).mean().item()
