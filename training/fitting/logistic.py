"""Logistic regression on the features of a few hundred images, for the linear part of a head.

Features are standardized, classes have balanced weights, and half the squared norm of the weights
is added to the loss, as scikit-learn does with C=1.
"""

import torch
from torch import Tensor, nn

from training.losses import balanced_weights

STEPS = 200  # of L-BFGS, at most


def fit_logistic(features: Tensor, labels: Tensor, *, classes: int) -> nn.Linear:
    """The regression of labels (N,) on features (N, D, 1, 1), as a layer.

    A class without images is left with a probability near 0.
    """
    x = features.flatten(1).double()
    center, spread = x.mean(dim=0), x.std(dim=0, correction=0)
    spread = torch.where(spread > 0, spread, 1.0)
    # In the space of the images, which has fewer dimensions than features.
    left, length, right = torch.linalg.svd((x - center) / spread, full_matrices=False)
    coordinates = left * length
    weight = torch.zeros(classes, len(length), dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=x.dtype, requires_grad=True)
    weights = balanced_weights(labels, classes).double()
    loss = nn.CrossEntropyLoss(weight=weights, reduction="sum")
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimizer.zero_grad()
        cost = loss(coordinates @ weight.T + bias, labels) + weight.square().sum() / 2
        cost = cost / len(labels)
        cost.backward()
        return cost

    optimizer.step(step)
    linear = nn.utils.skip_init(nn.Linear, x.shape[1], classes)
    with torch.no_grad():
        own = weight @ right / spread
        linear.weight.copy_(own)
        linear.bias.copy_(bias - own @ center)
    return linear
