"""The features of a classifier by which its scope check tells how unusual an image is.

They are means over the positions of maps at several depths. Early and middle maps know how a
picture was taken; the last ones know only what tells the classes apart, and miss more
(docs/results.md). A map is what enters a convolution or a linear layer.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from model_store.bundle.scope import chosen_taps
from model_store.image import InputSpec

Tap = nn.Conv2d | nn.Linear


class ScopeTaps(nn.Module):
    """uint8 (N, C, H, W) -> logits (N, K) and features (N, D) of a classifier: means of what enters
    `taps`, some of its layers.
    """

    def __init__(self, classifier: nn.Module, taps: Sequence[nn.Module]) -> None:
        super().__init__()
        self.classifier, self.taps = classifier, tuple(taps)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        with _inputs_of(self.taps) as seen:
            logits = self.classifier(image)
        return logits, torch.cat([_pooled(each, seen[each]) for each in self.taps], dim=1)


def find_taps(classifier: nn.Module, spec: InputSpec) -> ScopeTaps | None:
    """Choose the layers of a classifier in evaluation mode; None if it has few."""
    layers = [each for each in classifier.modules() if isinstance(each, Tap)]
    blank = torch.zeros(2, spec.channels, spec.height, spec.width, dtype=torch.uint8)
    with torch.inference_mode(), _inputs_of(layers) as seen:
        classifier(blank.to(next(classifier.buffers()).device))
    # The first sees the image; layers that take parts of images, such as windows, are left out.
    reached = [layer for layer in seen if len(seen[layer]) == len(blank)][1:]
    sizes = [_pooled(layer, seen[layer]).shape[1] for layer in reached]
    chosen = [reached[place] for place in chosen_taps(sizes)]
    return ScopeTaps(classifier, chosen) if chosen else None


@contextmanager
def _inputs_of(layers: Sequence[nn.Module]) -> Iterator[dict[nn.Module, Tensor]]:
    """What enters each layer the first time, in the order in which they run."""
    seen: dict[nn.Module, Tensor] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda layer, given: _keep(seen, layer, given[0]))
        for layer in layers
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _keep(seen: dict[nn.Module, Tensor], layer: nn.Module, value: Tensor) -> None:
    seen.setdefault(layer, value)


def _pooled(layer: nn.Module, values: Tensor) -> Tensor:
    """Means (N, C) over the positions of maps (N, C, h, w), or of tokens (N, ..., C)."""
    if isinstance(layer, nn.Conv2d):
        return values.mean(dim=(2, 3))
    return values.flatten(1, -2).mean(dim=1) if values.dim() > 2 else values
