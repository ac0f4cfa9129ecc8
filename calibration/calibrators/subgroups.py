"""Calibrators of subgroups: after the graph's calibrator, the tags of a request choose a further
one.

Each is the map softmax(log p / temperature + bias) of the probabilities p that the graph gives.
Every calibrator whose tag the request has applies, in the order of the card, so that a later fit
continues an earlier one. Answers without such a tag are those of the graph, bit by bit. The
TorchServe archive contains this file, so it imports only NumPy.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

SMALLEST = float(np.finfo(np.float32).tiny)  # keeps the logarithm of an underflow finite
_MEMORY = 1_000  # tags whose calibrator is cached


def log_probabilities(
    probabilities: npt.ArrayLike, *, smallest: float = SMALLEST
) -> npt.NDArray[np.float64]:
    """Return finite logarithms of probabilities (..., K): logits up to one constant per row.

    Probabilities below `smallest` count as this.
    """
    return np.asarray(np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), smallest)))


class TagCalibrator(Protocol):
    """Calibrates the graph's probabilities (..., K) of answers with certain tags."""

    def __call__(self, probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]: ...


By = TypeVar("By", bound=TagCalibrator)


@dataclass(frozen=True, slots=True)
class AnswerCalibrator:
    """What answers with certain tags go through after the graph, and what they promise.

    Attributes:
        name: the tags that chose it, such as `site=B`; None: the graph's calibrator is all.
        temperature, bias: of the map; the bias is (K,) or (1,).
        refer_below: answers of a lower confidence are referred; infinite: all; None: the model
            refers none.
        set_from: the lowest probability in a prediction set, of all classes or by class, (K,);
            None: the model has no sets.
    """

    name: str | None = None
    temperature: float = 1.0
    bias: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    refer_below: float | None = None
    set_from: float | tuple[float, ...] | None = None

    def __call__(self, probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Calibrate probabilities (..., K) of the graph; NaN stays NaN.

        >>> AnswerCalibrator("site=B", 2.0)(np.array([0.1, 0.9], np.float32))
        array([0.25, 0.75], dtype=float32)
        """
        if self.name is None:
            return probabilities
        scaled = log_probabilities(probabilities) / self.temperature + self.bias
        powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)

    def refers(self, confidence: float) -> bool | None:
        """Whether a person should look at an answer; None if the model does not say."""
        return None if self.refer_below is None else confidence < self.refer_below

    def members(self, probabilities: Sequence[float]) -> list[int] | None:
        """The classes in the prediction set of probabilities (K,); None if there are no sets."""
        if self.set_from is None:
            return None
        lowest = self.set_from if isinstance(self.set_from, tuple) else repeat(self.set_from)
        pairs = enumerate(zip(probabilities, lowest, strict=False))
        return [number for number, (value, least) in pairs if value >= least]

    def answer(self, classes: Sequence[str], probabilities: Sequence[float]) -> dict[str, Any]:
        """The fields of the answer that probabilities (K,) give, as JSON has them."""
        best = int(np.argmax(probabilities))
        confidence, members = probabilities[best], self.members(probabilities)
        fields: dict[str, Any] = {
            "predicted": classes[best],
            "confidence": confidence,
            "probabilities": dict(zip(classes, probabilities, strict=True)),
            "refer": self.refers(confidence),
        }
        if members is not None:
            fields["prediction_set"] = tuple(classes[each] for each in members)
        return fields if self.name is None else fields | {"calibrator": self.name}

    def claims(self, answer: Mapping[str, Any]) -> dict[str, float]:
        """The confidence of an answer, by finding: of none."""
        return {"": answer["confidence"]}

    def logged(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """What the ledger keeps of an answer."""
        return {"probabilities": answer["probabilities"]}


class CalibratorsByTags(Generic[By]):
    """The calibrators of one card, by the tags of a request."""

    def __init__(self, whole: By, choose: Callable[[Mapping[str, str]], By] | None) -> None:
        """`whole`: without tags; `choose`: for tags; None: tags choose nothing."""
        self._whole, self._choice = whole, choose
        self._chosen: dict[str, By] = {}  # by tags

    def of(self, tags: str | None) -> By:
        """The calibrator for tags, a JSON object of texts.

        >>> entry = {"key": "site", "values": ["B"], "temperature": 2.0, "class_bias": None}
        >>> known = AnswerCalibrators({"calibration": {"subgroups": [entry]}})
        >>> known.of('{"site": "B"}').name, known.of('{"site": "A"}').name
        ('site=B', None)
        """
        if tags is None or self._choice is None:
            return self._whole
        found = self._chosen.get(tags)
        if found is None:
            if len(self._chosen) >= _MEMORY:
                self._chosen.clear()
            found = self._chosen[tags] = self._choice(json.loads(tags))
        return found

    def calibrate(
        self, probabilities: npt.NDArray[np.float32], tags: Sequence[str | None]
    ) -> npt.NDArray[np.float32]:
        """Calibrate the graph's probabilities (N, K) of answers with these tags (N,)."""
        calibrators = [self.of(each) for each in tags] if self._choice else []
        if all(each is self._whole for each in calibrators):
            return probabilities
        return np.stack([by(row) for by, row in zip(calibrators, probabilities, strict=True)])


class AnswerCalibrators(CalibratorsByTags[AnswerCalibrator]):
    """Those of a card of exclusive classes, or of one finding's question."""

    def __init__(self, card: Mapping[str, Any]) -> None:
        """`card`: the parsed card.json."""
        self._entries: Sequence[Mapping[str, Any]] = card["calibration"].get("subgroups") or ()
        whole = AnswerCalibrator(
            refer_below=_threshold(card.get("referral")), set_from=_set_from(card.get("conformal"))
        )
        super().__init__(whole, self.choose if self._entries else None)

    def choose(self, tags: Mapping[str, str]) -> AnswerCalibrator:
        """The calibrator for tags that are read already."""
        matching = [each for each in self._entries if tags.get(each["key"]) in each["values"]]
        if not matching:
            return self._whole
        name = ",".join(dict.fromkeys(f"{each['key']}={tags[each['key']]}" for each in matching))
        return self._composed(name, matching)

    def _composed(self, name: str, entries: Sequence[Mapping[str, Any]]) -> AnswerCalibrator:
        temperature, bias = 1.0, np.zeros(1)
        for each in entries:
            temperature *= each["temperature"]
            bias = bias / each["temperature"] + np.array(each["class_bias"] or [0.0])
        refer_below = _threshold(entries[-1].get("referral"))
        set_from = _set_from(entries[-1].get("conformal"))
        if self._whole.refer_below is not None and refer_below is None:
            refer_below = math.inf
        if self._whole.set_from is not None and set_from is None:
            set_from = 0.0
        return AnswerCalibrator(name, temperature, bias, refer_below, set_from)


def _threshold(promise: Mapping[str, Any] | None) -> float | None:
    return None if promise is None else float(promise["threshold"])


def _set_from(promise: Mapping[str, Any] | None) -> float | tuple[float, ...] | None:
    by_class = None if promise is None else promise.get("thresholds")
    return _threshold(promise) if by_class is None else tuple(map(float, by_class))
