"""What kind of scores a foreign graph gives.

A softmax or sigmoid at the end is cut off, so that a temperature divides logits. What was cut is
checked by running both; if they differ, the probabilities stay and their logarithms serve as
logits, which is the same up to a constant.

Scores that sum to 1 prove that classes exclude each other. Nothing proves the contrary, or what
logits mean: there the caller, the maker or the labels decide between two readings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from calibration.calibrators.temperature import sigmoid, softmax
from calibration.wording import parameter
from model_store.bundle.graph_part import tensors_of
from model_store.errors import ForeignModelRefused
from model_store.foreign.outputs import ScoreOutput
from model_store.foreign.surgery import ELEMENTWISE, behind, constant, first_input

# One of the classes is right, or each is a question of its own.
Reading = Literal["exclusive", "findings"]
End = Literal["softmax", "sigmoid"]
WHAT: Final[dict[Reading, str]] = {"exclusive": "classes", "findings": "findings"}
CUTTABLE: Final[dict[str, End]] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
SMALLEST_TOTAL: Final = 1e-9  # a model that gives 0 for all is found out by its difference
SUMS_TO_ONE: Final = 0.02  # a quantized or half-precision softmax is off by as much
# Difference of a probability between the output and what is computed from before its softmax.
CUT_DIFFERENCE: Final = 5e-4
# Operators that give logits, and those that give probabilities, if these are in [0, 1].
LINEAR: Final = frozenset(
    (
        *("MatMul", "MatMulInteger", "QLinearMatMul", "Gemm", "Einsum", "LinearClassifier"),
        *("Conv", "ConvInteger", "QLinearConv"),
    )
)
CHANCES: Final = frozenset({"Sigmoid", "Softmax", "Clip"})
# Operators that keep, pick, join, shift or scale numbers of one kind.
_OF_FIRST: Final = frozenset(
    (
        *("GlobalAveragePool", "AveragePool", "ReduceMean", "GlobalMaxPool", "BatchNormalization"),
        *("Slice", "Gather", "Split", "Clip"),
    )
)
_JOINING: Final = frozenset({"Add", "Sub", "Mean", "Sum", "Max", "Min", "Concat"})
FLOOR: Final = 1e-6  # added to a probability before its logarithm; less with many classes
_SATURATED: Final = 9.0  # log-odds from which on single precision and the floor move them
_SAME: Final = 1e-2  # of what they change together
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassScores:
    """The class scores of a foreign graph.

    Attributes:
        are_shares: whether they are probabilities, and not logits.
        end: what makes probabilities of the logits.
        count: classes; 2 where one score stands for both, `is_binary`.
        before: the tensors before a softmax or sigmoid that is to be cut off; none if nothing is.
        reading: whether the classes exclude each other.
        shown: whether the scores show that; if not, it has to be asked or told.
    """

    source: ScoreOutput
    are_shares: bool
    end: End
    count: int
    is_binary: bool = False
    before: tuple[str, ...] = ()
    reading: Reading = "exclusive"
    shown: bool = False

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors from which the logits are computed."""
        return self.before or self.source.tensors

    @property
    def takes_logarithm(self) -> bool:
        """Whether the numbers of `tensors` are probabilities."""
        return self.are_shares and not self.before

    @property
    def kind(self) -> str:
        """What they are, for people."""
        if self.is_binary:
            return "binary probability" if self.are_shares else "binary logit"
        if self.end == "sigmoid":
            return "independent" if self.are_shares else "independent logits"
        return "probabilities" if self.are_shares else "logits"

    @property
    def ending(self) -> str:
        """What happens to the end of the graph, for people."""
        if self.before:
            return "its last operator is cut off, so that a temperature divides logits"
        if not self.are_shares:
            return "taken as logits"
        what = "log-odds" if self.end == "sigmoid" else "logarithms"
        return f"{what} of its probabilities serve as logits"

    def probabilities(self, logits: npt.ArrayLike) -> Scores:
        """Return the probabilities (N, K) of logits (N, K)."""
        given = np.asarray(logits, np.float64)
        return sigmoid(given) if self.reading == "findings" else softmax(given)

    def own_probabilities(self, scores: Scores) -> Scores:
        """Return the model's own probabilities (N, K) from its output, (N, K) or (N, 1)."""
        if self.end == "softmax":
            totals = np.maximum(scores.sum(axis=1, keepdims=True), SMALLEST_TOTAL)
            return np.asarray(scores / totals) if self.are_shares else softmax(scores)
        p = np.clip(scores, 0, 1) if self.are_shares else sigmoid(scores)
        if self.is_binary:
            return np.hstack([1 - p, p])
        return p if self.reading == "findings" else softmax(_log_odds(scores))


