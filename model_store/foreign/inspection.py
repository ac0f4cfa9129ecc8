"""What a foreign graph takes and gives, from a look at it and runs on made-up images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from model_store.bundle.graph_part import nodes_of
from model_store.errors import ForeignModelRefused
from model_store.foreign.class_scores import (
    CUT_DIFFERENCE,
    ClassScores,
    Reading,
    read_scores,
    weight_types,
)
from model_store.foreign.image_input import ImageInput, InputWishes, candidates
from model_store.foreign.outputs import (
    ScoreOutput,
    choose_output,
    join_heads,
    per_image,
    score_outputs,
)
from model_store.foreign.sandbox import Sandbox, SandboxSession
from model_store.foreign.surgery import behind, cut_to, real_inputs
from model_store.foreign.wrapping import (
    LOGITS,
    NATIVE,
    LogitsGraph,
    logits_graph,
)


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        original: the graph as it came, with the chosen scores as its only output.
        core: the same, reduced to logits.
        running: the graph as it came, in the sandbox.
    """

    original: onnx.ModelProto
    core: LogitsGraph
    running: SandboxSession

    @property
    def image(self) -> ImageInput:
        return self.core.image

    @property
    def scores(self) -> ClassScores:
        return self.core.scores


def inspect_model(
    model: onnx.ModelProto,
    sandbox: Sandbox,
    *,
    wishes: InputWishes,
    outputs: Sequence[str] = (),
    names: Sequence[str] = (),
    classes: int | None = None,
    reading: Reading | None = None,
    are_logits: bool = False,
) -> Inspection:
    """Find input, output and batch handling of a model.

    Args:
        outputs: the output to take, or several of one score each.
        names: of the classes, empty if unknown; `classes` how many there are, if known.
        reading, are_logits: see `read_scores`.

    Raises ForeignModelRefused, or ForeignModelUnclear if the caller has to say more.
    """
    sources = _with_one_input(model, score_outputs(model))
    original = cut_to(model, list(dict.fromkeys(each.tensor for each in sources)))
    running = sandbox.load(bytes(original.SerializeToString()))
    image, arrays, given = _probed(running, original, sources, wishes)
    heads = choose_output(given, names=names, classes=classes, wished=outputs)
    source, rows = heads[0], np.hstack([given[each] for each in heads])
    if len(heads) > 1:
        running.unload()
        model, source = join_heads(model, heads)
        joined = cut_to(model, [source.tensor])
        running = sandbox.load(bytes(joined.SerializeToString()))
    scores = read_scores(model, source, rows, reading=reading, are_logits=are_logits)
    alone = cut_to(model, [source.tensor])
    core = _core(model, image, scores, arrays, scores.own_probabilities(rows), sandbox)
    return Inspection(alone, core, running)


def own_scores(
    session: SandboxSession, image: ImageInput, arrays: npt.NDArray[Any], tensor: str
) -> npt.NDArray[np.float64]:
    """Return a graph's scores (N, K) of images in the model's own layout, each run alone."""
    count, rows = image.batch or 1, []
    for array in arrays:
        (values,) = session.run({image.name: np.stack([array] * count)}, [tensor]).values()
        rows.append(per_image(values, count, tensor)[0])
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
    computed = [each for each in outputs if behind(model, each.tensor) is not None]
    needed = {
        each: [value.name for value in real_inputs(cut_to(model, [each.tensor]).graph)]
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
    wishes: InputWishes,
) -> tuple[ImageInput, npt.NDArray[Any], dict[ScoreOutput, npt.NDArray[np.float64]]]:
    """Return the first reading of the input that runs, probe images, and what its outputs give."""
    failure: ForeignModelRefused | None = None
    (expected,) = real_inputs(model.graph)
    if [each.name for each in running.inputs] != [expected.name]:
        raise running.sandbox.disbelieved("it names other inputs")
    (spec,) = running.inputs
    for image in candidates(model, spec, wishes):
        arrays, given = image.arrange(probe_images(image)), {}
        for output in outputs:
            try:
                given[output] = own_scores(running, image, arrays, output.tensor)
            except ForeignModelRefused as error:
                failure = failure or error
        if given:
            _require_repeatable(running, image, arrays, given)
            if image.dtype == np.float16 or "FLOAT16" in weight_types(model):
                arrays, given = _without_overflow(arrays, given)
            return image, arrays, given
    raise failure or ForeignModelRefused("it has no output with class scores")


def _without_overflow(
    arrays: npt.NDArray[Any], given: Mapping[ScoreOutput, npt.NDArray[np.float64]]
) -> tuple[npt.NDArray[Any], dict[ScoreOutput, npt.NDArray[np.float64]]]:
    """Leave the last probe image out if it alone, up to 255, is too large for half precision."""
    finite = np.all([(rows < np.inf).all(axis=1) for rows in given.values()], axis=0)
    kept = slice(None, -1) if finite[:-1].all() and not finite[-1] else slice(None)
    return arrays[kept], {output: rows[kept] for output, rows in given.items()}


def _require_repeatable(
    running: SandboxSession,
    image: ImageInput,
    arrays: npt.NDArray[Any],
    given: Mapping[ScoreOutput, npt.NDArray[np.float64]],
) -> None:
    """Run again. Raises ForeignModelRefused if the scores are others."""
    for output, rows in given.items():
        again = own_scores(running, image, arrays, output.tensor)
        if not np.allclose(again, rows, rtol=1e-3, atol=1e-3, equal_nan=True):
            raise ForeignModelRefused(
                f"its output '{output.tensor}' differs when the same image is run again, as with "
                "dropout or other random operators: export it after `model.eval()`"
            )


def _mixes_images(model: onnx.ModelProto) -> bool:
    """Whether the range of a whole batch sets the steps of its whole numbers."""
    return any(node.op_type == "DynamicQuantizeLinear" for node in nodes_of(model))


def _core(
    model: onnx.ModelProto,
    image: ImageInput,
    scores: ClassScores,
    arrays: npt.NDArray[Any],
    expected: npt.NDArray[np.float64],
    sandbox: Sandbox,
) -> LogitsGraph:
    """Return the logits graph that agrees: best without its softmax, and in batches."""
    cuts = [scores] if scores.before is None else [scores, replace(scores, before=None)]
    difference, failure = np.inf, None
    ways = (True,) if _mixes_images(model) else (False, True)
    for cut, one_by_one in product(cuts, ways):
        try:
            core = logits_graph(model, image, cut, one_by_one=one_by_one)
            loaded = sandbox.load(core.serialized)
            (logits,) = loaded.rows({NATIVE: arrays}, LOGITS, columns=scores.count)
            probabilities = scores.probabilities(logits)
            loaded.unload()
        except ForeignModelRefused as error:
            failure = error
            continue
        difference = float(np.abs(probabilities - expected).max())
        if difference <= CUT_DIFFERENCE:
            return core
    if failure and difference == np.inf:
        raise failure
    raise ForeignModelRefused(
        f"its graph answers differently inside Candor's (by {difference:.2g} in probability), so "
        "it is not published"
    )
