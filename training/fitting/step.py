"""One optimizer step over one batch, with the same loss and gradient in micro-batches and in
several processes.

Each part of the batch needs statistics of the whole batch before it can be differentiated
(training/losses/terms.py).
    one part                  the loss itself
    one part per process      forward; merge statistics; shares; backward
    micro-batches             forward without gradient; merge statistics; forward again with the
    same random draws;
                              shares; backward: a third more work than one batch, for a fraction of
                              its memory
Then gradients are summed over the processes, and every process takes the same step.

The loss is exact given the logits. Batch norm in training mode normalizes each part separately, so
a network with batch norm has other logits in parts; its running statistics are averaged over the
processes by shard size. Dropout draws other masks, and mixup's pairs are of one process. With `amp`
only the forward pass uses half precision; softmax and sums never do.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from training.losses import Objective
from training.losses.claims import precise
from training.processes.distributed import Group


@dataclass(frozen=True)
class StepResult:
    """The `loss` over the whole batch, and this shard's `logits` (n, K) and `labels` (n,).

    The logits are those before the step, in training mode, detached; None for an empty shard. With
    mixup they are of mixed images, and the labels those that weigh more.
    """

    loss: float
    logits: Tensor | None
    labels: Tensor


class Step:
    """Optimizer steps of `module` that minimize `objective`.

    `micro_batch` is the largest number of images in one pass; None means the whole shard. `amp`
    runs the forward pass in bfloat16, or in float16 with a scaled loss on a GPU without bfloat16.
    `clip_norm` is the largest norm of the gradient of the whole batch, over all processes and
    micro-batches; a larger one is scaled down.
    """

    def __init__(
        self,
        module: nn.Module,
        objective: Objective,
        *,
        optimizer: Optimizer,
        group: Group | None = None,
        micro_batch: int | None = None,
        amp: bool = False,
        clip_norm: float | None = None,
    ) -> None:
        self.module = module
        self.objective = objective
        self.optimizer = optimizer
        self.group = group or Group.alone()
        self.micro_batch = micro_batch
        self.clip_norm = clip_norm
        self.learned = [
            parameter for part in optimizer.param_groups for parameter in part["params"]
        ]
        self.device = self.learned[0].device
        self.dtype = precise(self.learned[0]).dtype
        self.half = _half(self.device) if amp else None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.half == torch.float16)

    def __call__(self, inputs: Tensor, labels: Tensor) -> StepResult:
        """Take one step; `inputs` (n, ...) and `labels` (n, ...) are this process's shard, which
        may be empty.

        If the loss is not finite, no step is taken.
        """
        self.optimizer.zero_grad()
        inputs, labels = inputs.to(self.device), labels.to(self.device)
        mixup = self.objective.mixup
        parts = self._micro_batches(*(mixup.mix(inputs, labels) if mixup else (inputs, labels)))
        if self.group.size == 1 and len(parts) == 1:
            logits = [self._logits(inputs) for inputs, _ in parts]
            loss = self._backward(self.objective(logits[0], parts[0][1]))
        else:
            logits = [self._logits(parts[0][0])] if len(parts) == 1 else self._preview(parts)
            loss = self._share(parts, logits)
        value = float(self._reduce(loss, count=len(labels)))
        if math.isfinite(value):
            if self.clip_norm is not None:
                self.scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self.learned, self.clip_norm)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        seen = torch.cat([each.detach() for each in logits]) if logits else None
        return StepResult(value, seen, labels)

    def _micro_batches(self, inputs: Tensor, labels: Any) -> list[tuple[Tensor, Any]]:
        """The shard in micro-batches of nearly equal size."""
        if len(inputs) == 0:
            return []
        count = math.ceil(len(inputs) / (self.micro_batch or len(inputs)))
        return list(zip(inputs.tensor_split(count), labels.tensor_split(count), strict=True))

    def _logits(self, inputs: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=self.half, enabled=self.half is not None):
            return self.module(inputs)

    def _preview(self, parts: Sequence[tuple[Tensor, Any]]) -> list[Tensor]:
        """Logits without gradient; buffers and random states are left unchanged."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices), _kept_buffers(self.module):
            return [self._logits(inputs) for inputs, _ in parts]

    def _share(self, parts: Sequence[tuple[Tensor, Any]], known: Sequence[Tensor]) -> Tensor:
        """Run backward through this process's shares; return their sum. `known` are its logits."""
        statistics = self._statistics(
            [(logits.detach(), labels) for logits, (_, labels) in zip(known, parts, strict=True)]
        )
        loss = torch.zeros((), device=self.device, dtype=self.dtype)
        for (inputs, labels), first in zip(parts, known, strict=True):
            logits = first if len(parts) == 1 else self._logits(inputs)
            loss = loss + self._backward(self.objective.share(logits, labels, statistics))
        return loss

    def _statistics(self, outputs: Sequence[tuple[Tensor, Any]]) -> list[Tensor]:
        """Statistics of the whole batch, merged over micro-batches and then over processes."""
        own = [self.objective.statistics(logits, labels) for logits, labels in outputs]
        nothing = torch.zeros(0, device=self.device, dtype=self.dtype)
        merged = self.objective.merge(own) if own else [nothing] * len(self.objective.terms)
        if self.group.size == 1:
            return merged
        lengths = merged[0].new_tensor([len(part) for part in merged])
        messages = self.group.gather(torch.cat([lengths, *merged]))
        return self.objective.merge(
            [parts for message in messages if len((parts := _unpack(message, len(merged)))[0])]
        )

    def _backward(self, share: Tensor) -> Tensor:
        self.scaler.scale(share).backward()
        return share.detach()

    def _reduce(self, loss: Tensor, *, count: int) -> Tensor:
        """Sum loss and gradients over processes and average buffers by shard, in one message."""
        if self.group.size == 1:
            return loss
        buffers = [buffer for buffer in self.module.buffers() if buffer.is_floating_point()]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.learned]
        numbers = loss.new_tensor([count, *(p.grad is not None for p in self.learned)])
        sent = [*grads, *(count * buffer for buffer in buffers), numbers, loss]
        summed = self.group.sum(torch.cat([part.reshape(-1) for part in sent]))
        *parts, numbers, value = summed.split([part.numel() for part in sent])
        images, *used = numbers.tolist()
        for parameter, use, total in zip(self.learned, used, parts, strict=False):
            parameter.grad = total.reshape(parameter.shape).to(parameter) if use else None
        for buffer, total in zip(buffers, parts[len(self.learned) :], strict=True):
            buffer.copy_((total / images).reshape(buffer.shape))
        return value


@contextmanager
def _kept_buffers(module: nn.Module) -> Iterator[None]:
    """Restore buffers, such as the statistics of batch norm, at the end of the block."""
    before = [buffer.clone() for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, kept in zip(module.buffers(), before, strict=True):
                buffer.copy_(kept)


def _unpack(message: Tensor, count: int) -> list[Tensor]:
    """Split a message of `count` lengths followed by tensors of these lengths."""
    lengths = [int(length) for length in message[:count]]
    return list(message[count:].split(lengths))


def _half(device: torch.device) -> torch.dtype:
    """bfloat16 if `device` has it, since its range needs no scaled loss."""
    return (
        torch.float16
        if device.type == "cuda" and not torch.cuda.is_bf16_supported()
        else torch.bfloat16
    )
