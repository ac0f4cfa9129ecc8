"""What labeled images say of a model: they choose the preprocessing, fit its calibrator, and
measure it. Classes and findings have the same methods.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from calibration.bins import BinSums, bin_index
from calibration.calibrators.affine import Affine
from calibration.calibrators.constant_answer import beats_constant_answer, beats_prevalences
from calibration.calibrators.temperature import (
    apply_temperature,
    at_bound,
    fit_temperature,
    highest_temperature,
)
from calibration.conformal import conformal
from calibration.drift.answer_drift import count_answers
from calibration.findings.calibrator import FEWEST_POSITIVES, fit_finding, stored
from calibration.findings.thresholds import choose_threshold
from calibration.measures.confusion import confusion_matrix
from calibration.measures.metrics import SMALLEST, log_loss, top_label
from calibration.measures.ranking import auroc
from calibration.measures.summary import Measures
from calibration.threshold import referral_threshold
from calibration.wording import parameter, some
from model_store.bundle.calibration_card import CalibrationCard, ConformalCard, Referral
from model_store.bundle.finding_card import FindingCard, ThresholdRule, binary_card, finding_card
from model_store.errors import LabeledFolderRefused
from model_store.foreign.class_scores import Reading
from model_store.foreign.labeled_images import LabeledImages

PROMISED_ACCURACY: Final = 0.95  # of the answers that are not referred
MISSED_CLASS: Final = 0.1  # share of prediction sets without the true class
CHANCE: Final = 3.0  # standard errors by which another order of the classes must be better
FEW_IMAGES: Final = 100  # held out; with fewer the card says little
SPLIT: Final = "held-out half of the labeled images"
SHOWN: Final = 5  # names in a note

Logits = npt.NDArray[np.float64]
Described: TypeAlias = tuple[dict[str, Any], list[str]]  # fields of the card, and notes


@dataclass(frozen=True)
class ClassTruth:
    """The class of each labeled image, as a place in `names`: labels (N,)."""

    data: LabeledImages
    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]

    @property
    def strata(self) -> npt.NDArray[np.int64]:
        """A number for each image, so that a sample can have its share of each."""
        return self.labels

    def judge(self, logits: Logits, chosen: Sequence[int]) -> tuple[float, Logits]:
        """Return accuracy, and NLL (n,) after the best temperature, of logits (n, K)."""
        labels = self.labels[chosen]
        probabilities = apply_temperature(logits, fit_temperature(logits, labels))
        return float((logits.argmax(axis=1) == labels).mean()), log_loss(probabilities, labels)

    def described(self, logits: Logits, *, anyway: bool) -> Described:
        """Fit on one half of the images, and measure on the other.

        Logits are (N, K) of all labeled images. Raises LabeledFolderRefused if labels say that the
        model is useless, or its classes are in another order, unless `anyway`.
        """
        held, notes = self.data.held_out, list[str]()
        fitted = fit_temperature(logits[~held], self.labels[~held])
        undetermined = at_bound(fitted, highest_temperature(logits[~held]))
        temperature = float(np.float32(1.0 if undetermined else fitted))  # as the graph holds it
        p, truth = apply_temperature(logits[held], temperature), self.labels[held]
        if not anyway:
            self._check_order(logits)
        confidence, predicted = top_label(p)
        right, constant = predicted == truth, np.bincount(truth).max() / len(truth)
        if right.mean() <= constant:
            always = self.names[int(np.bincount(truth).argmax())]
            short = (
                f"right on {100 * right.mean():.1f} % of {len(truth)} held-out images, and always "
                f"answering {always!r} would be right on {100 * constant:.1f} %"
            )
            if not anyway and not beats_constant_answer(p, truth):
                raise LabeledFolderRefused(_useless(f"with its best preprocessing it is {short}"))
            notes.append(f"It is {short}.")
        if undetermined:
            notes.append(
                f"Not calibrated: the temperature {fitted:g} is a bound of its range, so the "
                "labels do not determine it. They are too few, or the preprocessing or the order "
                "of the classes is wrong."
            )
        absent = [name for at, name in enumerate(self.names) if not (truth == at).any()]
        if absent:
            notes.append(
                f"No held-out image is of class {some(absent, SHOWN)}: nothing is known about "
                "those answers."
            )
        card = CalibrationCard.from_reference(
            method="none" if undetermined else "temperature",
            temperature=temperature,
            split=SPLIT,
            sums=BinSums.from_predictions(confidence, right),
            measures=Measures.from_probabilities(p, truth),
            confusion=confusion_matrix(p, truth),
            answers=count_answers(predicted, bin_index(confidence), p.shape[1]),
        )
        threshold = referral_threshold(confidence, right, promised_accuracy=PROMISED_ACCURACY)
        return {
            "calibration": card,
            "referral": Referral.from_threshold(threshold),
            "conformal": ConformalCard.from_sets(conformal(p, truth, alpha=MISSED_CLASS)),
        }, [*notes, *_few(len(truth))]

    def _check_order(self, logits: Logits) -> None:
        """Refuse an order of the classes that the labels contradict."""
        answered = logits.argmax(axis=1)
        table = np.zeros((len(self.names), len(self.names)), np.int64)
        np.add.at(table, (self.labels, answered), 1)
        usual = table.argmax(axis=0)  # the class that images with each answer mostly have
        seen = table.sum(axis=0) > 0
        usual[~seen] = np.flatnonzero(~seen)
        if len(set(usual.tolist())) < len(usual):
            return
        better = (usual[answered] == self.labels).astype(float) - (answered == self.labels)
        if better.mean() <= CHANCE * better.std(ddof=1) / np.sqrt(len(better)):
            return
        order = ",".join(self.names[each] for each in usual)
        raise LabeledFolderRefused(
            f"the labeled images contradict the order of the classes: as {','.join(self.names)} "
            f"the model is right on {100 * (answered == self.labels).mean():.0f} % of them, in "
            f"another order on {100 * (usual[answered] == self.labels).mean():.0f} %. Give "
            f"{parameter('classes', order)} if that is the order of its scores, or "
            f"{parameter('anyway', True)} to keep yours"
        )


@dataclass(frozen=True)
class FindingTruth:
    """What is known of each finding in each labeled image: labels (N, K) 1, 0, or NaN."""

    data: LabeledImages
    names: tuple[str, ...]
    labels: npt.NDArray[np.float64]

    @property
    def strata(self) -> npt.NDArray[np.int64]:
        """Whether any finding is present in each image."""
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

    def described(self, logits: Logits, *, anyway: bool) -> Described:
        """Fit and measure as `ClassTruth.described`.

        Raises LabeledFolderRefused if the model ranks no better than chance, and is no better than
        the prevalences, unless `anyway`.
        """
        held = self.data.held_out
        cards, columns = zip(*map(self._fitted, range(len(self.names)), logits.T), strict=True)
        p, labels = np.stack(columns, axis=1)[held], self.labels[held]
        if not anyway and not beats_prevalences(p, labels, self.data.groups[held]):
            self._check_useful(logits)
        known, notes = ~np.isnan(labels), _few(len(labels))
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
        pooled = binary_card(p[known], labels[known] == 1, split=SPLIT)
        return {"calibration": pooled, "findings": cards}, notes

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
                _useless(
                    "the model ranks its findings no better than chance: a mean AUROC of "
                    f"{float(np.mean(known)):.2f} over {len(known)} with labels"
                )
            )


Truth: TypeAlias = ClassTruth | FindingTruth
_TRUTHS: Final[dict[Reading, Callable[..., Truth]]] = {
    "exclusive": lambda data, names, labels: ClassTruth(
        data, names, np.nan_to_num(labels).argmax(axis=1)
    ),
    "findings": FindingTruth,
}
_UNFIT: Final[dict[Reading, str]] = {
    "exclusive": "the model's classes exclude each other, and the labels are a table of findings: "
    "give {} a folder, FOLDER/CLASS/IMAGE, or a table with the columns path and label",
    "findings": "the model gives findings, and the labels one class for each image: give {} a CSV "
    "file with the column path and one for each finding, 1, 0 or blank",
}


def truth_of(data: LabeledImages, names: tuple[str, ...], reading: Reading) -> Truth:
    """Return the labels in the order of the model's scores. Raises LabeledFolderRefused."""
    if data.reading != reading:
        raise LabeledFolderRefused(_UNFIT[reading].format(parameter("data")))
    return _TRUTHS[reading](data, names, data.labels(names))


