"""The answer for one image as an object: of exclusive classes, or of findings; what it says of the
scope check, and what becomes of images that are out of scope.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from calibration.calibrators.finding_answers import FindingsCalibrator
from calibration.calibrators.subgroups import AnswerCalibrator
from calibration.scope.verdict import (
    ALPHA,
    OutOfScopeChoice,
    Scope,
    least_p,
    scope_of,
    without_confidence,
)
from hosting.errors import OutOfScope
from model_store.bundle.card import ScopeCard

Probabilities: TypeAlias = npt.NDArray[np.float32]


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


@dataclass(frozen=True, slots=True)
class ScopePolicy:
    """`alpha`: images with a p-value up to it are doubtful, some of them out of scope
    (`scope_of`). `out`: what becomes of the latter. They are answered; or without confidence; or
    refused. `images`: those that calibrate the version's check; 0 without one.
    """

    alpha: float = ALPHA
    out: OutOfScopeChoice = "answer"
    images: int = 0

    def of(self, card: ScopeCard | None) -> "ScopePolicy":
        """The policy for a version with this card."""
        return replace(self, images=card.flagged.n if card else 0)

    def verdict(self, p: float | None) -> "ScopeVerdict | None":
        """The verdict of a p-value; None without a scope check."""
        if p is None:
            return None
        scope = scope_of(p, self.images, self.alpha)
        return ScopeVerdict(scope, p, self.out if scope == "out" else "answer")

    @property
    def blind(self) -> bool:
        """Whether alpha is below the least p-value that there is, so that no image is doubtful."""
        return self.images > 0 and self.alpha < least_p(self.images)

    def apply(self, prediction: Prediction) -> Prediction:
        """The prediction with the word by this alpha. Raises OutOfScope if it is not to be shown,
        or not its confidence.
        """
        verdict = self.verdict(prediction.scope_p)
        if verdict is None:
            return prediction
        if verdict.then != "answer":
            raise OutOfScope(verdict.p)
        return replace(prediction, scope=verdict.scope)

    def fields(self, prediction: Prediction) -> dict[str, Any]:
        """The answer as a dict: without confidence if that is withheld, an `error` if refused."""
        said, verdict = asdict(prediction), self.verdict(prediction.scope_p)
        if verdict is None or verdict.then == "answer":
            return said
        if verdict.refusal:
            return {"error": str(verdict.refusal), "scope": verdict.scope, "scope_p": verdict.p}
        return without_confidence(said)


@dataclass(frozen=True, slots=True)
class ScopeVerdict:
    """The word for a p-value, and what becomes of the answer."""

    scope: Scope
    p: float
    then: OutOfScopeChoice

    @property
    def refusal(self) -> OutOfScope | None:
        """The error in place of the answer."""
        return OutOfScope(self.p) if self.then == "refuse" else None


def with_scope(answer: bytes, verdict: ScopeVerdict) -> bytes | OutOfScope:
    """The JSON of an answer with `scope` and `scope_p`, without confidence if it is withheld; or
    the error in its place.
    """
    if verdict.refusal:
        return verdict.refusal
    said = b',"scope":"%s","scope_p":%.9g}' % (verdict.scope.encode(), verdict.p)
    if verdict.then == "withhold":
        answer = json.dumps(without_confidence(json.loads(answer)), separators=(",", ":")).encode()
    return answer[:-1] + said
