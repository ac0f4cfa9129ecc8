"""The drift watch: a Shiryaev-Roberts e-detector on the claim "P(correct | confidence p) is within eps of p".

Each label lets small bets be placed against the claim, for over- and for underconfidence, in five sizes: a bet of
log-odds shift d multiplies by e = q/p if the answer was right and by (1-q)/(1-p) if it was wrong, with
q = sigmoid(logit(p) -+ d) and p moved by eps in the claim's favor. While the claim holds, E[e] <= 1. The detector
M <- e (M + 1) is kept for the whole stream, for each confidence bin and for each predicted class (each on its own
clock). Every group (stream, bins, classes) has E[sum of M after n labels] <= n, and so has E, their mixture: half for
the stream, a quarter each for bins and classes (half and half without classes), equal over sides and shifts.
Raising the alarm at E >= ARL therefore keeps the mean number of labels between false alarms at ARL or more, however
often one looks (Shin, Ramdas and Rinaldo 2024, "E-detectors"). When and where it began: `calibration.onset`.

The bets themselves, which are exact in bulk: `calibration.bets`.
"""

import base64
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from calibration.bets import BETS, LOG_ODDS_SHIFTS, bets_of, ordered_sum, run, state_at
from calibration.bins import BIN_COUNT, FloatArray, IntArray, bin_index

FORMAT = 2  # of a saved state; one of another format is rebuilt from its labels
_CHUNK = 2048  # labels taken up together, which bounds memory

Direction = Literal["over", "under"]
DIRECTIONS: tuple[Direction, Direction] = ("over", "under")


class StateOutdated(ValueError):
    """A saved state of another format: show the labels again to a new detector."""


@dataclass(frozen=True)
class DriftSettings:
    """What the alarm promises.

    Attributes:
        average_run_length: labels between false alarms, on average at least this many.
        tolerance: eps, the miscalibration in probability that is not worth an alarm, in [0, 0.5).
        bin_count: confidence bins with a detector of their own.
        class_count: predicted classes with a detector of their own; 0 for none.
        audit: whether only labels of answers drawn at random for an audit are to be shown to the detector. The draw
            does not depend on the outcome, so the claim holds for them as it does for all, at any probability of the
            draw: the bets need no weights.
    """

    average_run_length: float = 1e5
    tolerance: float = 0.01
    bin_count: int = BIN_COUNT
    class_count: int = 0
    audit: bool = False

    def __post_init__(self) -> None:
        if not self.average_run_length > 1:
            raise ValueError(f"average_run_length must exceed 1; got {self.average_run_length}")
        if not 0 <= self.tolerance < 0.5:
            raise ValueError(f"tolerance must lie in [0, 0.5); got {self.tolerance}")
        if self.class_count < 0:
            raise ValueError(f"class_count must be 0 or more; got {self.class_count}")

    @property
    def rows(self) -> int:
        """Streams: the whole, the bins, the classes."""
        return 1 + self.bin_count + self.class_count

    @property
    def shares(self) -> FloatArray:
        """(rows,) each stream's share of the evidence, in units of 1 / `parts`: whole numbers, so that it is exact."""
        shares = np.ones(self.rows)
        shares[0] = self.parts - (2 if self.class_count else 1)
        return shares

    @property
    def parts(self) -> int:
        """What the shares of the groups (whole, bins, classes) add up to."""
        return 4 if self.class_count else 2


@dataclass(frozen=True)
class LabelStream:
    """One stream of labels: all of them, or those of a confidence bin or of a predicted class (`index`)."""

    kind: Literal["all", "bin", "class"]
    index: int | None = None


