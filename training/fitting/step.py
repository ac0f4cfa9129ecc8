"""One optimizer step over one batch, with the same loss and gradient in micro-batches and in
several processes.

Each part of the batch needs statistics of the whole batch before it can be differentiated
(training/losses/loss.py).
    one part                  the loss itself
    one part per process      forward; merge statistics; shares; backward
    micro-batches             forward without gradient; merge statistics; forward again with the
    same random draws;
                              shares; backward: a third more work than one batch, for a fraction of
                              its memory
Then gradients are summed over the processes, and every process takes the same step.

The loss is exact given the logits. Batch norm in training mode normalizes each part separately, so
a network with batch norm has other logits in parts; its running statistics are averaged over the
processes by shard size. Dropout draws other masks. With `amp` only the forward pass uses half
precision; softmax and sums never do.
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
    """The `loss` over the whole batch, and this shard's `logits` (n, K) and `labels` (n,).

    The logits are those of the unmixed images before the step, in training mode, detached. If
    images are held out, they are those of the held-out images, in evaluation mode. An empty shard
    has none.
    """

    loss: float
    logits: Tensor | None
    labels: Tensor


@dataclass(frozen=True)
class LabeledBatch:
    """`inputs` (n, ...) and `labels` int64 (n,)."""

    inputs: Tensor
    labels: Tensor


@dataclass(frozen=True)
class MicroBatch:
    """`inputs` (m, ...), `labels` int64 (m,), mixed inputs if the objective mixes, and held-out
    images if there are.
    """

    inputs: Tensor
    labels: Tensor
    mixed: Mixed | None
    held: LabeledBatch | None


@dataclass(frozen=True)
class Outputs:
    """Logits (m, K) and labels of a micro-batch, and the view of the main term if it has one of its
    own.
    """

    logits: Tensor
    labels: Tensor
    main: View | None


class Step:
    """Optimizer steps of `module` that minimize `objective`.

    `micro_batch` is the largest number of images in one pass; None means the whole shard. `amp`
    runs the forward pass in bfloat16, or in float16 with a scaled loss on a GPU without bfloat16.
    `clip_norm` is the largest norm of the gradient of the whole batch, over all processes and
    micro-batches; a larger one is scaled down. `generator` draws the mixing; the default is a
    separate one, seeded with torch's seed, so mixing changes no other draw.
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
        clip_norm: float | None = None,
    ) -> None:
        self.module = module
        self.objective = self._active = objective
        self.optimizer = optimizer
        self.group = group or Group.alone()
        self.micro_batch = micro_batch
        self.clip_norm = clip_norm
        self.generator = generator or torch.Generator().manual_seed(torch.initial_seed())
        self.learned = [
            parameter for part in optimizer.param_groups for parameter in part["params"]
        ]
        self.device = self.learned[0].device
        self.dtype = precise(self.learned[0]).dtype
        self.half = _half(self.device) if amp else None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.half == torch.float16)

    def __call__(
        self,
        inputs: Tensor,
        labels: Tensor,
        held: LabeledBatch | None = None,
        *,
        main_only: bool = False,
    ) -> StepResult:
        """Take one step; `inputs` (n, ...) and `labels` int64 (n,) are this process's shard, which
        may be empty.

        With the shard `held` of held-out images, the main term sees `inputs` alone and the others
        see `held` alone, in evaluation mode. `main_only` leaves the other terms and `held` out. If
        the loss is not finite, no step is taken.
        """
        self._active, held = (self.objective.main, None) if main_only else (self.objective, held)
        self.optimizer.zero_grad()
        labels = labels.to(self.device)
        micro_batches = self._micro_batches(inputs.to(self.device), labels, held)
        if self.group.size == 1 and len(micro_batches) == 1:
            outputs = [self._forward(micro_batches[0])]
            loss = self._backward(
                self._active(outputs[0].logits, outputs[0].labels, outputs[0].main)
            )
        else:
            outputs = (
                [self._forward(micro_batches[0])]
                if len(micro_batches) == 1
                else self._preview(micro_batches)
            )
            loss = self._share(micro_batches, outputs)
        value = float(self._reduce(loss, count=len(labels)))
        if math.isfinite(value):
            if self.clip_norm is not None:
                self.scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self.learned, self.clip_norm)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if not outputs:
            return StepResult(value, None, labels)
        logits = torch.cat([output.logits.detach() for output in outputs])
        return StepResult(value, logits, torch.cat([output.labels for output in outputs]))

    def state_dict(self) -> dict[str, Any]:
        """State that later steps depend on besides module and optimizer: tensors and numbers
        only.
        """
        memory = [term.memory for term in self.objective.terms]
        return {
            "generator": self.generator.get_state(),
            "memory": memory,
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict`."""
        self.generator.set_state(state["generator"])
        for term, memory in zip(self.objective.terms, state["memory"], strict=True):
            term.memory = memory
        self.scaler.load_state_dict(state["scaler"])

    def _micro_batches(
        self, inputs: Tensor, labels: Tensor, held: LabeledBatch | None
    ) -> list[MicroBatch]:
        """Split the shard, and that of held-out images, into as many micro-batches of nearly equal
        size.
        """
        if len(labels) == 0:
            return []
        count = math.ceil(len(labels) / (self.micro_batch or len(labels)))
        mixing = self._active.mixing
        mixed = mixing(inputs, labels, self.generator).split(count) if mixing else [None] * count
        parts = zip(
            inputs.tensor_split(count),
            labels.tensor_split(count),
            mixed,
            self._split(held, count),
            strict=True,
        )
        return [MicroBatch(*part) for part in parts]

    def _split(self, held: LabeledBatch | None, count: int) -> list[LabeledBatch] | list[None]:
        if held is None:
            return [None] * count
        inputs, labels = held.inputs.to(self.device), held.labels.to(self.device)
        return [
            LabeledBatch(*part)
            for part in zip(inputs.tensor_split(count), labels.tensor_split(count), strict=True)
        ]

    def _forward(self, part: MicroBatch) -> Outputs:
        """Logits of a micro-batch; those of unmixed inputs have no gradient if only the report uses
        them.
        """
        if part.held is not None:
            main = self._main_view(part)
            with _evaluation(self.module):
                return Outputs(self._logits(part.held.inputs), part.held.labels, main)
        if part.mixed is None:
            return Outputs(self._logits(part.inputs), part.labels, None)
        reported = len(self._active.terms) == 1
        with (
            _kept_buffers(self.module) if reported else nullcontext(),
            torch.set_grad_enabled(not reported),
        ):
            logits = self._logits(part.inputs)
        return Outputs(logits, part.labels, self._main_view(part))

    def _main_view(self, part: MicroBatch) -> View:
        """The mixed inputs if the objective mixes, else the inputs, with their labels."""
        if part.mixed is None:
            return View(self._logits(part.inputs), part.labels)
        mixed = self._logits(part.mixed.inputs)
        return View(mixed, part.mixed.targets(mixed.shape[1]))

    def _logits(self, inputs: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=self.half, enabled=self.half is not None):
            return self.module(inputs)

    def _preview(self, micro_batches: Sequence[MicroBatch]) -> list[Outputs]:
        """The outputs of `_forward` without gradient; buffers and random states are left
        unchanged.
        """
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices), _kept_buffers(self.module):
            return [self._forward(part) for part in micro_batches]

    def _share(self, micro_batches: Sequence[MicroBatch], outputs: Sequence[Outputs]) -> Tensor:
        """Run backward through this process's shares of the loss and return their sum."""
        statistics = self._statistics(outputs)
        self._active.observe(statistics)
        loss = torch.zeros((), device=self.device, dtype=self.dtype)
        for part, output in zip(micro_batches, outputs, strict=True):
            ready = output if len(micro_batches) == 1 else self._forward(part)
            loss = loss + self._backward(
                self._active.share(ready.logits, ready.labels, statistics, ready.main)
            )
        return loss

    def _statistics(self, outputs: Sequence[Outputs]) -> list[Tensor]:
        """Statistics of the whole batch, merged over the micro-batches and then over the processes
        that have any.
        """
        own = [
            self._active.statistics(output.logits.detach(), output.labels, output.main)
            for output in outputs
        ]
        nothing = torch.zeros(0, device=self.device, dtype=self.dtype)
        merged = self._active.merge(own) if own else [nothing] * len(self._active.terms)
        if self.group.size == 1:
            return merged
        lengths = merged[0].new_tensor([len(part) for part in merged])
        messages = self.group.gather(torch.cat([lengths, *merged]))
        return self._active.merge(
            [parts for message in messages if len((parts := _unpack(message, len(merged)))[0])]
        )

    def _backward(self, share: Tensor) -> Tensor:
        self.scaler.scale(share).backward()
        return share.detach()

    def _reduce(self, loss: Tensor, *, count: int) -> Tensor:
        """Sum loss and gradients over the processes and average buffers by shard size, in one
        message.
        """
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
def _evaluation(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block: no dropout; batch norm uses its running statistics and
    keeps them.
    """
    modes = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for each, mode in modes:
            each.training = mode


@contextmanager
def _kept_buffers(module: nn.Module) -> Iterator[None]:
    """Restore the buffers, such as the running statistics of batch norm, at the end of the
    block.
    """
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
    """The half-precision type of `device`: bfloat16 if available, since its range needs no scaled
    loss.
    """
    return (
        torch.float16
        if device.type == "cuda" and not torch.cuda.is_bf16_supported()
        else torch.bfloat16
    )
