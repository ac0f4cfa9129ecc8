"""What the steps of the demo share: data, sites, folder and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from calibration.document import FigureTable, Verdict
from calibration.figures import MEASURES_COLUMNS, measures_row
from model_store.image import InputSpec
from model_store.store.store import Store
from model_store.tags import tags_of
from monitoring.diagnosis.facts import State
from monitoring.diagnosis.words import words_of
from monitoring.reports.report import Report
from serving.inference.predictor import GraphOutputs, open_predictor
from training.datasets import Dataset, Split
from training.datasets.dataset import ImageSource, fingerprint
from training.datasets.digits import NAME, intact_digits

SITES: Final = ("Harbor", "Hillside")
CHANGED: Final = SITES[1]  # its scanner
PICTURES_DAYS: Final = 365  # that the images of answers are kept
FITTED: Final = 2 / 3  # of the test images


@dataclass(frozen=True)
class DemoSession:
    """One run of the demo.

    Attributes:
        home: images like those that the model was made with, which it has not seen.
        out: folder of everything that the demo writes.
        order: draws the order in which images are sent.
        figures: every number of the demo, by step.
    """

    dataset: Dataset
    home: Split
    out: Path
    order: np.random.Generator
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The name under which the model is published: that of the data set."""
        return self.dataset.name

    @property
    def store(self) -> Store:
        """The demo's own model store."""
        return Store(self.out / "models")

    @property
    def ledger_url(self) -> str:
        """The demo's own ledger."""
        return f"sqlite:///{self.out / 'ledger.db'}"

    @cached_property
    def parts(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The test images in two parts: a remedy is fitted on one and verified on the other."""
        shuffled = self.order.permutation(len(self.test))
        fitted = round(FITTED * len(shuffled))
        return shuffled[:fitted], shuffled[fitted:]

    @property
    def test(self) -> Split:
        """The images of the changed scanner."""
        return self.dataset.splits["test"]

    def labels(self, split: Split, indices: Sequence[int]) -> list[str]:
        """The true classes of images, by name."""
        return [self.dataset.classes[split.labels[each]] for each in indices]


@dataclass(frozen=True)
class ChosenImages:
    """Some images of a source."""

    source: ImageSource
    indices: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def input(self, index: int, spec: InputSpec) -> npt.NDArray[np.uint8]:
        return self.source.input(self.indices[index], spec)

    def encoded(self, index: int) -> bytes:
        return self.source.encoded(self.indices[index])

    def digest(self, index: int) -> bytes:
        return self.source.digest(self.indices[index])


def hold_out(dataset: Dataset, order: np.random.Generator) -> tuple[Dataset, Split]:
    """Take half of the training images away, whole patients where they are known: what a
    model was made with is no evidence about it. Digits are few, and have others.
    """
    if dataset.name == NAME:
        return dataset, intact_digits()
    train = dataset.splits["train"]
    patients = np.arange(len(train)) if train.groups is None else train.groups
    known = np.unique(patients)
    kept = ~np.isin(patients, order.permutation(known)[: len(known) // 2])
    rest, held_out = (
        Split(ChosenImages(train.images, indices), train.labels[indices])
        for indices in (np.flatnonzero(kept), np.flatnonzero(~kept))
    )
    splits = {**dataset.splits, "train": rest}
    made = replace(dataset, splits=splits, fingerprint=fingerprint(dataset.classes, splits))
    return made, held_out


class OfflineAnswers:
    """What a version answers to images of a site, without a server."""

    def __init__(self, session: DemoSession, version: int) -> None:
        self._predictor = open_predictor(session.store.read(session.model, version))

    def of(self, split: Split, indices: Sequence[int], site: str) -> GraphOutputs:
        spec = self._predictor.card.input.spec
        found = self._predictor.infer(np.stack([split.images.input(i, spec) for i in indices]))
        by = self._predictor.calibrators.of(tags_of({"site": site}))
        return found._replace(probabilities=by(found.probabilities))


def side_by_side(measures: Mapping[str, Mapping[str, float | None]]) -> FigureTable:
    """Return a table with one row of measures per name."""
    return FigureTable(
        "", MEASURES_COLUMNS, [measures_row(name, each) for name, each in measures.items()]
    )


def verdict_of(report: Report) -> Verdict:
    """What a report says first."""
    words = words_of(report.diagnosis)
    tone = "ok" if report.diagnosis.state is State.FINE else "off"
    return Verdict(words.title, " ".join(words.summary), tone)
