"""Makes the probes of a bundle (`model_store.image.probes`), and asks them of a graph.

Made-up images are mixed for a few rounds, and those with the least certain answers are kept: a
probability near 0 or 1 would hide a difference of the logits.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from model_store.bundle.bundle import Bundle
from model_store.bundle.graph import INPUT, OUTPUT
from model_store.image import InputSpec
from model_store.image.probes import (
    GRID,
    TOLERANCE,
    Images,
    Probes,
    Run,
    differs_sentence,
    enlarged,
)
from model_store.runtime import ORT_ERRORS, open_session

QUANTIZED_NOTE: Final = (
    "Quantized networks do not compute the same everywhere: on a processor without VNNI, fast "
    "integer sums overflow, and probabilities were off by up to .97. Candor compares the bundle's "
    "probe images at every start, and takes the slower exact sums there; other runtimes do not. "
    "`candor doctor` tries it on the machine that will serve."
)
PROBES: Final = 4
ROUNDS: Final = 5
CANDIDATES: Final = 16  # in each round
_DETAIL: Final = (4, 2, 1)  # widths of blocks, in cells of the grid


def make_probes(
    graph: bytes, spec: InputSpec, *, load: Callable[[bytes], Run] | None = None
) -> Probes:
    """Make probes for the graph of a network.

    `load` makes a graph ready to run; by default with ONNX Runtime in this process, on the CPU.
    Raises what `load` and the graph raise.
    """
    run = (load or on_cpu)(graph)
    size, rng = (spec.height, spec.width), np.random.default_rng(0)
    shape = (PROBES, spec.channels, GRID, GRID)
    kept, doubt = np.zeros(shape, np.uint8), np.full(PROBES, -1.0)
    for each in range(ROUNDS):
        made = _images(rng, spec.channels)
        if each:
            made = _mixed(rng, kept, made)
        kept, doubt = np.concatenate([kept, made]), np.append(doubt, _doubt(run, made, size))
        best = np.argsort(-doubt, kind="stable")[:PROBES]
        kept, doubt = kept[best], doubt[best]
    return Probes(kept, run(enlarged(kept, *size)).astype(np.float64))


def on_cpu(graph: bytes) -> Run:
    """The graph in this process. Raises one of ORT_ERRORS."""
    session = open_session(graph, exact=True)

    def run(images: Images) -> npt.NDArray[Any]:
        probabilities: npt.NDArray[Any] = session.run([OUTPUT], {INPUT: images})[0]
        return probabilities

    return run


def problem_here(bundle: Bundle) -> str | None:
    """Say that the network computes otherwise in this process than where it was published.

    None if it does not, or if the bundle has no probes.
    """
    if bundle.probes is None:
        return None
    shape = bundle.card.input
    try:
        run = on_cpu(bundle.onnx)
        found = bundle.probes.difference(run, height=shape.height, width=shape.width)
    except ORT_ERRORS as error:
        return f"it does not run on this machine: {error}"
    return differs_sentence(found) if found > TOLERANCE else None


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether a graph computes with integers, whose results differ between processors."""
    return any(
        node.op_type.endswith("Integer")
        or re.match("(De)?Quantize|DynamicQuantize|QLinear", node.op_type)
        for node in model.graph.node
    )


def _doubt(run: Run, grids: Images, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """How far the answers to each image are from certain, (n,); 0 where they are no numbers."""
    p = np.nan_to_num(run(enlarged(grids, *size)).astype(np.float64))
    return np.asarray((p * (1 - p)).mean(axis=1))


def _mixed(rng: np.random.Generator, parents: Images, others: Images) -> Images:
    """Each of `others` with a share of one of `parents`."""
    share = rng.uniform(0, 1, (len(others), 1, 1, 1))
    chosen = parents[rng.integers(len(parents), size=len(others))]
    return np.rint(share * chosen + (1 - share) * others).astype(np.uint8)


def _images(rng: np.random.Generator, channels: int) -> Images:
    """Random blocks of several sizes, brightness and contrast, (CANDIDATES, C, GRID, GRID)."""
    shape = (CANDIDATES, 1, 1, 1)
    waves = [rng.uniform(0.1, 1, shape) * _blocks(rng, channels, width) for width in _DETAIL]
    levels = rng.uniform(40, 200, shape) + rng.uniform(15, 70, shape) * sum(waves)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def _blocks(rng: np.random.Generator, channels: int, width: int) -> npt.NDArray[np.float64]:
    coarse = rng.normal(size=(CANDIDATES, channels, GRID // width, GRID // width))
    coarse[::2] = coarse[::2, :1]  # every other one is gray
    return coarse.repeat(width, axis=2).repeat(width, axis=3)
