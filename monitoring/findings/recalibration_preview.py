"""What a recalibration would do, as the terminal and the pages show it: sentences, figures and the
bins of diagrams.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from calibration.calibrators.remedies import RemedyChoice
from calibration.measures.reliability import ReliabilityBin
from calibration.measures.summary import Measures


class ClassRow(NamedTuple):
    """One class on the held-out labels: `labels` of it, and pairs (before, after). NaN without such
    answers.
    """

    name: str
    labels: int
    sensitivity: tuple[float, float]
    specificity: tuple[float, float]
    gap: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class RecalibrationPreview:
    """A recalibration before it is published, or just after.

    Attributes:
        title: names model and version.
        sentence: which remedy was chosen, on which labels.
        changes: what it does to predicted classes, in a sentence.
        choice: how the remedies compared.
        held_out: labels that were not used to fit; all that follows is measured on them.
        before, after: measures as served and recalibrated.
        served, recalibrated: the bins of the reliability diagrams.
        classes: a row for each class.
        notes: what has to be known before the version is promoted, each a sentence.
    """

    title: str
    sentence: str
    changes: str
    choice: RemedyChoice
    held_out: int
    before: Measures
    after: Measures
    served: Sequence[ReliabilityBin]
    recalibrated: Sequence[ReliabilityBin]
    classes: Sequence[ClassRow]
    notes: Sequence[str]