def undescribed(names: Sequence[str], reading: Reading) -> Described:
    """Return what is known without labeled images, which is nothing."""
    nothing = BinSums.zeros()
    card = CalibrationCard.from_reference(
        method="none",
        temperature=1.0,
        split="none",
        sums=nothing,
        measures=Measures.from_sums(nothing),
    )
    note = (
        "Nothing is calibrated: no labeled images were given, so nothing is known about its "
        f"confidence. Import it again with {parameter('data')}, or serve it, send labels, and run "
        "`candor recalibrate`."
    )
    return {"calibration": card, **_UNLABELED[reading](names, card)}, [note]


_UNLABELED: Final[dict[Reading, Callable[[Sequence[str], CalibrationCard], dict[str, Any]]]] = {
    "exclusive": lambda _names, _card: {},
    "findings": lambda names, card: {
        "findings": tuple(
            FindingCard(name=name, threshold=0.5, labeled=0, positives=0, calibration=card)
            for name in names
        )
    },
}


def _useless(found: str) -> str:
    return (
        f"{found}. Most likely the classes are not in the order of the model's scores "
        f"({parameter('classes')}), or it was trained with another preprocessing "
        f"({parameter('pixels')}, {parameter('size')}). To publish it all the same, add "
        f"{parameter('anyway', True)}"
    )


def _few(held_out: int) -> list[str]:
    if held_out >= FEW_IMAGES:
        return []
    return [f"The card rests on {held_out} held-out images, which is few: look at its intervals."]


def _fitted(logits: Logits, labels: Logits) -> Affine:
    """Return the calibrator, or with few positives one that gives their share."""
    if (fitted := fit_finding(logits, labels)).fitted:
        return fitted
    known = labels[~np.isnan(labels)]
    share = (known.sum() + 1) / (len(known) + 2)
    return Affine((1e-6,), (float(np.log(share / (1 - share))),), "sigmoid")
