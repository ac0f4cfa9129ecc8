"""What kind of scores a foreign graph gives.

A softmax or sigmoid at the end is cut off, so that a temperature divides logits. What was cut is
checked by running both; if they differ, the probabilities stay and their logarithms serve as
logits, which is the same up to a constant.

Scores that sum to 1 prove that classes exclude each other. Nothing proves the contrary, or what
logits mean: there the caller, the maker or the labels decide between two readings.
"""

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
from model_store.foreign.outputs import CUTTABLE, End, ScoreOutput
from model_store.foreign.surgery import ELEMENTWISE, behind, constant, first_input

# One of the classes is right, or each is a question of its own.
Reading = Literal["exclusive", "findings"]
WHAT: Final[dict[Reading, str]] = {"exclusive": "classes", "findings": "findings"}
SMALLEST_TOTAL: Final = 1e-9  # a model that gives 0 for all is found out by its difference
SUMS_TO_ONE: Final = 0.02  # a quantized or half-precision softmax is off by as much
# Difference of a probability between the output and what is computed from before its softmax.
CUT_DIFFERENCE: Final = 5e-4
# What ends in one of these gives any number, even if those for the probe images are in [0, 1].
LINEAR: Final = frozenset(
    (
        *("MatMul", "MatMulInteger", "QLinearMatMul", "Gemm"),
        *("Conv", "ConvInteger", "QLinearConv", "Add", "GlobalAveragePool"),
    )
)
_NEVER_NEGATIVE: Final = frozenset({"Relu", "Softplus", "Exp"})
FLOOR: Final = 1e-6  # added to a probability before its logarithm; less with many classes


