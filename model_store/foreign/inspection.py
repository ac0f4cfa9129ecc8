"""What a foreign graph takes and gives, from a look at it and runs on made-up images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from model_store.bundle.graph_part import nodes_of
from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.class_scores import (
    CUT_DIFFERENCE,
    ClassScores,
    Reading,
    has_half_precision,
    read_scores,
)
from model_store.foreign.image_input import ImageInput, Size, readings
from model_store.foreign.outputs import ScoreOutput, choose_output, per_image, score_outputs
from model_store.foreign.sandbox import Sandbox, SandboxSession
from model_store.foreign.scope_features import Tap, find_taps
from model_store.foreign.surgery import behind, cut_to, real_inputs
from model_store.foreign.wrapping import NATIVE, LogitsGraph, logits_graph

Given = dict[ScoreOutput, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        original: the graph as it came, with the chosen scores as its only output.
        running: the same, in the sandbox.
        core: the same, reduced to logits.
        loaded: that, in the sandbox.
    """

    original: onnx.ModelProto
    running: SandboxSession
    core: LogitsGraph
    loaded: SandboxSession

    @property
    def image(self) -> ImageInput:
        return self.core.image

    @property
    def scores(self) -> ClassScores:
        return self.core.scores

    def run(self, prepared: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float64]]:
        """Return the logits (N, K) of prepared images (N, C, H, W), and features (N, D) if any."""
        given = {NATIVE: self.image.arrange(prepared)}
        rows = self.loaded.rows(given, *self.core.outputs, columns=self.scores.count)
        return [np.asarray(each, np.float64) for each in rows]


def inspect_model(
    model: onnx.ModelProto,
    sandbox: Sandbox,
    *,
    size: Size | None,
    outputs: Sequence[str] = (),
    classes: int | None = None,
    reading: Reading | None = None,
    are_logits: bool = False,
    with_scope: bool = False,
) -> Inspection:
    """Find input, output and batch handling of a model.

    Args:
        size: of the input, if the graph leaves it open.
        outputs: the output to take, or several of one score each.
        classes: how many there are, if known.
        reading, are_logits: see `read_scores`.
        with_scope: whether the core shows features for a scope check.

    Raises ForeignModelRefused, or ForeignModelUnclear if the caller has to say more.
    """
    sources = _with_one_input(model, score_outputs(model))
    original = cut_to(model, [tensor for each in sources for tensor in each.tensors])
    running = sandbox.load(bytes(original.SerializeToString()))
    image, arrays, given = _probed(running, original, sources, size)
    source = choose_output(given, classes=classes, wished=outputs)
    rows = own_scores(running, image, arrays, source)
    scores = read_scores(model, source, rows, reading=reading, are_logits=are_logits)
    taps = find_taps(model, source.tensors, image, arrays, sandbox) if with_scope else []
    core, loaded = _core(model, image, scores, arrays, rows, taps, sandbox)
    return Inspection(cut_to(model, source.tensors), running, core, loaded)


def own_scores(
    session: SandboxSession, image: ImageInput, arrays: npt.NDArray[Any], source: ScoreOutput
) -> npt.NDArray[np.float64]:
    """Return a graph's scores (N, K) of images in the model's own layout, each run alone."""
    count, rows = image.batch or 1, []
    for array in arrays:
        given = session.run({image.name: np.stack([array] * count)}, source.tensors)
        parts = [per_image(given[each], count, source.output)[0] for each in source.tensors]
        rows.append(np.concatenate(parts))
    return np.stack(rows)


