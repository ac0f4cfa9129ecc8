"""The drift detector: a Shiryaev-Roberts e-detector of the claim that the model is calibrated.

With classes the claim is "P(correct | confidence p, predicted class) is p, within the tolerance",
for each class. Without classes it is the weaker "P(correct | confidence p) is p", about the average
over the classes. `calibration.drift.bets` says how much the tolerance is, in log-odds.

Each label places small bets against the claim, for over- and for underconfidence, in five sizes. A
bet moves p to the edge of the tolerance, and shifts its log-odds by d: q = sigmoid(logit(p) -+ d).
It multiplies by e = q/p if the answer was right and by e = (1-q)/(1-p) if it was wrong. While the
claim holds, E[e] <= 1.

The detector M <- e (M + 1) runs on the stream of all labels, on the stream of each confidence bin
and, if there are classes, on the stream of each predicted class. Every group (all, bins, classes)
has E[sum of M after n labels] <= n, and so has their mixture E. The mixture gives half to the
stream of all labels and a quarter each to bins and classes (half and half without classes), equally
over sides and shifts. For a finding, which is mostly rare, three quarters are for the stream of all
labels, and shifts of 0.4 and 0.8, such as of doubled odds, count double. The alarm is raised at E
>= ARL. So the mean number of labels between false alarms is ARL or more, however often anyone looks
(Shin, Ramdas and Rinaldo 2024, "E-detectors"). Detectors that share the false alarms each raise
theirs at ARL / part; their parts add up to 1.

`calibration.drift.bets` computes the bets exactly, in bulk.
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, FloatArray, IntArray, bin_index, paired
from calibration.drift.bets import BETS, StreamSteps, bets_of, ordered_sum, run, state_at, steps_of
from calibration.drift.state import (
    DIRECTIONS,
    Direction,
    DriftSettings,
    DriftState,
    LabelStream,
    no_evidence,
)

_CHUNK = 2048  # bets at a time, which bounds memory


class DriftDetector:
    """Feeds labels to a `DriftState`; its alarm is raised once and stays until `reset`.

    >>> detector = DriftDetector(DriftSettings(average_run_length=1000))
    >>> # 99 % confident, right half of the time
    >>> detector.update_many([0.99] * 40, [False, True] * 20)
    10
    >>> detector.active, detector.direction
    (True, 'over')
    """

    def __init__(self, settings: DriftSettings, state: DriftState | None = None) -> None:
        """Start from `state`, or from nothing. Raises ValueError for a state of other settings."""
        self.settings = settings
        self.state = state or DriftState(no_evidence(settings.rows))
        if len(self.state.m) != settings.rows:
            raise ValueError(
                f"the state has {len(self.state.m)} streams, the settings {settings.rows}: 1, "
                f"{BIN_COUNT} bins and {settings.class_count} classes"
            )

    def update(self, confidence: float, correct: bool, predicted: int | None = None) -> bool:
        """Add one label, as `update_many`; return True if it raises the alarm."""
        return (
            self.update_many([confidence], [correct], None if predicted is None else [predicted])
            is not None
        )

    def update_many(
        self,
        confidence: npt.ArrayLike,
        correct: npt.ArrayLike,
        predicted: npt.ArrayLike | None = None,
        bets: npt.ArrayLike | None = None,
    ) -> int | None:
        """Add labels in their order.

        Args:
            confidence: (N,) of the top label; `correct`: (N,) whether it was the true one.
            predicted: (N,) index of the predicted class, if the settings have classes.
            bets: (N,) integers. Labels of one number follow each other and share a bet, as images
                of one patient must. None: each label has its own.

        Returns:
            The index of the first label of the bet that raised the alarm, or None.

        Raises ValueError for values out of range, a class that the settings lack, bets that are
        taken up again, or shapes that differ. The state is unchanged then.
        """
        alarm: int | None = None
        for first, steps in self._chunks(confidence, correct, predicted, bets):
            raised = self._add(steps, len(first))
            alarm = int(first[raised]) if raised is not None else alarm
        return alarm

    def reset(self) -> None:
        """Forget all evidence and the alarm, after an acknowledgment or for a new calibrator."""
        self.state = DriftState(no_evidence(self.settings.rows))

    def with_settings(self, settings: DriftSettings) -> "DriftDetector":
        """Return a detector with other settings for the labels to come.

        It keeps the evidence of the stream of all labels and of the bins, and that of the classes
        if their number is the same. Without classes, the bins get the share of the classes. If
        `audit` changes, other labels will be shown than before, and all evidence is forgotten. An
        active alarm stays active.
        """
        m, old = no_evidence(settings.rows), self.state
        if settings.audit == self.settings.audit:
            kept = (
                settings.rows
                if settings.class_count == self.settings.class_count
                else 1 + BIN_COUNT
            )
            m[:kept] = old.m[:kept]
        return DriftDetector(
            settings, DriftState(m, old.labels, old.alarm_label, old.direction, old.row)
        )

    @property
    def evidence(self) -> FloatArray:
        """(rows, 2) the part of E that each stream and side holds."""
        return self.settings.evidence(self.state.m)

    @property
    def log_evalue(self) -> float:
        """log E, the evidence against calibration; minus infinity before the first label."""
        total = float(self.evidence.sum())
        return math.log(total) if total > 0 else -math.inf

    @property
    def log_threshold(self) -> float:
        """log E at which the alarm is raised."""
        return math.log(self.settings.threshold)

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
        """The side that raised the alarm: 'over' means that confidence exceeds accuracy."""
        return self.state.direction

    @property
    def stream(self) -> LabelStream | None:
        """The stream with the most evidence when the alarm was raised."""
        return None if self.state.row is None else self.settings.stream(self.state.row)

    @property
    def labels(self) -> int:
        """Labels seen since the last reset; those that share a bet count as one."""
        return self.state.labels

    def _chunks(
        self,
        confidence: npt.ArrayLike,
        correct: npt.ArrayLike,
        predicted: npt.ArrayLike | None,
        bets: npt.ArrayLike | None,
    ) -> Iterator[tuple[IntArray, StreamSteps]]:
        """The labels in parts, all checked at first: first labels of bets, and steps."""
        p, right = paired(np.asarray(confidence, dtype=np.float64), np.asarray(correct, bool))
        streams, first = self._streams(p, predicted), _first_labels(bets, len(p))
        for start in range(0, len(first), _CHUNK):
            chosen = first[start : start + _CHUNK]
            end = first[start + _CHUNK] if start + _CHUNK < len(first) else len(p)
            part = slice(int(chosen[0]), int(end))
            owner = np.searchsorted(chosen, np.arange(part.start, part.stop), side="right") - 1
            of_labels = bets_of(
                p[part], right[part], self.settings.tolerance, flat=self.settings.flat
            )
            yield chosen, steps_of(of_labels, streams[part], owner)

    def _streams(self, confidence: FloatArray, predicted: npt.ArrayLike | None) -> IntArray:
        """(N, groups) the rows that each label belongs to."""
        rows = [
            np.zeros(len(confidence), dtype=np.int64),
            1 + bin_index(confidence),
        ]
        if self.settings.class_count:
            rows.append(1 + BIN_COUNT + self._classes(predicted, len(confidence)))
        return np.stack(rows, axis=1)

    def _classes(self, predicted: npt.ArrayLike | None, count: int) -> IntArray:
        classes = np.asarray([] if predicted is None else predicted, dtype=np.int64)
        known = self.settings.class_count
        if classes.shape != (count,) or (
            count and not (classes.min() >= 0 and classes.max() < known)
        ):
            raise ValueError(
                f"predicted must hold {count} classes in 0..{known - 1}; got shape {classes.shape}"
            )
        return classes

    def _add(self, steps: StreamSteps, bets: int) -> int | None:
        """Add at most _CHUNK bets; return the number of the one that raised the alarm."""
        before = self.state.m.reshape(-1, BETS)
        trace, after = run(before, steps)
        totals = self._totals(before, trace, steps, bets)
        raised = None if self.active else self._first_over(totals)
        if raised is not None:
            self._raise(state_at(before, trace, steps, raised), self.state.labels + raised + 1)
        self.state.m = after.reshape(self.state.m.shape)
        self.state.labels += bets
        return raised

    def _raise(self, m: FloatArray, label: int) -> None:
        """Remember the alarm: the label that raised it, and the stream with the most evidence."""
        evidence = self.settings.evidence(m.reshape(self.state.m.shape))
        row, side = divmod(int(evidence.argmax()), 2)
        self.state.alarm_label = label
        self.state.row, self.state.direction = row, DIRECTIONS[side]

    def _first_over(self, totals: FloatArray) -> int | None:
        """The first bet after which E reaches the threshold."""
        over = totals >= self.settings.threshold * self.settings.whole
        return int(over.argmax()) if over.any() else None

    def _totals(
        self, before: FloatArray, trace: FloatArray, steps: StreamSteps, bets: int
    ) -> FloatArray:
        """(bets,) E after each, in units of 1 / whole, so that sums are exact."""
        shares, sizes = self.settings.shares, self.settings.sizes
        row_sums = np.empty((bets + 1, len(before)))
        row_sums[0] = shares * ordered_sum(before * sizes)
        # the bet that last changed each row's sum
        latest = np.zeros((bets + 1, len(before)), dtype=np.int64)
        number = steps.owner + 1
        row_sums[number, steps.rows] = shares[steps.rows] * ordered_sum(trace * sizes)
        latest[number, steps.rows] = number
        standing = np.take_along_axis(row_sums, np.maximum.accumulate(latest, axis=0), axis=0)
        return ordered_sum(standing[1:])


def _first_labels(bets: npt.ArrayLike | None, count: int) -> IntArray:
    if bets is None:
        return np.arange(count)
    numbers = np.asarray(bets, dtype=np.int64)
    if numbers.shape != (count,):
        raise ValueError(f"bets must hold {count} numbers; got shape {numbers.shape}")
    first = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 1)) if count else numbers
    if len(np.unique(numbers)) < len(first):
        raise ValueError("the labels of one bet must follow each other")
    return first
