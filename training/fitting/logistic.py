"""Logistic regression on the features of a few hundred images, for the linear part of a head.

Features are standardized, classes have balanced weights, and half the squared norm of the weights
is added to the loss, as scikit-learn does with C=1.
"""

import torch
from torch import Tensor, nn

from training.losses import balanced_weights

STEPS = 200  # of L-BFGS, at most


def fit_logistic(linear: nn.Linear, features: Tensor, labels: Tensor) -> None:
    """Fit `linear` in place to features (N, D, 1, 1) and labels (N,).

    A class without images is left with a probability near 0.
    """
    x = features.flatten(1).double()
    center, spread = x.mean(dim=0), x.std(dim=0, correction=0)
    spread = torch.where(spread > 0, spread, 1.0)
    # In the space of the images, which has fewer dimensions than features.
    left, length, right = torch.linalg.svd((x - center) / spread, full_matrices=False)
    coordinates = left * length
    weight = torch.zeros(linear.out_features, len(length), dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(linear.out_features, dtype=x.dtype, requires_grad=True)
    weights = balanced_weights(labels, linear.out_features).double()
    loss = nn.CrossEntropyLoss(weight=weights, reduction="sum")
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimizer.zero_grad()
        cost = loss(coordinates @ weight.T + bias, labels) + weight.square().sum() / 2
        cost = cost / len(labels)
        cost.backward()
        return cost

    optimizer.step(step)
    with torch.no_grad():
        own = weight @ right / spread
        linear.weight.copy_(own)
        linear.bias.copy_(bias - own @ center)