def probe_images(image: ImageInput) -> npt.NDArray[np.float32]:
    """Return made-up images (4, C, H, W): noise in blocks, each in one of the usual ranges."""
    random = np.random.default_rng(0)
    size = (image.channels, -(-image.height // 8), -(-image.width // 8))
    coarse = np.stack([random.random(size) for _ in range(4)]).astype(np.float32)
    blocks = coarse.repeat(8, axis=2).repeat(8, axis=3)[:, :, : image.height, : image.width]
    ranges = ((0, 1), (-2, 4), (-1, 2), (0, 255))
    if np.issubdtype(image.dtype, np.unsignedinteger):
        ranges = ((0, 255), (0, 128), (128, 127), (0, 255))
    return np.stack(
        [low + width * block for (low, width), block in zip(ranges, blocks, strict=True)]
    )


def _with_one_input(model: onnx.ModelProto, outputs: Sequence[ScoreOutput]) -> list[ScoreOutput]:
    """Keep the outputs that need exactly one input, the same for all."""
    # Outputs that nothing computes repeat an input.
    computed = [each for each in outputs if behind(model, each.tensors[0]) is not None]
    needed = {
        each: [value.name for value in real_inputs(cut_to(model, each.tensors).graph)]
        for each in computed or outputs
    }
    single = [each for each in needed if len(needed[each]) == 1]
    if not single:
        names = ", ".join(f"'{name}'" for name in next(iter(needed.values())))
        what = f"several inputs ({names})" if names else "no input"
        raise ForeignModelRefused(
            f"its scores need {what}, and a prediction is about one image alone, so that it can be "
            "repeated, explained and audited from it: export the model with the others fixed"
        )
    first = needed[single[0]]
    return [each for each in single if needed[each] == first]


def _probed(
    running: SandboxSession,
    model: onnx.ModelProto,
    outputs: Sequence[ScoreOutput],
    size: Size | None,
) -> tuple[ImageInput, npt.NDArray[Any], Given]:
    """Return the only reading of the input that runs, probe images, and what its outputs give."""
    (expected,) = real_inputs(model.graph)
    if [each.name for each in running.inputs] != [expected.name]:
        raise running.sandbox.disbelieved("it names other inputs")
    found, failure = [], None
    for image in readings(running.inputs[0], size):
        arrays = image.arrange(probe_images(image))
        if has_half_precision(model) or image.dtype == np.float16:
            arrays = arrays[:-1]  # up to 255, which may alone be too large
        try:
            found.append((image, arrays, _repeated(running, image, arrays, outputs)))
        except ForeignModelRefused as error:
            failure = failure or error
    if failure and not found:
        raise failure
    if len(found) > 1:
        shown = " and of ".join(image.described for image, *_ in found[:2])
        raise ForeignModelUnclear(
            f"it takes images of {shown}, and does not say which: export it for [N, 1, H, W] or "
            "[N, 3, H, W], or with channels last"
        )
    return found[0]


def _repeated(
    running: SandboxSession,
    image: ImageInput,
    arrays: npt.NDArray[Any],
    outputs: Sequence[ScoreOutput],
) -> Given:
    """The scores of those outputs that have any. Raises ForeignModelRefused if none has, or they
    are others when they are run again.
    """
    given, failure = {}, None
    for output in outputs:
        try:
            given[output] = own_scores(running, image, arrays, output)
        except ForeignModelRefused as error:
            failure = failure or error
    if failure and not given:
        raise failure
    for output, rows in given.items():
        again = own_scores(running, image, arrays, output)
        if not np.allclose(again, rows, rtol=1e-3, atol=1e-3, equal_nan=True):
            raise ForeignModelRefused(
                f"its output '{output.output}' differs when the same image is run again, as with "
                "dropout or other random operators: export it after `model.eval()`"
            )
    return given


def _mixes_images(model: onnx.ModelProto) -> bool:
    """Whether the range of a whole batch sets the steps of its whole numbers."""
    return any(node.op_type == "DynamicQuantizeLinear" for node in nodes_of(model))


def _core(
    model: onnx.ModelProto,
    image: ImageInput,
    scores: ClassScores,
    arrays: npt.NDArray[Any],
    rows: npt.NDArray[np.float64],
    taps: Sequence[Tap],
    sandbox: Sandbox,
) -> tuple[LogitsGraph, SandboxSession]:
    """Return the logits graph that agrees: best without its softmax, in batches, and with features
    for the scope check.
    """
    cuts = [scores, replace(scores, before=())] if scores.before else [scores]
    expected, difference, failure = scores.own_probabilities(rows), np.inf, None
    ways = (True,) if _mixes_images(model) else (False, True)
    for cut, one_by_one, shown in product(cuts, ways, (taps, ()) if taps else ((),)):
        try:
            core = logits_graph(model, image, cut, one_by_one=one_by_one, taps=shown)
            loaded = sandbox.load(core.serialized)
            logits, *_ = loaded.rows({NATIVE: arrays}, *core.outputs, columns=scores.count)
        except ForeignModelRefused as error:
            failure = error
            continue
        difference = float(np.abs(scores.probabilities(logits) - expected).max())
        if difference <= CUT_DIFFERENCE:
            return core, loaded
        loaded.unload()
    if failure and difference == np.inf:
        raise failure
    raise ForeignModelRefused(
        f"its graph answers differently inside Candor's (by {difference:.2g} in probability), so "
        "it is not published"
    )
