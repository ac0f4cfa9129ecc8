"""`LabeledPredictions`: what was read, in one form, whatever it was read from."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, IntArray
from candor.predictions.columns import ColumnWishes

ScoreKind = Literal["probabilities", "logits", "confidence"]
CELLS_LIMIT = 60_000_000  # numbers held at once: half a gigabyte


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
class _Read:
    """What was read, whatever it is about.

    Attributes:
        kind: what the file holds; `confidence` if only that of the predicted class is known.
        groups: (N,) numbers of groups; None if unknown.
        rows: (N,) numbers of these rows in the file, from 1.
        id_names: I columns that name a row; `ids`: (N, I) their cells as text, kept only if labels
            are not needed.
        taken: what was taken for what, for a preview.
        notes: sentences on what was guessed.
        left_out: sentences on rows that were left out.
    """

    kind: ScoreKind
    groups: IntArray | None = None
    rows: IntArray
    id_names: tuple[str, ...] = ()
    ids: npt.NDArray[np.object_] | None = None
    taken: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


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


Predictions = LabeledPredictions | LabeledFindings
