"""One optimizer step over one batch, whole or in micro-batches, in one process or several: the same loss and gradient.

Every piece of the batch needs to know some statistics of the whole before it can be differentiated (losses/loss.py).
    one piece                 the loss itself
    a piece a process         forward; statistics meet; shares; backward
    micro-batches             forward without gradient; statistics meet; forward again with the same random draws;
                              shares; backward: a third more work than one batch would be, for a fraction of its memory
Then gradients are summed over the processes, and every process takes the same step.

The exactness is that of the loss, given the logits. Batch norm in training mode normalizes each piece by itself, so a
network that has it gives other logits in pieces; its running statistics are averaged over the processes by shard size.
Dropout draws other masks. Under `amp` only the forward pass is in half precision; softmax and sums never are.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from training.losses import Mixed, Objective, View
from training.losses.loss import precise
from training.processes.distributed import Group


@dataclass(frozen=True)
class StepResult:
    """What a step saw: the objective's `loss` over the whole batch, and this shard's `logits` (n, K) and `labels` (n,).

    The logits are those of the unmixed images before the step, in training mode, detached. An empty shard has none.
    """

    loss: float
    logits: Tensor | None
    labels: Tensor


@dataclass(frozen=True)
class MicroBatch:
    """A micro-batch: `inputs` (m, ...), `labels` int64 (m,), and the mixed view where the objective asks for one."""

    inputs: Tensor
    labels: Tensor
    mixed: Mixed | None


@dataclass(frozen=True)
class Outputs:
    """The logits of a piece, (m, K), its labels, and its mixed view."""

    logits: Tensor
    labels: Tensor
    mixed: View | None


class Step:
    """Takes optimizer steps of `module` down `objective`.

    `micro_batch` is the largest number of images in one pass; None is all at once. `amp` runs the forward pass in
    bfloat16, or in float16 with a scaled loss on a GPU that has no bfloat16. `generator` draws what is mixed with what;
    by default one of its own, seeded with torch's seed, so that mixing moves no other draw.
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
        generator: torch.Generator | None = None,
    ) -> None:
        self.module = module
        self.objective = objective
        self.optimizer = optimizer
        self.group = group or Group.alone()
        self.micro_batch = micro_batch
        self.generator = generator or torch.Generator().manual_seed(torch.initial_seed())
        self.learned = [parameter for part in optimizer.param_groups for parameter in part["params"]]
        self.device = self.learned[0].device
        self.dtype = precise(self.learned[0]).dtype
        self.half = _half(self.device) if amp else None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.half == torch.float16)

    def __call__(self, inputs: Tensor, labels: Tensor) -> StepResult:
        """One step; `inputs` (n, ...) and `labels` int64 (n,) are this process's shard, which may be empty.

        Where the loss is not finite, no step is taken.
        """
        self.optimizer.zero_grad()
        labels = labels.to(self.device)
        pieces = self._pieces(inputs.to(self.device), labels)
        if self.group.size == 1 and len(pieces) == 1:
            outputs = [self._forward(pieces[0])]
            loss = self._backward(self.objective(outputs[0].logits, labels, outputs[0].mixed))
        else:
            outputs = [self._forward(pieces[0])] if len(pieces) == 1 else self._foresee(pieces)
            loss = self._share(pieces, outputs)
        value = float(self._meet(loss, count=len(labels)))
        if math.isfinite(value):
            self.scaler.step(self.optimizer)
            self.scaler.update()
        logits = torch.cat([output.logits.detach() for output in outputs]) if outputs else None
        return StepResult(value, logits, labels)

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on beside module and optimizer, for a checkpoint: tensors and numbers only."""
        memory = [term.memory for term in self.objective.terms]
        return {"generator": self.generator.get_state(), "memory": memory, "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.generator.set_state(state["generator"])
        for term, memory in zip(self.objective.terms, state["memory"], strict=True):
            term.memory = memory
        self.scaler.load_state_dict(state["scaler"])

    def _pieces(self, inputs: Tensor, labels: Tensor) -> list[MicroBatch]:
        """The shard in micro-batches of nearly equal size."""
        if len(labels) == 0:
            return []
        count = math.ceil(len(labels) / (self.micro_batch or len(labels)))
        mixing = self.objective.mixing
        mixed = mixing(inputs, labels, self.generator).split(count) if mixing else [None] * count
        parts = zip(inputs.tensor_split(count), labels.tensor_split(count), mixed, strict=True)
        return [MicroBatch(*part) for part in parts]

    def _forward(self, piece: MicroBatch) -> Outputs:
        """Logits of the piece, and of its mixed view. Where nothing but the report needs the unmixed, no gradient."""
        if piece.mixed is None:
            return Outputs(self._logits(piece.inputs), piece.labels, None)
        reported = len(self.objective.terms) == 1
        with _kept_buffers(self.module) if reported else nullcontext(), torch.set_grad_enabled(not reported):
            logits = self._logits(piece.inputs)
        mixed = self._logits(piece.mixed.inputs)
        return Outputs(logits, piece.labels, View(mixed, piece.mixed.targets(mixed.shape[1])))

    def _logits(self, inputs: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=self.half, enabled=self.half is not None):
            return self.module(inputs)

    def _foresee(self, pieces: Sequence[MicroBatch]) -> list[Outputs]:
        """The outputs that `_forward` will give, without gradient, leaving no trace in buffers or random states."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices), _kept_buffers(self.module):
            return [self._forward(piece) for piece in pieces]

    def _share(self, pieces: Sequence[MicroBatch], outputs: Sequence[Outputs]) -> Tensor:
        """Backward through this process's shares of the loss; their sum."""
        statistics = self._statistics(outputs)
        self.objective.observe(statistics)
        loss = torch.zeros((), device=self.device, dtype=self.dtype)
        for piece, output in zip(pieces, outputs, strict=True):
            ready = output if len(pieces) == 1 else self._forward(piece)
            loss = loss + self._backward(self.objective.share(ready.logits, ready.labels, statistics, ready.mixed))
        return loss

    def _statistics(self, outputs: Sequence[Outputs]) -> list[Tensor]:
        """Of the whole batch: merged over this process's pieces, then over the processes that have any."""
        own = [self.objective.statistics(output.logits.detach(), output.labels, output.mixed) for output in outputs]
        nothing = torch.zeros(0, device=self.device, dtype=self.dtype)
        merged = self.objective.merge(own) if own else [nothing] * len(self.objective.terms)
        if self.group.size == 1:
            return merged
        lengths = merged[0].new_tensor([len(part) for part in merged])
        messages = self.group.gather(torch.cat([lengths, *merged]))
        return self.objective.merge([parts for message in messages if len((parts := _unpack(message, len(merged)))[0])])

    def _backward(self, share: Tensor) -> Tensor:
        self.scaler.scale(share).backward()
        return share.detach()

    def _meet(self, loss: Tensor, *, count: int) -> Tensor:
        """Sum loss and gradients over the processes, average buffers by shard size, all in one message."""
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
    """Buffers, such as batch norm's running statistics, are afterwards as they were before."""
    before = [buffer.clone() for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, kept in zip(module.buffers(), before, strict=True):
                buffer.copy_(kept)


def _unpack(message: Tensor, count: int) -> list[Tensor]:
    """The `count` tensors whose lengths stand in front of them."""
    lengths = [int(length) for length in message[:count]]
    return list(message[count:].split(lengths))


def _half(device: torch.device) -> torch.dtype:
    """The half precision of `device`: bfloat16, whose range needs no scaled loss, where there is one."""
    return torch.float16 if device.type == "cuda" and not torch.cuda.is_bf16_supported() else torch.bfloat16