@dataclass
class DriftState:
    """Everything the detector remembers, as plain data.

    Attributes:
        m: (rows, 2 sides, 5 shifts) M, in [0, 1e280]; row 0 is the whole stream, then bins, then classes; side 0 is
            over-, 1 underconfidence.
        labels: labels seen since the last reset.
        alarm_label: how many labels had been seen when the alarm was raised; None while there is none.
        direction: the side with the most evidence in the stream with the most, when the alarm was raised.
        row: that stream's row.
    """

    m: FloatArray = field(default_factory=lambda: _no_evidence(DriftSettings().rows))
    labels: int = 0
    alarm_label: int | None = None
    direction: Direction | None = None
    row: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON. `m` is base64 of little-endian float64, so that it survives exactly."""
        return {
            "format": FORMAT,
            "m": base64.b64encode(self.m.astype("<f8").tobytes()).decode("ascii"),
            "labels": self.labels,
            "alarm_label": self.alarm_label,
            "direction": self.direction,
            "row": self.row,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "DriftState":
        """Rebuild a state from `as_dict`, bit by bit. Raises StateOutdated for one of another format."""
        if data.get("format") != FORMAT:
            raise StateOutdated(f"the state has format {data.get('format', 1)}, this release reads format {FORMAT}")
        flat = np.frombuffer(base64.b64decode(data["m"]), dtype="<f8").astype(np.float64)
        m = flat.reshape(-1, 2, len(LOG_ODDS_SHIFTS))
        return cls(m, data["labels"], data["alarm_label"], data["direction"], data["row"])


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
        self.state = state or DriftState(_no_evidence(settings.rows))
        if len(self.state.m) != settings.rows:
            raise ValueError(
                f"the state has {len(self.state.m)} streams, the settings {settings.rows}: 1, {settings.bin_count} "
                f"bins and {settings.class_count} classes"
            )

    def update(self, confidence: float, correct: bool, predicted: int | None = None) -> bool:
        """Take one label into account; return True if it is the one that raises the alarm. As `update_many`."""
        return self.update_many([confidence], [correct], None if predicted is None else [predicted]) is not None

    def update_many(
        self, confidence: npt.ArrayLike, correct: npt.ArrayLike, predicted: npt.ArrayLike | None = None
    ) -> int | None:
        """Take labels into account in their order.

        Args:
            confidence: (N,) of the top label, in [0, 1].
            correct: (N,) bool, whether the true label was the top label.
            predicted: (N,) index of the predicted class; needed if the settings have classes, else ignored.

        Returns:
            The index of the label that raised the alarm, or None.

        Raises:
            ValueError: a confidence outside [0, 1], a class outside the settings' or none given, or shapes that differ;
                the state stays as it was.
        """
        p = np.asarray(confidence, dtype=np.float64)
        right = np.asarray(correct, dtype=bool)
        if p.ndim != 1 or p.shape != right.shape:
            raise ValueError(f"confidence {p.shape} and correct {right.shape} must both be of shape (N,)")
        streams = self._streams(p, predicted)
        alarm: int | None = None
        for start in range(0, len(p), _CHUNK):
            part = slice(start, start + _CHUNK)
            raised = self._take(bets_of(p[part], right[part], self.settings.tolerance), streams[part])
            alarm = start + raised if raised is not None else alarm
        return alarm

    def reset(self) -> None:
        """Forget all evidence and the alarm: after an acknowledgment, or for a new calibrator."""
        self.state = DriftState(_no_evidence(self.settings.rows))

    def with_settings(self, settings: DriftSettings) -> "DriftDetector":
        """A detector with other settings for the labels to come.

        What is known of the whole and the bins is kept, of the classes if their number is the same. If the labels that
        will be shown are others than before (`audit`), all evidence is forgotten. An alarm stays raised.

        Raises:
            ValueError: another number of bins.
        """
        if settings.bin_count != self.settings.bin_count:
            raise ValueError(f"the state has {self.settings.bin_count} bins, the settings {settings.bin_count}")
        m, old = _no_evidence(settings.rows), self.state
        if settings.audit == self.settings.audit:
            kept = settings.rows if settings.class_count == self.settings.class_count else 1 + settings.bin_count
            m[:kept] = old.m[:kept]
        return DriftDetector(settings, DriftState(m, old.labels, old.alarm_label, old.direction, old.row))

    @property
    def evidence(self) -> FloatArray:
        """(rows, 2) each stream's and side's part of E."""
        return _evidence(self.state.m, self.settings)

    @property
    def log_evalue(self) -> float:
        """log E, the evidence against calibration; minus infinity before the first label."""
        total = float(self.evidence.sum())
        return math.log(total) if total > 0 else -math.inf

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
    def stream(self) -> LabelStream | None:
        """Which stream had the most evidence when the alarm was raised."""
        return None if self.state.row is None else self.stream_of(self.state.row)

    @property
    def labels(self) -> int:
        """Labels seen since the last reset."""
        return self.state.labels

    def stream_of(self, row: int) -> LabelStream:
        """What a row of the state watches."""
        if row == 0:
            return LabelStream("all")
        bins = self.settings.bin_count
        return LabelStream("bin", row - 1) if row <= bins else LabelStream("class", row - 1 - bins)

    def _streams(self, confidence: FloatArray, predicted: npt.ArrayLike | None) -> IntArray:
        """(N, groups) the rows that each label belongs to."""
        rows = [np.zeros(len(confidence), dtype=np.int64), 1 + bin_index(confidence, self.settings.bin_count)]
        if self.settings.class_count:
            rows.append(1 + self.settings.bin_count + self._classes(predicted, len(confidence)))
        return np.stack(rows, axis=1)

    def _classes(self, predicted: npt.ArrayLike | None, count: int) -> IntArray:
        classes = np.asarray([] if predicted is None else predicted, dtype=np.int64)
        known = self.settings.class_count
        if classes.shape != (count,) or (count and not (classes.min() >= 0 and classes.max() < known)):
            raise ValueError(f"predicted must hold {count} classes in 0..{known - 1}; got shape {classes.shape}")
        return classes

    def _take(self, bets: FloatArray, streams: IntArray) -> int | None:
        """Take at most _CHUNK labels: (n, 10) bets and (n, groups) rows; the index of the one that raised the alarm."""
        before = self.state.m.reshape(-1, BETS)
        trace, after = run(before, bets, streams)
        raised = None if self.active else self._first_over(before, trace, streams)
        if raised is not None:
            self.state.alarm_label = self.state.labels + raised + 1
            m = state_at(before, trace, streams, raised).reshape(self.state.m.shape)
            self.state.row, self.state.direction = _heaviest(_evidence(m, self.settings))
        self.state.m = after.reshape(self.state.m.shape)
        self.state.labels += len(bets)
        return raised

    def _first_over(self, before: FloatArray, trace: FloatArray, streams: IntArray) -> int | None:
        """The first label after which E >= ARL."""
        (n, groups), shares = streams.shape, self.settings.shares
        row_sums = np.empty((n + 1, len(before)))
        row_sums[0] = shares * ordered_sum(before)
        latest = np.zeros((n + 1, len(before)), dtype=np.int64)  # since which label a row's sum has stood
        number = np.arange(1, n + 1)
        sums = ordered_sum(trace).reshape(n, groups)
        for group in range(groups):
            row_sums[number, streams[:, group]] = shares[streams[:, group]] * sums[:, group]
            latest[number, streams[:, group]] = number
        standing = np.take_along_axis(row_sums, np.maximum.accumulate(latest, axis=0), axis=0)
        over = ordered_sum(standing[1:]) >= self.settings.average_run_length * (self.settings.parts * BETS)
        return int(over.argmax()) if over.any() else None


def _no_evidence(rows: int) -> FloatArray:
    return np.zeros((rows, 2, len(LOG_ODDS_SHIFTS)))


def _evidence(m: FloatArray, settings: DriftSettings) -> FloatArray:
    """(rows, 2) each stream's and side's part of E, from (rows, 2, 5) M."""
    return np.asarray(settings.shares[:, None] * m.sum(axis=2) / (settings.parts * BETS))


def _heaviest(evidence: FloatArray) -> tuple[int, Direction]:
    """The row and the side with the most evidence."""
    row, side = divmod(int(evidence.argmax()), 2)
    return row, DIRECTIONS[side]
