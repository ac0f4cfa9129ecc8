"""What the steps of the demo share: data, folder and figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from calibration.document import FigureTable
from calibration.figures import MEASURES_COLUMNS, measures_row
from model_store.store.store import Store
from training.datasets import Dataset


@dataclass(frozen=True)
class DemoSession:
    """One run of the demo.

    Attributes:
        out: folder of everything that the demo writes.
        order: draws the order in which images are sent.
        figures: every number of the demo, by step.
    """

    dataset: Dataset
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


def side_by_side(measures: Mapping[str, Mapping[str, float | None]]) -> FigureTable:
    """Return a table with one row of measures per name."""
    return FigureTable(
        "", MEASURES_COLUMNS, [measures_row(name, each) for name, each in measures.items()]
    )
