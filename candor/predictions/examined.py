"""What `Calibration` and `FindingsCalibration` share: an examination and its calibrator."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.calibrators.portable import PortableCalibrator
from calibration.document import FactList, Heading, Part
from calibration.examination import Examination
from calibration.findings.examination import FindingsExamination
from candor.predictions.arrays import as_array
from candor.predictions.labeled import LabeledFindings, LabeledPredictions

_Found = TypeVar("_Found", bound=Examination | FindingsExamination)
_Read = TypeVar("_Read", bound=LabeledPredictions | LabeledFindings)


class Examined(ABC, Generic[_Found, _Read]):
    """Predictions that were examined, and a calibrator for others like them.

    Attributes:
        examination: all figures.
        predictions: what was examined.
        title: names them.
    """

    def __init__(self, examination: _Found, predictions: _Read, *, title: str) -> None:
        self.examination, self.predictions, self.title = examination, predictions, title

    @property
    @abstractmethod
    def verdict(self) -> str:
        """The verdict in sentences."""

    @abstractmethod
    def _cautions(self) -> Iterable[str]:
        """What to know before relying on the figures."""

    @property
    def calibrator(self) -> PortableCalibrator:
        """The calibrator; it leaves alone what is better left alone."""
        return self.examination.calibrator

    @property
    def notes(self) -> tuple[str, ...]:
        """What was guessed or left out, and what to know before relying on the figures."""
        read = self.predictions
        return (*read.left_out, *read.notes, *self._cautions())

    def transform_logits(self, logits: npt.ArrayLike) -> FloatArray:
        """Calibrate logits (N, K). Raises CalibratorInvalid as `transform`."""
        return self.calibrator.from_logits(as_array(logits, "logits"))

    def save(self, path: str | Path) -> None:
        """Write the calibrator: `.json`, or `.onnx` of probabilities or logits, as calibrated.

        Raises ValueError: another suffix.
        """
        file = Path(path)
        if file.suffix == ".json":
            file.write_text(self.calibrator.as_json(), encoding="utf-8")
        elif file.suffix == ".onnx":
            from model_store.bundle.calibrator_graph import calibrator_onnx

            file.write_bytes(calibrator_onnx(self.calibrator, self.predictions.kind))
        else:
            raise ValueError(f"a calibrator is saved as .json or .onnx; got {file}")

    def save_pictures(self, folder: Path) -> None:
        """Write diagrams, if there are any."""

    @abstractmethod
    def document(self) -> list[Part]:
        """Return all that is shown, from the verdict to what to know."""

    def page(self) -> str:
        """Return the report as an HTML file without scripts."""
        from console.document import document_page

        parts = [Heading(self.title, level=1), *self.document()]
        if taken := self.predictions.taken:
            parts += [Heading("What was read"), FactList(taken)]
        return document_page(parts, title=self.title)

    def _repr_html_(self) -> str:
        from console.document import fragment

        return fragment(self.document())

    def as_dict(self) -> dict[str, Any]:
        """Return all figures and sentences as plain data."""
        return {
            "verdict": self.verdict,
            "notes": [*self.notes],
            "columns": dict(self.predictions.taken),
            "rows": len(self.predictions.rows),
            "groups": self.examination.groups,
            "kind": self.predictions.kind,
            "calibrator": self.calibrator.as_dict(),
        }

    def _lines(self) -> tuple[str, ...]:
        return (self.verdict,)

    def __repr__(self) -> str:
        return "\n".join([*self._lines(), *(f"- {note}" for note in self.notes)])
