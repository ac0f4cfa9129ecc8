"""`LabeledPredictions`: what was read, in one form, whatever it was read from."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, FloatArray, IntArray
from calibration.calibrators.portable import PortableCalibrator
from calibration.findings.examination import HALF, Rule
from calibration.findings.measures import FindingsMeasures, measure_findings
from calibration.measured import measure_probabilities
from calibration.measures.metrics import top_label
from calibration.measures.summary import Measures
from calibration.wording import parameter, percent, some
from candor.predictions.columns import ColumnWishes
from candor.predictions.errors import PredictionsRefused
from model_store.csv_cells import CsvTable

if TYPE_CHECKING:
    from candor.predictions.calibration import Calibration
    from candor.predictions.findings_calibration import FindingsCalibration

Calibrated: TypeAlias = tuple[list[str], Iterator[list[str]]]
ScoreKind = Literal["probabilities", "logits", "confidence"]


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """What the caller says about the predictions.

    Attributes:
        wishes: what the columns are.
        classes: names of the classes in the order of the scores, which is also that of labels given
            as indices.
        positive: the class whose probability a single column holds.
        normalize: divide rows that do not add up to 1 by their sum.
        needs_labels: whether rows without a label are left out; without, labels are not read, and
            ids are kept.
        findings: the findings that were looked for in each image, joined by |, or `*` for all that
            columns are about; None if labels and scores say whether they are findings.
        exclusive: labels are exclusive classes though they look like findings.
        known: the classes that a calibrator is for; empty if there is none. Columns are found by
            these names.
    """

    wishes: ColumnWishes = field(default_factory=ColumnWishes)
    classes: tuple[str, ...] | None = None
    positive: str | None = None
    normalize: bool = False
    needs_labels: bool = True
    findings: str | None = None
    exclusive: bool = False
    known: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Examining:
    """How predictions are examined.

    Attributes:
        allow_label_changes: consider calibrators that may change the predicted class.
        rule: how the threshold of each finding is chosen.
        seed: of the split into fitting and judging rows.
    """

    title: str
    allow_label_changes: bool = False
    rule: Rule = HALF
    seed: int = 0
    bins: int = BIN_COUNT


@dataclass(frozen=True, kw_only=True)
class _Read:
    """What was read, whatever it is about.

    Attributes:
        kind: what the file holds; `confidence` if only that of the predicted class is known.
        groups: (N,) numbers of groups; None if unknown.
        judging: (N,) rows that test what is fitted on the others; None if nothing tells them apart.
        rows: (N,) numbers of these rows in the file, from 1.
        id_names: I columns that name a row; `ids`: (N, I) their cells as text, kept only if labels
            are not needed.
        taken: what was taken for what, for a preview.
        notes: sentences on what was guessed.
        left_out: sentences on rows that were left out.
    """

    kind: ScoreKind
    groups: IntArray | None = None
    judging: npt.NDArray[np.bool_] | None = None
    rows: IntArray
    id_names: tuple[str, ...] = ()
    ids: npt.NDArray[np.object_] | None = None
    taken: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def judged(self) -> Any:
        """The rows that figures are of."""
        return slice(None) if self.judging is None else self.judging

    def calibrated(self, calibrator: PortableCalibrator) -> Calibrated:
        """Return the header and the cells of each row, in the order of the calibrator's classes.

        Raises PredictionsRefused if the calibrator is for other classes.
        """
        raise NotImplementedError

    def write_calibrated(self, calibrator: PortableCalibrator, file: Path) -> None:
        """Write a CSV row for each prediction: number, ids, calibrated figures.

        Raises PredictionsRefused as `calibrated`, and OSError if the file cannot be written.
        """
        header, cells = self.calibrated(calibrator)
        numbered = [] if "row" in self.id_names else ["row"]
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = CsvTable(stream)
            writer.writerow([*numbered, *self.id_names, *header])
            for place, figures in enumerate(cells):
                ids = [] if self.ids is None else self.ids[place].tolist()
                writer.writerow([*([self.rows[place]] if numbered else []), *ids, *figures])


@dataclass(frozen=True, kw_only=True)
class LabeledPredictions(_Read):
    """Predictions and their truths.

    Attributes:
        classes: K names; empty for a confidence.
        probabilities: (N, K); None for a confidence.
        labels: (N,) in 0..K-1; None for a confidence, or if labels are not needed and absent.
        confidence, correct: (N,), for a confidence alone.
    """

    classes: tuple[str, ...] = ()
    probabilities: FloatArray | None = None
    labels: IntArray | None = None
    confidence: FloatArray | None = None
    correct: npt.NDArray[np.bool_] | None = None

    def measured(self, bins: int) -> Measures:
        """Return every measure. The predictions have labels."""
        assert self.probabilities is not None
        assert self.labels is not None
        rows = self.judged
        groups = None if self.groups is None else self.groups[rows]
        return measure_probabilities(
            self.probabilities[rows], self.labels[rows], groups, bin_count=bins
        ).measures

    def examined(self, how: Examining) -> "Calibration":
        """Examine them. Raises PredictionsRefused if they have no labels."""
        from candor.predictions.calibration import examine_predictions

        return examine_predictions(self, how)

    def example(self) -> Iterator[str]:
        """Yield the first row as it was understood."""
        if self.probabilities is not None and self.labels is not None:
            shown = ", ".join(
                f"{name} {percent(p)}"
                for name, p in list(zip(self.classes, self.probabilities[0], strict=True))[:6]
            )
            yield f"  row {self.rows[0]:,}: {shown}; truly {self.classes[self.labels[0]]}"
        elif self.confidence is not None and self.correct is not None:
            yield (
                f"  row {self.rows[0]:,}: confidence {percent(self.confidence[0])}, "
                f"{'right' if self.correct[0] else 'wrong'}"
            )

    def calibrated(self, calibrator: PortableCalibrator) -> Calibrated:
        """Return a row of the predicted class, its confidence and all probabilities."""
        if calibrator.of == "confidence":
            return self._confidences(calibrator)
        if self.probabilities is None:
            raise PredictionsRefused(
                "the calibrator takes the probabilities of all classes; only a confidence is there"
            )
        names = calibrator.classes
        if sorted(self.classes) != sorted(names):
            raise PredictionsRefused(
                f"the calibrator is for the classes {', '.join(names)}; the predictions are of "
                f"{', '.join(self.classes)}: name the classes of the columns, in the order of the "
                f"columns, with {parameter('classes')}"
            )
        calibrated = calibrator(self.probabilities[:, [self.classes.index(name) for name in names]])
        confidence, predicted = top_label(calibrated)
        cells = (
            [names[place], f"{sure:.6g}", *(f"{p:.6g}" for p in row)]
            for row, place, sure in zip(calibrated, predicted, confidence, strict=True)
        )
        return ["predicted", "confidence", *(f"probability {name}" for name in names)], cells

    def _confidences(self, calibrator: PortableCalibrator) -> Calibrated:
        p = self.probabilities
        confidence = self.confidence if p is None else top_label(p)[0]
        if confidence is None:
            raise PredictionsRefused("the calibrator takes confidences; there are none")
        return ["confidence"], ([f"{sure:.6g}"] for sure in calibrator(confidence))


@dataclass(frozen=True, kw_only=True)
class LabeledFindings(_Read):
    """Probabilities that each of K findings is present, and what is known of their presence.

    Attributes:
        names: K findings.
        probabilities: (N, K) of presence.
        labels: (N, K) 1, 0, or NaN for unknown; None if they are not needed and absent.
    """

    names: tuple[str, ...]
    probabilities: FloatArray
    labels: FloatArray | None

    def measured(self, bins: int) -> FindingsMeasures:
        """As that of classes."""
        assert self.labels is not None
        rows = self.judged
        found = measure_findings(self.probabilities[rows], self.labels[rows], bin_count=bins)
        return FindingsMeasures(dict(zip(self.names, found, strict=True)))

    def examined(self, how: Examining) -> "FindingsCalibration":
        """As that of classes."""
        from candor.predictions.findings_calibration import examine_labeled_findings

        return examine_labeled_findings(self, how)

    def example(self) -> Iterator[str]:
        """Yield the findings, and the first row as it was understood."""
        yield f"  findings, of which a row may have several: {some(self.names, 12)}"
        if self.labels is not None:
            words = {1.0: "present", 0.0: "absent"}
            first = zip(self.names, self.probabilities[0], self.labels[0].tolist(), strict=True)
            shown = ", ".join(
                f"{name} {percent(p)} {words.get(y, 'unknown')}" for name, p, y in first
            )
            yield f"  row {self.rows[0]:,}: {shown}"

    def calibrated(self, calibrator: PortableCalibrator) -> Calibrated:
        """Return the header and the cells of each row, as that of classes does."""
        if set(self.names) != set(calibrator.classes):
            raise PredictionsRefused(
                f"the calibrator is for the findings {', '.join(calibrator.classes)}; the "
                f"probabilities are of {', '.join(self.names)}"
            )
        order = [self.names.index(name) for name in calibrator.classes]
        calibrated = calibrator(self.probabilities[:, order])
        header = [f"probability {name}" for name in calibrator.classes]
        return header, ([f"{p:.6g}" for p in row] for row in calibrated)


Predictions = LabeledPredictions | LabeledFindings
