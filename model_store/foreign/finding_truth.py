"""Labels of findings: they choose preprocessing, fit calibrators and thresholds, and measure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from calibration.calibrators.affine import Affine
from calibration.calibrators.constant_answer import beats_prevalences
from calibration.findings.calibrator import (
    FEWEST_POSITIVES,
    fit_finding,
    stored,
)
from calibration.findings.thresholds import choose_threshold
from calibration.measures.metrics import SMALLEST
from calibration.measures.ranking import auroc
from calibration.wording import parameter, some
from model_store.bundle.card import InputReference
from model_store.bundle.finding_card import FindingCard, ThresholdRule, binary_card, finding_card
from model_store.errors import LabeledFolderRefused
from model_store.foreign.card_figures import FEW_IMAGES, CardFigures
from model_store.foreign.labeled_images import LabeledImages

SPLIT: Final = "held-out half of the labeled images"
SHOWN: Final = 5  # names in a note

Logits = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FindingTruth:
    """What is known of each finding in each labeled image: labels (N, K) 1, 0, or NaN."""

    data: LabeledImages
    names: tuple[str, ...]
    labels: npt.NDArray[np.float64]

    @property
    def strata(self) -> npt.NDArray[np.int64]:
        """A number for each image, so that a sample can have its share of each."""
        return np.asarray((self.labels == 1).any(axis=1), np.int64)

    def judge(self, logits: Logits, chosen: Sequence[int]) -> tuple[float, Logits]:
        """Return the share of labels that are right, and the mean NLL of each image (n,).

        Both are after the best calibrators, of logits (n, K); an image without labels has 0.
        """
        labels = self.labels[chosen]
        p = np.stack([_fitted(z, y)(z) for z, y in zip(logits.T, labels.T, strict=True)], axis=1)
        known = ~np.isnan(labels)
        said = np.where(labels == 1, p, 1 - p)
        losses = np.where(known, -np.log(np.maximum(said, SMALLEST)), 0.0)
        right = float(((p >= 0.5) == (labels == 1))[known].mean()) if known.any() else math.nan
        return right, np.asarray(losses.sum(axis=1) / np.maximum(known.sum(axis=1), 1))

    def figures(self, logits: Logits, reference: InputReference, *, anyway: bool) -> CardFigures:
        """Fit and measure as `ClassTruth.figures`. Raises LabeledFolderRefused: the model ranks no
        better than chance, and is no better than the prevalences; not with `anyway`.
        """
        fitted = [self._fitted(at, logits[:, at]) for at in range(len(self.names))]
        cards = tuple(card for card, _ in fitted)
        p = np.stack([probability for _, probability in fitted], axis=1)[self.data.held_out]
        labels = self.labels[self.data.held_out]
        if not anyway and not beats_prevalences(p, labels, self.data.groups[self.data.held_out]):
            self._check_useful(logits)
        known = ~np.isnan(labels)
        pooled = binary_card(p[known], labels[known] == 1, split=SPLIT)
        notes = tuple(self._notes(cards))
        return CardFigures(pooled, cards, input_reference=reference, notes=notes)

    def _fitted(self, at: int, logits: Logits) -> tuple[FindingCard, Logits]:
        """Return the card of a finding, and its probabilities (N,)."""
        held, labels = self.data.held_out, self.labels[:, at]
        kept = stored(fit_finding(logits[~held], labels[~held]))
        p = kept(logits)
        threshold = choose_threshold(p[~held], labels[~held], kind="youden")
        card = finding_card(
            self.names[at],
            p[held],
            labels[held],
            split=SPLIT,
            calibrator=kept,
            threshold=0.5 if threshold is None else threshold,
            rule=ThresholdRule(kind="half" if threshold is None else "youden"),
            groups=self.data.groups[held],
        )
        return card, p

    def _check_useful(self, logits: Logits) -> None:
        """Refuse scores that rank the labels worse than chance."""
        areas = [
            auroc(z[~np.isnan(y)], y[~np.isnan(y)] == 1)
            for z, y in zip(logits.T, self.labels.T, strict=True)
        ]
        known = [area for area in areas if not math.isnan(area)]
        if known and float(np.mean(known)) <= 0.5:
            raise LabeledFolderRefused(
                f"the model ranks its findings no better than chance: a mean AUROC of "
                f"{float(np.mean(known)):.2f} over {len(known)} with labels. Most likely the names "
                f"are not in the order of the model's scores ({parameter('classes')}), or it was "
                f"trained with another preprocessing ({parameter('pixels')}, {parameter('size')}). "
                f"To publish it all the same, add {parameter('anyway', True)}"
            )

    def _notes(self, cards: Sequence[FindingCard]) -> list[str]:
        notes = []
        few = [each.name for each in cards if each.calibration.method == "none"]
        if few:
            notes.append(
                f"{some(few, SHOWN)}: not calibrated, since the half to fit on has fewer than "
                f"{FEWEST_POSITIVES} images with the finding, or as few without it, or its labels "
                "do not determine a temperature; present from 0.5 on."
            )
        held = int(self.data.held_out.sum())
        if held < FEW_IMAGES:
            notes.append(
                f"The card rests on {held} held-out images, which is few: look at its intervals."
            )
        reversed_ = [
            each.name
            for each in cards
            if (each.measures.get("auroc") or 1) < 0.5 and each.positives >= FEWEST_POSITIVES
        ]
        if reversed_:
            notes.append(
                f"{some(reversed_, SHOWN)}: higher scores where the finding is absent. Are the "
                "names in the order of the model's scores?"
            )
        return notes


def _fitted(logits: Logits, labels: Logits) -> Affine:
    """Return the calibrator, or with few positives one that gives their share."""
    if (fitted := fit_finding(logits, labels)).fitted:
        return fitted
    known = labels[~np.isnan(labels)]
    share = (known.sum() + 1) / (len(known) + 2)
    return Affine((1e-6,), (float(np.log(share / (1 - share))),), "sigmoid")