def read_scores(
    model: onnx.ModelProto,
    source: ScoreOutput,
    scores: Scores,
    *,
    reading: Reading | None,
    are_logits: bool = False,
) -> ClassScores:
    """Tell the kind of scores (N, K) of probe images.

    `reading` is what the caller, the maker or the labels say; without it classes are read as
    exclusive, and `shown` is false where the scores do not show that. `are_logits`: so the caller
    or the library says of numbers that could be others.

    Raises ForeignModelRefused if the scores contradict `reading`, or are not finite.
    """
    _require_finite(model, source, scores)
    end, before = _ending(model, source)
    count, shares = scores.shape[1], bool(scores.min() >= -1e-6 and scores.max() <= 1 + 1e-3)
    if end is None and np.isin(scores, (0, 1)).all() and np.ptp(scores, axis=0).any():
        raise ForeignModelRefused(
            f"its output '{source.output}' is 0 or 1, which says nothing of how sure it is: export "
            "the probabilities"
        )
    if count > 1 and _sum_to_one(scores, shares=shares):
        if reading == "findings":
            raise ForeignModelRefused(
                f"its output '{source.output}' gives scores for {count} classes that exclude each "
                "other (they sum to 1), so they are no findings: leave "
                f"{parameter('scores', 'sigmoid')} out"
            )
        cut = before if end == "softmax" else ()
        return ClassScores(source, shares, "softmax", count, before=cut, shown=True)
    one_each = count == 1 or reading == "findings"
    _refuse_constant(source, _log_odds(scores) if shares else scores, one_each=one_each)
    made_by = _operators(model, source.tensors)
    added = bool(made_by & LINEAR) and "Clip" not in made_by
    linear = end != "sigmoid" and (are_logits or added)
    known = made_by <= (CHANCES if one_each else CHANCES - {"Softmax"})
    if not (linear or (known and shares)):
        logits = f", or give {parameter('scores', 'logits')} if they are logits"
        raise ForeignModelRefused(
            f"its output '{source.output}' comes from {', '.join(sorted(made_by)) or 'nothing'}, "
            f"with numbers from {scores.min():.3g} to {scores.max():.3g}: these are no "
            "probabilities of a softmax or sigmoid, and nothing tells that they are logits. Export "
            f"either{'' if reading == 'findings' else logits}"
        )
    cut = before if end == "sigmoid" else ()
    if count == 1 and reading != "findings":
        return ClassScores(source, not linear, "sigmoid", 2, is_binary=True, before=cut, shown=True)
    if reading == "findings" or not linear:
        reading = reading or "exclusive"
        return ClassScores(source, not linear, "sigmoid", count, before=cut, reading=reading)
    return ClassScores(source, are_shares=False, end="softmax", count=count)


def ask_reading(scores: ClassScores) -> str:
    """Return the question that the caller has to answer, with what to type."""
    means = (
        "a probability of its own"
        if scores.kind == "independent"
        else "a number, and has neither a softmax nor a sigmoid"
    )
    return (
        f"its output '{scores.source.output}' gives each of {scores.count} classes {means}: add "
        f"{parameter('scores', 'softmax')} if each image has exactly one of the classes, or "
        f"{parameter('scores', 'sigmoid')} if each may be present or absent"
    )


def has_half_precision(model: onnx.ModelProto) -> bool:
    """Whether any of the weights end at 65,504."""
    return any(each.data_type == TensorProto.FLOAT16 for each in tensors_of(model))


def floor_of(count: int) -> float:
    """Return what is added to each of `count` probabilities so that its logarithm is finite."""
    return min(FLOOR, 1e-4 / count)


def _require_finite(model: onnx.ModelProto, source: ScoreOutput, scores: Scores) -> None:
    if np.isfinite(scores).all():
        return
    if has_half_precision(model):
        reason = (
            "since numbers in half precision end at 65,504: export the model again in 32 bits "
            "(`model.float()`)"
        )
    elif (scores[~np.isfinite(scores)] == -np.inf).all():  # of probabilities of zero
        reason = "export LogSoftmax or the logits, not Log"
    else:
        reason = "the file is damaged"
    raise ForeignModelRefused(
        f"its output '{source.output}' is not finite for ordinary images: {reason}"
    )


def _ending(model: onnx.ModelProto, source: ScoreOutput) -> tuple[End | None, tuple[str, ...]]:
    """Return what all tensors end in, and the tensors before it."""
    lasts = [behind(model, tensor) for tensor in source.tensors]
    ends = {None if last is None else CUTTABLE.get(last.op_type) for last in lasts}
    if len(ends) > 1 or None in ends or (len(lasts) > 1 and ends != {"sigmoid"}):
        return None, ()
    return ends.pop(), tuple(first_input(last) for last in lasts if last is not None)


def _operators(model: onnx.ModelProto, tensors: Sequence[str]) -> set[str]:
    """The operators that make tensors, before they are pooled, joined, shifted or scaled."""
    found, left, seen = set[str](), [*tensors], set[str]()
    while left:
        node = behind(model, left.pop())
        if node is None or node.output[0] in seen:
            continue
        seen.add(node.output[0])
        moved = [each for each in node.input if constant(model, each) is None]
        if node.op_type == "Clip":
            found.add("Clip")
        if node.op_type in _OF_FIRST:
            left.append(first_input(node))
        elif node.op_type in _JOINING or (node.op_type in ELEMENTWISE and len(moved) == 1):
            left += moved
        else:
            found.add(node.op_type)
    return found


def _refuse_constant(source: ScoreOutput, logits: Scores, *, one_each: bool) -> None:
    """Refuse logits, or with exclusive classes differences of them, that no image changes."""
    plain = logits[np.abs(logits).max(axis=1) < _SATURATED]
    if one_each:
        plain = logits
    if len(plain) < 2:
        return
    apart = plain if one_each else plain - plain[:, :1]
    if np.ptp(apart, axis=0).max() <= _SAME * np.ptp(plain, axis=0).max() * (not one_each):
        raise ForeignModelRefused(
            f"its output '{source.output}' says the same of all images, as a softmax over the "
            "images in place of the classes does, and thresholds between grades: export it with a "
            "softmax over the last axis, or a probability for each grade"
        )


def _sum_to_one(scores: Scores, *, shares: bool) -> bool:
    """Whether scores (N, K) are probabilities of exclusive classes, or their logarithms."""
    if not shares and scores.max() <= SUMS_TO_ONE:
        scores, shares = np.exp(scores), True
    return bool(shares and np.abs(scores.sum(axis=1) - 1).max() < SUMS_TO_ONE)


def _log_odds(scores: Scores) -> Scores:
    floor = floor_of(scores.shape[1])
    return np.asarray(
        np.log(np.maximum(scores, 0) + floor) - np.log(np.maximum(1 - scores, 0) + floor)
    )
