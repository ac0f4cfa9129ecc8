"""The answers of a model with findings: for each finding, what its probability says.

A finding is a question with the classes absent and present, so its calibrators by tags, its sets
and their promises are those of a card of two classes. The TorchServe archive contains this file, so
it imports only NumPy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, product
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from calibration.calibrators.subgroups import AnswerCalibrator, AnswerCalibrators, CalibratorsByTags

ABSENT_PRESENT: Final = ("absent", "present")


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What a probability of presence says. `members` are the classes in the prediction set, None
    if the finding has no sets. There are ten, each once.
    """

    present: bool
    members: tuple[str, ...] | None

    @property
    def refer(self) -> bool | None:
        """Whether a person should look: the set does not have one class. None without sets."""
        return None if self.members is None else len(self.members) != 1


_ALONE: Final = {present: Said(present, None) for present in (False, True)}
_IN_SETS: Final = {
    (present, *held): Said(present, tuple(compress(ABSENT_PRESENT, held)))
    for present in (False, True)
    for held in product((False, True), repeat=2)
}


@dataclass(frozen=True, slots=True)
class Question:
    """One finding: present from `threshold` on, after the calibrator `by` for the tags."""

    name: str
    threshold: float
    by: AnswerCalibrator

    def said(self, probability: float) -> Said:
        """What a probability of presence, in [0, 1], says.

        >>> Question("Edema", 0.3, AnswerCalibrator(set_from=(0.5, 0.2))).said(0.4)
        Said(present=True, members=('absent', 'present'))
        """
        lowest, present = self.by.set_from, probability >= self.threshold
        if lowest is None:
            return _ALONE[present]
        absent_from, present_from = lowest if isinstance(lowest, tuple) else (lowest, lowest)
        return _IN_SETS[present, 1 - probability >= absent_from, probability >= present_from]

    def answer(self, probability: float) -> dict[str, Any]:
        """The fields of the answer, without those that the card does not define."""
        said = self.said(probability)
        fields: dict[str, Any] = {
            "probability": probability,
            "threshold": self.threshold,
            "present": said.present,
        }
        if said.members is not None:
            fields |= {"refer": said.refer, "prediction_set": said.members}
        return fields if self.by.name is None else fields | {"calibrator": self.by.name}


@dataclass(frozen=True, slots=True)
class FindingsCalibrator:
    """The questions of answers with certain tags, in the order of the graph's columns."""

    questions: tuple[Question, ...]

    def __call__(self, probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Calibrate probabilities (..., K) of the graph: sigmoid(logit(p) / temperature + bias) of
        each finding that has a calibrator for the tags. The others stay as they are; so does NaN.
        """
        calibrated = probabilities.copy()
        for column, question in enumerate(self.questions):
            if question.by.name is not None:
                p = probabilities[..., column].astype(np.float64)
                calibrated[..., column] = question.by(np.stack([1 - p, p], axis=-1))[..., 1]
        return calibrated

    def answer(self, classes: Sequence[str], probabilities: Sequence[float]) -> dict[str, Any]:
        """The fields of the answer that probabilities (K,) of the findings `classes` give."""
        asked = zip(self.questions, probabilities, strict=True)
        return {"findings": {each.name: each.answer(p) for each, p in asked}}

    def claims(self, answer: Mapping[str, Any]) -> dict[str, float]:
        """The probabilities of an answer, by finding."""
        return {name: each["probability"] for name, each in answer["findings"].items()}

    def logged(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """What the ledger keeps of an answer."""
        return {"findings": self.claims(answer)}


class FindingsCalibrators(CalibratorsByTags[FindingsCalibrator]):
    """The questions of a card with findings, by the tags of a request."""

    def __init__(self, card: Mapping[str, Any]) -> None:
        """`card`: the parsed card.json."""
        self._findings: Sequence[Mapping[str, Any]] = card["findings"]
        self._calibrators = [AnswerCalibrators(each) for each in self._findings]
        has_subgroups = any(each["calibration"].get("subgroups") for each in self._findings)
        whole = self._with([each.of(None) for each in self._calibrators])
        super().__init__(whole, self._choose if has_subgroups else None)

    def _choose(self, tags: Mapping[str, str]) -> FindingsCalibrator:
        chosen = [each.choose(tags) for each in self._calibrators]
        return self._with(chosen) if any(each.name for each in chosen) else self.of(None)

    def _with(self, calibrators: Sequence[AnswerCalibrator]) -> FindingsCalibrator:
        return FindingsCalibrator(
            tuple(
                Question(each["name"], float(each["threshold"]), by)
                for each, by in zip(self._findings, calibrators, strict=True)
            )
        )


def calibrators_of(card: Mapping[str, Any]) -> AnswerCalibrators | FindingsCalibrators:
    """The calibrators of a parsed card.json: of its findings, or of its exclusive classes."""
    has_findings = card.get("findings") and not card.get("finding")
    return FindingsCalibrators(card) if has_findings else AnswerCalibrators(card)
