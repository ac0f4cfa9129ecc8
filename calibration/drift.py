"""The drift watch: a Shiryaev-Roberts e-detector on the claim "P(correct | confidence p) is within eps of p".

Each label lets small bets be placed against the claim, for over- and for underconfidence, in five sizes: a bet of
log-odds shift d multiplies by e = q/p if the answer was right and by (1-q)/(1-p) if it was wrong, with
q = sigmoid(logit(p) -+ d) and p moved by eps in the claim's favor. While the claim holds, E[e] <= 1. The detector
M <- e (M + 1) is kept for the whole stream and for each confidence bin (on its own clock), and their mixture E has
E[E after n labels] <= n. Raising the alarm at E >= ARL therefore keeps the mean number of labels between false alarms
at ARL or more, however often one looks (Shin, Ramdas and Rinaldo 2024, "E-detectors").
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, FloatArray, bin_index

LOG_ODDS_SHIFTS = np.array([0.1, 0.2, 0.4, 0.8, 1.6])
_CLIP = 1e-6

Direction = Literal["over", "under"]


@dataclass(frozen=True)
class DriftSettings:
    """What the alarm promises.

    Attributes:
        average_run_length: labels between false alarms, on average at least this many.
        tolerance: eps, the miscalibration in probability that is not worth an alarm, in [0, 0.5).
        bin_count: confidence bins with a detector of their own.
    """

    average_run_length: float = 1e5
    tolerance: float = 0.01
    bin_count: int = BIN_COUNT

    def __post_init__(self) -> None:
        if not self.average_run_length > 1:
            raise ValueError(f"average_run_length must exceed 1; got {self.average_run_length}")
        if not 0 <= self.tolerance < 0.5:
            raise ValueError(f"tolerance must lie in [0, 0.5); got {self.tolerance}")


@dataclass
class DriftState:
    """Everything the detector remembers, as plain data.

    Attributes:
        log_m: (1 + bins, 2 sides, 5 shifts) log M; row 0 is the whole stream; side 0 is over-, 1 underconfidence.
        labels: labels seen since the last reset.
        alarm_label: how many labels had been seen when the alarm was raised; None while there is none.
        direction: the side with the most evidence when the alarm was raised.
    """

    log_m: FloatArray = field(default_factory=lambda: _no_evidence(BIN_COUNT))
    labels: int = 0
    alarm_label: int | None = None
    direction: Direction | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON. Floats survive exactly; minus infinity (no evidence) is written as None."""
        flat = [None if value == -math.inf else value for value in self.log_m.ravel().tolist()]
        return {
            "log_m": flat,
            "labels": self.labels,
            "alarm_label": self.alarm_label,
            "direction": self.direction,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "DriftState":
        """Rebuild a state from `as_dict`, bit by bit."""
        flat = np.array([-math.inf if value is None else value for value in data["log_m"]], dtype=np.float64)
        shape = (-1, 2, len(LOG_ODDS_SHIFTS))
        return cls(flat.reshape(shape), data["labels"], data["alarm_label"], data["direction"])


class DriftDetector:
    """Feeds labels to a `DriftState` and raises the alarm once; it stays raised until `reset`.

    >>> detector = DriftDetector(DriftSettings(average_run_length=1000))
    >>> detector.update_many([0.99] * 40, [False, True] * 20)   # sure, and wrong half the time
    10
    >>> detector.active, detector.direction
    (True, 'over')
    """

    def __init__(self, settings: DriftSettings, state: DriftState | None = None) -> None:
        self.settings = settings
        self.state = state or DriftState(_no_evidence(settings.bin_count))
        if self.state.log_m.shape[0] != settings.bin_count + 1:
            raise ValueError(f"the state has {self.state.log_m.shape[0] - 1} bins, the settings {settings.bin_count}")

    def update(self, confidence: float, correct: bool) -> bool:
        """Take one label into account; return True if it is the one that raises the alarm.

        Args:
            confidence: of the top label, in [0, 1].
            correct: whether the true label was the top label.

        Raises:
            ValueError: a confidence outside [0, 1]; the state stays as it was.
        """
        state = self.state
        rows = [0, 1 + int(bin_index(confidence, self.settings.bin_count))]
        bets = _log_bets(confidence, correct, self.settings.tolerance)  # (2, 5)
        state.log_m[rows] = bets + np.logaddexp(state.log_m[rows], 0.0)  # log of e (M + 1)
        state.labels += 1
        if self.active or self.log_evalue < self.log_threshold:
            return False
        state.alarm_label, state.direction = state.labels, self._heavier_side()
        return True

    def update_many(self, confidence: npt.ArrayLike, correct: npt.ArrayLike) -> int | None:
        """Take labels in order; return the index of the one that raised the alarm, or None."""
        alarm = None
        pairs = zip(np.asarray(confidence).tolist(), np.asarray(correct).tolist(), strict=True)
        for index, (p, c) in enumerate(pairs):
            if self.update(p, bool(c)):
                alarm = index
        return alarm

    def reset(self) -> None:
        """Forget all evidence and the alarm: after an acknowledgment, or for a new calibrator."""
        self.state = DriftState(_no_evidence(self.settings.bin_count))

    @property
    def log_evalue(self) -> float:
        """log E, the evidence against calibration; minus infinity before the first label."""
        return float(np.logaddexp.reduce(self._weighted().ravel()))

    @property
    def log_threshold(self) -> float:
        """log ARL, at which the alarm is raised."""
        return math.log(self.settings.average_run_length)

    @property
    def active(self) -> bool:
        """Whether the alarm has been raised and not reset."""
        return self.state.alarm_label is not None

    @property
    def alarm_label(self) -> int | None:
        """How many labels had been seen when the alarm was raised."""
        return self.state.alarm_label

    @property
    def direction(self) -> Direction | None:
        """Which side raised the alarm: 'over' means that confidence exceeds accuracy."""
        return self.state.direction

    @property
    def labels(self) -> int:
        """Labels seen since the last reset."""
        return self.state.labels

    def _weighted(self) -> FloatArray:
        """log of each component's share of E: half for the stream, half for the bins, equal over sides and shifts."""
        log_m = self.state.log_m
        return log_m - math.log(2 * log_m[0].size)

    def _heavier_side(self) -> Direction:
        over, under = (np.logaddexp.reduce(self._weighted()[:, side].ravel()) for side in (0, 1))
        return "over" if over >= under else "under"


def _no_evidence(bin_count: int) -> FloatArray:
    return np.full((bin_count + 1, 2, len(LOG_ODDS_SHIFTS)), -math.inf)


def _log_bets(confidence: float, correct: bool, tolerance: float) -> FloatArray:
    """(2, 5) log e of the bets on one label; a side that the claim's tolerance leaves no room on bets nothing."""
    bets = np.zeros((2, len(LOG_ODDS_SHIFTS)))
    low, high = max(confidence - tolerance, _CLIP), min(confidence + tolerance, 1 - _CLIP)
    if confidence - tolerance > _CLIP:
        bets[0] = _log_ratio(low, -LOG_ODDS_SHIFTS, correct)
    if confidence + tolerance < 1 - _CLIP:
        bets[1] = _log_ratio(high, LOG_ODDS_SHIFTS, correct)
    return bets


def _log_ratio(p: float, shift: FloatArray, correct: bool) -> FloatArray:
    """log of q/p if correct, else of (1-q)/(1-p), where q = sigmoid(logit(p) + shift)."""
    normalizer = np.log1p(p * np.expm1(shift))  # q = p e^shift / (1 - p + p e^shift)
    return shift - normalizer if correct else -normalizer
