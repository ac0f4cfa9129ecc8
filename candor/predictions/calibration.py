"""`Calibration`: labeled predictions, examined, for Python and for `candor calibrate`."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.calibrators.portable import PortableCalibrator
from calibration.document import FactList, Heading, Part
from calibration.examination import Effect, Examination, examine, examine_confidence
from calibration.findings.examination import FindingsExamination
from calibration.measured import Measured, Standing
from calibration.measures.reliability import reliability
from calibration.measures.summary import Measures
from candor.predictions.documents import (
    WORDS,
    calibration_document,
    calibrator_sentence,
    notes,
    verdict,
)
from candor.predictions.errors import PredictionsRefused
from candor.predictions.labeled import Examining, LabeledFindings, LabeledPredictions
from candor.predictions.reading import as_array

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

    def transform(self, probabilities: npt.ArrayLike) -> FloatArray:
        """Calibrate probabilities: (N, K), or (N,) of the second of two classes, or confidences
        (N,) if it is of those.

        Raises:
            calibration.calibrators.affine.CalibratorInvalid: another number of classes or
                findings, or values outside [0, 1].
        """
        p = as_array(probabilities, "probabilities").astype(np.float64)
        if (
            p.ndim == 1
            and self.calibrator.of == "probabilities"
            and len(self.calibrator.classes) == 2
        ):
            return np.asarray(self.calibrator(np.stack([1 - p, p], axis=1))[:, 1])
        return self.calibrator(p)

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


class ReliabilityPlot:
    """A reliability diagram. A notebook shows it; `save` writes it as an SVG file."""

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write the diagram. Raises ValueError if the name does not end in `.svg`."""
        if Path(path).suffix != ".svg":
            raise ValueError(f"a diagram is saved as .svg; got {path}")
        Path(path).write_text(self.svg, encoding="utf-8")


class Calibration(Examined[Examination, LabeledPredictions]):
    """How calibrated predictions are, and a calibrator for predictions like them."""

    @property
    def standing(self) -> Standing:
        """The verdict as a word."""
        return self.examination.standing

    @property
    def verdict(self) -> str:
        return f"{WORDS[self.standing]}. {verdict(self.examination)}"

    @property
    def measures(self) -> Measures:
        """The measures of the predictions as given; floor and intervals know groups."""
        return self.examination.given.measures

    @property
    def effect(self) -> Effect | None:
        """What the calibrator does on rows that it has not seen; None without one."""
        return self.examination.effect

    def _cautions(self) -> Iterator[str]:
        return notes(self.examination)

    def plot(self, *, calibrated: bool = False) -> ReliabilityPlot:
        """Return the reliability diagram as given, or of the calibrated rows that judge it."""
        from model_store.bundle.diagram import diagram_file

        chosen = self.effect.after if calibrated and self.effect else self.examination.given
        return ReliabilityPlot(str(diagram_file(reliability(chosen.sums))))

    def save_pictures(self, folder: Path) -> None:
        self.plot().save(folder / "reliability.svg")

    def document(self) -> list[Part]:
        return calibration_document(self.examination, self.notes)

    def as_dict(self) -> dict[str, Any]:
        """Return all figures and sentences as plain data."""
        found, fit = self.examination, self.examination.fit
        return super().as_dict() | {
            "standing": found.standing.value,
            "calibrator_sentence": calibrator_sentence(found),
            "given": _plain(found.given),
            "classes": [
                vars(each) | {"gap_interval": [*each.gap_interval]} for each in found.classes
            ],
            "remedies": [] if fit is None else [vars(each) for each in fit.choice.trials],
            "effect": None if self.effect is None else _effect(self.effect),
        }

    def _lines(self) -> tuple[str, ...]:
        return self.verdict, calibrator_sentence(self.examination)


def examine_predictions(predictions: LabeledPredictions, how: Examining) -> Calibration:
    """Examine what was read. Raises PredictionsRefused if it has no labels."""
    if predictions.probabilities is not None and predictions.labels is not None:
        found = examine(
            predictions.probabilities,
            predictions.labels,
            classes=predictions.classes,
            groups=predictions.groups,
            allow_label_changes=how.allow_label_changes,
            judging=predictions.judging,
            seed=how.seed,
            bin_count=how.bins,
        )
    elif predictions.confidence is not None and predictions.correct is not None:
        found = examine_confidence(
            predictions.confidence,
            predictions.correct,
            groups=predictions.groups,
            judging=predictions.judging,
            seed=how.seed,
            bin_count=how.bins,
        )
    else:
        raise PredictionsRefused("predictions are examined by their labels; there are none")
    return Calibration(found, predictions, title=how.title)


def _plain(measured: Measured) -> dict[str, Any]:
    return {
        "measures": measured.measures.as_dict(),
        "bins": [vars(each) for each in reliability(measured.sums)],
    }


def _effect(effect: Effect) -> dict[str, Any]:
    fit = effect.fit
    return {
        "judged": fit.judged,
        "rows": len(fit.rows),
        "fitted_on": fit.fitted_on,
        "nll_improvement": fit.improvement,
        "standard_error": fit.standard_error,
        "changed_predictions": effect.changed,
        "before": _plain(effect.before),
        "after": _plain(effect.after),
    }
