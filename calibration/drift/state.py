"""The settings of the drift detector, and its memory between labels, as data to save."""

import base64
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from calibration.bins import BIN_COUNT, FloatArray
from calibration.drift.bets import BETS, LOG_ODDS_SHIFTS

Direction = Literal["over", "under"]
DIRECTIONS: tuple[Direction, Direction] = ("over", "under")
_EQUAL = np.ones(BETS)
_OF_FINDINGS = np.array([1.0, 1.0, 2.0, 2.0, 1.0] * 2)  # doubled odds are what matters


@dataclass(frozen=True)
class DriftSettings:
    """What the alarm promises.

    Attributes:
        average_run_length: mean number of labels between false alarms, at least; greater than 1.
        tolerance: t, in [0, 1]. An error of t (1 + z^2) in log-odds, at confidences of log-odds z,
            is not worth an alarm (`calibration.drift.bets`).
        flat: whether an error of t is too little at every log-odds, as with the probability of a
            finding.
        class_count: predicted classes, each with a detector of its own; 0 for none.
        part: of the false alarms that the average run length allows, in (0, 1]: what this detector
            may raise, if others share them.
        class_wise: whether a watch gives each class of its model a detector. If so, its claim is
            about P(correct | confidence, predicted class), else about P(correct | confidence).
        audit: whether the detector sees only labels of answers drawn at random for an audit. The
            draw does not depend on the outcome, so the claim holds for drawn answers as for all,
            whatever the probability of the draw. The bets need no weights.
    """

    average_run_length: float = 1e5
    tolerance: float = 0.025
    class_count: int = 0
    audit: bool = False
    class_wise: bool = True
    part: float = 1.0
    flat: bool = False

    def __post_init__(self) -> None:
        if not self.average_run_length > 1:
            raise ValueError(f"average_run_length must exceed 1; got {self.average_run_length}")
        if not 0 <= self.tolerance <= 1:
            raise ValueError(f"tolerance must be in [0, 1]; got {self.tolerance}")

    @property
    def threshold(self) -> float:
        """The evidence E at which the alarm is raised."""
        return self.average_run_length / self.part

    @property
    def rows(self) -> int:
        """Number of streams: one of all labels, one per bin, one per class."""
        return 1 + BIN_COUNT + self.class_count

    @property
    def shares(self) -> FloatArray:
        """(rows,) each stream's share of the evidence in units of 1 / `parts`, a whole number."""
        shares = np.ones(self.rows)
        shares[0] = self.parts - (2 if self.class_count else 1)
        return shares

    @property
    def parts(self) -> int:
        """Sum of the shares of the groups (all labels, bins, classes)."""
        return 4 if self.class_count or self.flat else 2

    @property
    def sizes(self) -> FloatArray:
        """(10,) each bet's share of its stream's evidence, a whole number."""
        return _OF_FINDINGS if self.flat else _EQUAL

    @property
    def whole(self) -> float:
        """Sum of all shares: of the groups (all labels, bins, classes), times those of bets."""
        return self.parts * float(self.sizes.sum())

    def stream(self, row: int) -> "LabelStream":
        """Return the stream that a row of the state belongs to."""
        if row == 0:
            return LabelStream("all")
        return (
            LabelStream("bin", row - 1)
            if row <= BIN_COUNT
            else LabelStream("class", row - 1 - BIN_COUNT)
        )

    def evidence(self, m: FloatArray) -> FloatArray:
        """Return (rows, 2), the part of E that each stream and side holds, from M (rows, 2, 5)."""
        by_side = (m * self.sizes.reshape(m.shape[1:])).sum(axis=2)
        return np.asarray(self.shares[:, None] * by_side / self.whole)


@dataclass(frozen=True)
class LabelStream:
    """All labels, or those of one confidence bin or one predicted class (`index`)."""

    kind: Literal["all", "bin", "class"]
    index: int | None = None


@dataclass
class DriftState:
    """Everything the detector remembers, as plain data.

    Attributes:
        m: (rows, 2 sides, 5 shifts) M, in [0, 1e280]. Row 0 is the stream of all labels, then bins,
            then classes; side 0 is overconfidence, side 1 underconfidence.
        labels: labels seen since the last reset.
        alarm_label: how many labels had been seen when the alarm was raised; None without an alarm.
        direction: the side with the most evidence, in the stream with the most, when the alarm was
            raised.
        row: that stream's row.
    """

    m: FloatArray = field(default_factory=lambda: no_evidence(DriftSettings().rows))
    labels: int = 0
    alarm_label: int | None = None
    direction: Direction | None = None
    row: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON. `m` is little-endian float64 in base64, so no bit is lost."""
        return {
            "m": base64.b64encode(self.m.astype("<f8").tobytes()).decode("ascii"),
            "labels": self.labels,
            "alarm_label": self.alarm_label,
            "direction": self.direction,
            "row": self.row,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "DriftState":
        """Rebuild a state from `as_dict`, bit for bit."""
        flat = np.frombuffer(base64.b64decode(data["m"]), dtype="<f8").astype(np.float64)
        m = flat.reshape(-1, 2, len(LOG_ODDS_SHIFTS))
        return cls(m, data["labels"], data["alarm_label"], data["direction"], data["row"])


def no_evidence(rows: int) -> FloatArray:
    """Return M (rows, 2, 5) before the first label."""
    return np.zeros((rows, 2, len(LOG_ODDS_SHIFTS)))
