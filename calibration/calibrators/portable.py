"""A calibrator to take away: a few numbers that calibrate probabilities or a confidence.

As JSON its format is `candor-calibrator/1`, described in docs/reference/calibrator.md;
`model_store.bundle.calibrator_graph` writes it as ONNX.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, cast

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.calibrators.affine import LINKS, Affine, CalibratorInvalid, Link
from calibration.calibrators.temperature import logit
from calibration.measures.metrics import SMALLEST
from calibration.strict_json import read_json

FORMAT = "candor-calibrator/1"
CONFIDENCE_CLASSES = ("wrong", "right")

Subject = Literal["probabilities", "confidence", "findings"]
_LINKS: Final[Mapping[Subject, Link]] = {
    "probabilities": "softmax",
    "confidence": "softmax",
    "findings": "sigmoid",
}
_LEAST: Final[Mapping[Link, int]] = {"softmax": 2, "sigmoid": 1}  # classes


@dataclass(frozen=True)
class PortableCalibrator:
    """The map softmax(weight * log max(p, smallest) + bias).

    Of findings it is sigmoid(weight * log(p / (1 - p)) + bias), of each one by itself, with p in
    [smallest, 1 - smallest].

    Attributes:
        affine: weight, bias and method, a key of `calibration.calibrators.remedies.REMEDIES`,
            `finding` or `none`.
        classes: K names, in the order of the columns; one at least of findings, else two. Of a
            confidence: `wrong`, `right`.
        smallest: probabilities below it count as this, since a 0 has no logarithm.
        of: what it takes: the probabilities (N, K) of all classes, the confidence (N,) of the
            predicted class, or the probabilities (N, K) that each of K findings is present.
        about: plain data on where it comes from. Nothing is computed from it.
    """

    affine: Affine
    classes: tuple[str, ...]
    smallest: float = SMALLEST
    of: Subject = "probabilities"
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def looked_for(self) -> str | None:
        """What was looked for in each row, as `--findings` has it; None of classes."""
        return "*" if self.affine.link == "sigmoid" else None

    @property
    def method(self) -> str:
        """What was fitted."""
        return self.affine.method

    def __call__(self, predictions: npt.ArrayLike) -> FloatArray:
        """Calibrate probabilities (N, K), or confidences (N,) if it is `of` those.

        Raises CalibratorInvalid for another number of columns, or values outside [0, 1].

        >>> halved = PortableCalibrator(Affine.of_temperature(2.0, 2), ("no", "yes"))
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
        return self(LINKS[self.affine.link](z))

    def _calibrate(self, p: FloatArray) -> FloatArray:
        if not self.affine.fitted:
            return p
        if self.affine.link == "sigmoid":
            return self.affine(logit(p, smallest=self.smallest))
        return self.affine(np.log(np.maximum(p, self.smallest)))

    def as_dict(self) -> dict[str, Any]:
        """Plain data of the format `candor-calibrator/1`."""
        return {
            "format": FORMAT,
            "of": self.of,
            "classes": [*self.classes],
            "smallest": self.smallest,
            **self.affine.as_dict(),
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
        calibration.calibrators.affine.CalibratorInvalid: it is no calibrator: "format" must be
        "candor-calibrator/1"; got None
        """
        try:
            data = read_json(text)
        except ValueError as error:
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
        if of not in _LINKS:
            raise CalibratorInvalid(f'"of" must be one of {", ".join(_LINKS)}')
        link = _LINKS[of]
        if (
            not isinstance(classes, list)
            or len(classes) < _LEAST[link]
            or not all(isinstance(each, str) for each in classes)
        ):
            raise CalibratorInvalid(f'"classes" must be a list of {_LEAST[link]} names or more')
        if of == "confidence" and len(classes) != 2:
            raise CalibratorInvalid(
                f"a calibrator of a confidence has two classes; got {len(classes)}"
            )
        affine = Affine.from_dict(data, len(classes), link)
        smallest = data.get("smallest")
        if not isinstance(smallest, float) or not 0 < smallest < 0.5:
            raise CalibratorInvalid('"smallest" must be a number between 0 and 0.5')
        about = data.get("about")
        return cls(affine, tuple(classes), smallest, of, about if isinstance(about, dict) else {})
