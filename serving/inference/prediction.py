"""The answer for one image as an object: of exclusive classes, or of findings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from calibration.calibrators.finding_answers import FindingsCalibrator
from calibration.calibrators.subgroups import AnswerCalibrator
from calibration.scope.verdict import Scope


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer of a model of exclusive classes.

    `refer` says whether a person should look at the image; `prediction_set` lists the classes that
    it may belong to. Each is None if the card does not define it. `calibrator` names the tags whose
    calibrator followed the graph's; None: none did. `scope` and `scope_p` are of the scope check,
    None if the graph has none.
    """

    predicted: str
    confidence: float
    probabilities: dict[str, float]
    refer: bool | None
    prediction_set: tuple[str, ...] | None = None
    calibrator: str | None = None
    scope: Scope | None = None
    scope_p: float | None = None
    findings: ClassVar["dict[str, PredictedFinding]"] = {}
    kind: ClassVar = "classes"

    @property
    def classification(self) -> "Classification":
        """The answer of exclusive classes: itself."""
        return self

    @property
    def is_number(self) -> bool:
        """Whether the model's output for the image is one."""
        return self.confidence <= 1.0

    @property
    def claims(self) -> dict[str, float]:
        """What it says, and how probable that is."""
        return {self.predicted: self.confidence}


@dataclass(frozen=True, slots=True)
class PredictedFinding:
    """The answer of one finding: present from `threshold` on. The others as in Classification;
    `prediction_set` lists "absent" and "present".
    """

    probability: float
    threshold: float
    present: bool
    refer: bool | None = None
    prediction_set: tuple[str, ...] | None = None
    calibrator: str | None = None


@dataclass(frozen=True, slots=True)
class PredictedFindings:
    """The answers of a model with findings, by name. `scope` and `scope_p` as in Classification."""

    findings: dict[str, PredictedFinding]
    scope: Scope | None = None
    scope_p: float | None = None
    classification: ClassVar[None] = None
    kind: ClassVar = "findings"

    @property
    def is_number(self) -> bool:
        """Whether the model's output for the image is one."""
        return all(each.probability <= 1.0 for each in self.findings.values())

    @property
    def claims(self) -> dict[str, float]:
        """Each finding, and how probable it is."""
        return {name: found.probability for name, found in self.findings.items()}


Prediction: TypeAlias = Classification | PredictedFindings
ReadRow: TypeAlias = Callable[[list[float], Any], Prediction]


def read_classification(
    classes: tuple[str, ...], row: list[float], by: AnswerCalibrator
) -> Classification:
    """The answer of probabilities (K,) and the calibrator that they went through."""
    return Classification(**by.answer(classes, row))


def read_findings(row: list[float], by: FindingsCalibrator) -> PredictedFindings:
    """The same of findings."""
    asked = zip(by.questions, row, strict=True)
    return PredictedFindings({each.name: PredictedFinding(**each.answer(p)) for each, p in asked})
