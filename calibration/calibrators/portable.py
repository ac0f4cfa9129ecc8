"""A calibrator to take away: a few numbers that calibrate probabilities or a confidence.

Every method is the same map, softmax(weight * log p + bias), so that one rule reads them all. As
JSON its format is `candor-calibrator/1`, described in docs/reference/calibrator.md;
`model_store.bundle.calibrator_graph` writes it as ONNX.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.calibrators.temperature import log_sum_exp, logit, sigmoid, softmax
from calibration.measures.metrics import SMALLEST

FORMAT = "candor-calibrator/1"
CONFIDENCE_CLASSES = ("wrong", "right")

Subject = Literal["probabilities", "confidence", "findings"]


class _Scale(NamedTuple):
    """Whether columns add up to 1: how many there are at least, their share of logits, and scores
    from probabilities not below the smallest, and back.
    """

    least: int
    shares: Callable[[FloatArray], FloatArray]
    scores: Callable[[FloatArray, float], FloatArray]
    back: Callable[[FloatArray], FloatArray]
    looked_for: str | None = None  # as `--findings` has it


def _normalized(scores: FloatArray) -> FloatArray:
    return np.asarray(np.exp(scores - log_sum_exp(scores)[:, np.newaxis]))


_TOGETHER: Final = _Scale(2, softmax, lambda p, least: np.log(np.maximum(p, least)), _normalized)
_APART: Final = _Scale(1, sigmoid, lambda p, least: logit(p, smallest=least), sigmoid, "*")
_SCALES: Final[Mapping[Subject, _Scale]] = {
    "probabilities": _TOGETHER,
    "confidence": _TOGETHER,
    "findings": _APART,
}


class CalibratorInvalid(ValueError):
    """Text that is no calibrator of this format, or predictions that it does not fit."""


@dataclass(frozen=True)
class PortableCalibrator:
    """The map softmax(weight * log max(p, smallest) + bias).

    Of findings it is sigmoid(weight * log(p / (1 - p)) + bias), of each one by itself, with p in
    [smallest, 1 - smallest].

    Attributes:
        method: a key of `calibration.calibrators.remedies.REMEDIES`, or `none`.
        classes: K names, in the order of the columns; one at least of findings, else two. Of a
            confidence: `wrong`, `right`.
        weight, bias: (K,).
        smallest: probabilities below it count as this, since a 0 has no logarithm.
        of: what it takes: the probabilities (N, K) of all classes, the confidence (N,) of the
            predicted class, or the probabilities (N, K) that each of K findings is present.
        about: plain data on where it comes from. Nothing is computed from it.
    """

    method: str
    classes: tuple[str, ...]
    weight: tuple[float, ...]
    bias: tuple[float, ...]
    smallest: float = SMALLEST
    of: Subject = "probabilities"
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def _scale(self) -> _Scale:
        return _SCALES[self.of]

    @property
    def looked_for(self) -> str | None:
        """What was looked for in each row, as `--findings` has it; None of classes."""
        return self._scale.looked_for

    @classmethod
    def identity(
        cls, classes: tuple[str, ...], *, smallest: float = SMALLEST, of: Subject = "probabilities"
    ) -> Self:
        """The calibrator that changes nothing."""
        return cls("none", classes, (1.0,) * len(classes), (0.0,) * len(classes), smallest, of)

    def __call__(self, predictions: npt.ArrayLike) -> FloatArray:
        """Calibrate probabilities (N, K), or confidences (N,) if it is `of` those.

        Raises CalibratorInvalid for another number of columns, or values outside [0, 1].

        >>> # T = 2
        >>> halved = PortableCalibrator("temperature", ("no", "yes"), (0.5, 0.5), (0.0, 0.0))
        >>> halved([[0.1, 0.9]])
        array([[0.25, 0.75]])
        """
        p = np.asarray(predictions, dtype=np.float64)
        if p.size and not (p.min() >= 0 and p.max() <= 1):
            raise CalibratorInvalid("a calibrator takes values in [0, 1]; got one outside, or NaN")
        if self.of == "confidence":
            if p.ndim != 1:
                raise CalibratorInvalid(
                    f"this calibrator takes confidences of shape (N,); got {p.shape}"
                )
            return np.asarray(self._calibrate(np.stack([1 - p, p], axis=1))[:, 1])
        if p.ndim != 2 or p.shape[1] != len(self.classes):
            raise CalibratorInvalid(
                f"this calibrator takes probabilities of shape (N, {len(self.classes)}), of the "
                f"classes {', '.join(self.classes)}; got {p.shape}"
            )
        return self._calibrate(p)

    def from_logits(self, logits: npt.ArrayLike) -> FloatArray:
        """Calibrate logits (N, K), of any offset per row. Raises CalibratorInvalid as a call."""
        z = np.asarray(logits, dtype=np.float64)
        if z.size and not np.isfinite(z).all():
            raise CalibratorInvalid("logits must be finite; got infinity or NaN")
        return self(self._scale.shares(z))

    def _calibrate(self, p: FloatArray) -> FloatArray:
        if self.method == "none":
            return p
        weight, bias = np.array(self.weight), np.array(self.bias)
        return self._scale.back(self._scale.scores(p, self.smallest) * weight + bias)

    def as_dict(self) -> dict[str, Any]:
        """Plain data of the format `candor-calibrator/1`."""
        return {
            "format": FORMAT,
            "of": self.of,
            "method": self.method,
            "classes": [*self.classes],
            "smallest": self.smallest,
            "weight": [*self.weight],
            "bias": [*self.bias],
            "about": dict(self.about),
        }

    def as_json(self) -> str:
        """The same as text."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a calibrator. Raises CalibratorInvalid, which says what is wrong.

        >>> PortableCalibrator.from_json("{}")
        Traceback (most recent call last):
        ...
        calibration.calibrators.portable.CalibratorInvalid: it is no calibrator: "format" must be
        "candor-calibrator/1"; got None
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CalibratorInvalid(f"it is no calibrator: not JSON ({error})") from None
        found = data.get("format") if isinstance(data, dict) else None
        if found != FORMAT:
            raise CalibratorInvalid(
                f'it is no calibrator: "format" must be "{FORMAT}"; got {str(found)[:60]}'
            )
        return cls._of(data)

    @classmethod
    def _of(cls, data: Mapping[str, Any]) -> Self:
        classes, of = data.get("classes"), cast(Subject, data.get("of"))
        if of not in _SCALES:
            raise CalibratorInvalid(f'"of" must be one of {", ".join(_SCALES)}')
        least = _SCALES[of].least
        if (
            not isinstance(classes, list)
            or len(classes) < least
            or not all(isinstance(each, str) for each in classes)
        ):
            raise CalibratorInvalid(f'"classes" must be a list of {least} names or more')
        if not isinstance(data.get("method"), str):
            raise CalibratorInvalid('"method" must be a name')
        if of == "confidence" and len(classes) != 2:
            raise CalibratorInvalid(
                f"a calibrator of a confidence has two classes; got {len(classes)}"
            )
        numbers = {name: _numbers(data, name, len(classes)) for name in ("weight", "bias")}
        smallest = data.get("smallest")
        if not isinstance(smallest, float) or not 0 < smallest < 0.5:
            raise CalibratorInvalid('"smallest" must be a number between 0 and 0.5')
        about = data.get("about")
        return cls(
            data["method"], tuple(classes), numbers["weight"], numbers["bias"], smallest,
            of,
            about if isinstance(about, dict) else {},
        )  # fmt: skip


def _numbers(data: Mapping[str, Any], name: str, length: int) -> tuple[float, ...]:
    values = data.get(name)
    ok = isinstance(values, list) and len(values) == length
    if not ok or not all(
        isinstance(each, int | float) and math.isfinite(each) for each in values or ()
    ):
        raise CalibratorInvalid(
            f'"{name}" must be a list of {length} finite numbers, one per class'
        )
    return tuple(float(each) for each in values or ())