@dataclass(frozen=True)
class ClassScores:
    """The class scores of a foreign graph.

    Attributes:
        are_shares: whether they are probabilities, and not logits.
        end: what makes probabilities of the logits.
        count: classes; 2 where one score stands for both, `is_binary`.
        before: the tensor before a softmax or sigmoid that is to be cut off, None if nothing is
            cut.
        reading: whether the classes exclude each other.
        shown_by: what shows that; "" where nothing does, and it has to be asked or told.
    """

    source: ScoreOutput
    are_shares: bool
    end: End
    count: int
    is_binary: bool = False
    before: str | None = None
    reading: Reading = "exclusive"
    shown_by: str = ""

    @property
    def tensor(self) -> str:
        """The tensor from which the logits are computed."""
        return self.before or self.source.tensor

    @property
    def takes_logarithm(self) -> bool:
        """Whether the numbers of `tensor` are probabilities."""
        return self.are_shares and self.before is None

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
        if self.before is not None:
            return "its last operator is cut off, so that a temperature divides logits"
        if not self.are_shares:
            return "taken as logits"
        if self.end == "softmax":
            return "logarithms of its probabilities serve as logits"
        if self.is_binary:
            return "the log-odds of its probability serve as logit"
        return "the log-odds of its probabilities serve as logits"

    def probabilities(self, logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the probabilities (N, K) of logits (N, K)."""
        given = np.asarray(logits, np.float64)
        return sigmoid(given) if self.reading == "findings" else softmax(given)

    def own_probabilities(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
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
    scores: npt.NDArray[np.float64],
    *,
    reading: Reading | None,
    are_logits: bool = False,
) -> ClassScores:
    """Tell the kind of scores (N, K) of probe images.

    `reading` is what the caller, the maker or the labels say; without it classes are read as
    exclusive, and `shown_by` is empty where the scores do not show that. `are_logits`: so the
    caller says of numbers that are never negative.

    Raises ForeignModelRefused if the scores contradict `reading`, or are not finite.
    """
    _require_finite(model, source, scores)
    end, before = _ending(model, source)
    count, shares = scores.shape[1], bool(scores.min() >= -1e-6 and scores.max() <= 1 + 1e-3)
    made_by = {_operator(model, tensor) for tensor in source.heads or (source.tensor,)}
    if not shares:
        _refuse_scaled(source, scores)
        if scores.min() >= 0 and not are_logits:
            _refuse_evidence(source, made_by & _NEVER_NEGATIVE)
    if count > 1 and (shown := _sums_to_one(scores, shares=shares, end=end)):
        if reading == "findings":
            raise ForeignModelRefused(
                f"its output '{source.output}' gives scores for {count} classes that exclude each "
                f"other ({shown}), so they are no findings: leave "
                f"{parameter('scores', 'sigmoid')} out"
            )
        cut = before if end == "softmax" else None
        return ClassScores(source, shares, "softmax", count, before=cut, shown_by=shown)
    bounded = shares and not made_by & LINEAR
    chances = end == "sigmoid" or (bounded and bool(scores.max() > 0))
    cut = before if end == "sigmoid" else None
    if count == 1 and reading != "findings":
        shown, shares = "one score for two classes", chances or bounded
        return ClassScores(source, shares, "sigmoid", 2, is_binary=True, before=cut, shown_by=shown)
    if reading == "findings" or chances:
        reading = reading or "exclusive"
        return ClassScores(source, chances, "sigmoid", count, before=cut, reading=reading)
    return ClassScores(source, are_shares=False, end="softmax", count=count)


def _require_finite(
    model: onnx.ModelProto, source: ScoreOutput, scores: npt.NDArray[np.float64]
) -> None:
    if np.isfinite(scores).all():
        return
    if "FLOAT16" in weight_types(model):
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


def weight_types(model: onnx.ModelProto) -> set[str]:
    """The types of the weights."""
    return {TensorProto.DataType.Name(each.data_type) for each in tensors_of(model)}


def _ending(model: onnx.ModelProto, source: ScoreOutput) -> tuple[End | None, str | None]:
    """Return what the graph ends in, and the tensor before it."""
    if source.heads:
        return ("sigmoid" if source.before else None), source.before
    last = behind(model, source.tensor)
    if last is None or last.op_type not in CUTTABLE:
        return None, None
    return CUTTABLE[last.op_type], first_input(last)


def _operator(model: onnx.ModelProto, tensor: str) -> str:
    """The operator that makes `tensor`, before constants shift or scale it; "" if none does."""
    node = behind(model, tensor)
    while node is not None and node.op_type in ELEMENTWISE:
        moved = [each for each in node.input if constant(model, each) is None]
        if len(moved) != 1:
            break
        node = behind(model, moved[0])
    return "" if node is None else node.op_type


def _refuse_evidence(source: ScoreOutput, operators: set[str]) -> None:
    """Refuse numbers that a softmax or a division by their sum could make probabilities."""
    if operators:
        raise ForeignModelRefused(
            f"its output '{source.output}' ends in {', '.join(sorted(operators))}: numbers that "
            "are never negative are logits in one model and evidence, to be divided by its sum, in "
            f"another: export the probabilities, or give {parameter('scores', 'logits')}"
        )


def _sums_to_one(scores: npt.NDArray[np.float64], *, shares: bool, end: End | None) -> str:
    """Say why scores (N, K) are those of exclusive classes, "" if they are not."""
    if shares and np.abs(scores.sum(axis=1) - 1).max() < SUMS_TO_ONE:
        return "a softmax in the graph" if end == "softmax" else "they sum to 1"
    if scores.max() <= SUMS_TO_ONE and (np.abs(np.exp(scores).sum(axis=1) - 1).max() < SUMS_TO_ONE):
        return "logarithms of numbers that sum to 1"
    return ""


def _refuse_scaled(source: ScoreOutput, scores: npt.NDArray[np.float64]) -> None:
    """Refuse probabilities in percent or of another total than 1, which would pass for logits."""
    totals = scores.sum(axis=1)
    total, differ = totals.mean(), np.ptp(scores, axis=0).max() > 0
    if scores.min() >= 0 and differ and np.ptp(totals) < SUMS_TO_ONE * total:
        raise ForeignModelRefused(
            f"the {scores.shape[1]} scores of its output '{source.output}' always add up to "
            f"{total:.4g}, as probabilities times {total:.4g} do: export the model without this "
            "factor"
        )


def _log_odds(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    floor = floor_of(scores.shape[1])
    return np.asarray(
        np.log(np.maximum(scores, 0) + floor) - np.log(np.maximum(1 - scores, 0) + floor)
    )


def floor_of(count: int) -> float:
    """Return what is added to each of `count` probabilities so that its logarithm is finite."""
    return min(FLOOR, 1e-4 / count)
