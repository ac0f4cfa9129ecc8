"""What became of earlier answers like this one, as the sentence beside a probability.

Answers are alike if they name the same class with a confidence in the same bin. A pool over all
classes would hide that one class is always right and another is not. The sentence speaks of
answers, never of this patient's risk, with one denominator, 100.

Sources: IPDAS on presenting probabilities (one denominator, a named reference class); Gigerenzer
2011 (natural frequencies).
"""

import math
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from calibration.bins import BIN_COUNT, bin_of
from calibration.diagnosis.facts import main_deviation
from calibration.measures.metrics import Interval
from calibration.measures.reliability import wilson_interval
from calibration.wording import counted, probability
from monitoring.diagnosis.reading import read_inferred
from monitoring.drift import watch
from monitoring.ledger.database import Ledger
from monitoring.ledger.days import day_date
from monitoring.ledger.schema import DAY_NS, EVERYTHING, bin_day
from monitoring.ledger.sum_tables import summed
from monitoring.ledger.watched_version import WatchedVersion

ENOUGH_LABELS = 30  # with fewer, the share of right answers is too uncertain to be quoted
NEARLY_ALL = 0.98  # with as many of the answers labeled, the choice of the labels explains nothing


@dataclass(frozen=True)
class AnswerRecord:
    """Earlier answers of a version that name `predicted`, with a confidence in the same bin; of a
    finding, those with a probability in the same bin, which are `right` if it was present.

    Attributes:
        lower, upper: the bin, (lower, upper].
        served: how many there are; `labeled`: those with a label; `right`: those of them that were
            right.
        mean_confidence: of the labeled ones; NaN without labels.
        since: the first day (UTC) on which one was served; None if none was.
        alarm: whether the drift alarm of the version is active.
    """

    predicted: str
    confidence: float
    lower: float
    upper: float
    served: int
    labeled: int
    right: int
    mean_confidence: float
    since: str | None
    alarm: bool

    @property
    def interval(self) -> Interval:
        """The 95 % Wilson interval of the share of right answers. Needs at least one label."""
        return wilson_interval(self.right / self.labeled, self.labeled)

    @property
    def is_early(self) -> bool:
        """Whether too few such answers have labels to say anything."""
        return self.labeled < ENOUGH_LABELS

    @property
    def is_contradicted(self) -> bool:
        """Whether labels show another accuracy than this confidence, and than the bin's mean.

        In a wide bin with many labels, a confidence near the edge is off the mean accuracy of a
        calibrated model too.
        """
        if self.is_early:
            return False
        lower, upper = self.interval
        return not any(lower <= each <= upper for each in (self.confidence, self.mean_confidence))

    @property
    def is_doubtful(self) -> bool:
        """Whether the confidence is not to be relied on."""
        return self.alarm or self.is_contradicted

    @property
    def of_finding(self) -> str:
        """The same of a finding, in short."""
        at = f"at {round(100 * self.lower)} to {round(100 * self.upper)} %"
        if self.is_early:
            return f"{counted(self.labeled, 'label')} {at}: too few to say how often it is present."
        lower, upper = self.interval
        return (
            f"Present in {self.right:,} of {counted(self.labeled, 'labeled answer')} {at} (95 % "
            f"interval {math.floor(100 * lower)} to {math.ceil(100 * upper)} in 100)."
            f"{' Do not rely on this probability.' if self.is_doubtful else ''}"
        )

    @property
    def sentences(self) -> str:
        """What a reader should know before relying on the confidence."""
        confidence = probability(self.confidence, 0)
        that = "this confidence" if self.confidence >= 0.995 else f"the {confidence}"
        warned = f"Do not rely on {that}." if self.is_doubtful else ""
        alarm = "The drift alarm of this version is active." if self.alarm else ""
        return " ".join(part for part in (warned, alarm, self._record(), self._coverage()) if part)

    def _record(self) -> str:
        alike = f"such answers at {round(100 * self.lower)} to {round(100 * self.upper)} %"
        if self.labeled == 0:
            return f"No label of {alike} has arrived: nothing shows how often they are right."
        if self.is_early:
            are = "is" if self.labeled == 1 else "are"
            labels = counted(self.labeled, "label")
            return (
                f"So far there {are} {labels} of {alike}: too few to say how often these are right."
            )
        lower, upper = self.interval
        return (
            f"Of {self.labeled:,} {alike} since {self.since} that have a label, {self.right:,} "
            f"were right ({round(100 * self.right / self.labeled)} in 100; 95 % interval "
            f"{math.floor(100 * lower)} to {math.ceil(100 * upper)})."
        )

    def _coverage(self) -> str:
        share = self.labeled / self.served if self.served else 1.0
        if self.is_early or share >= NEARLY_ALL:
            return ""
        percent = "less than 1" if share < 0.01 else f"{math.floor(100 * share)}"
        return f"{percent} % of such answers have labels, which may not be typical."


def find_answer_record(
    ledger: Ledger,
    connection: Connection,
    row: WatchedVersion,
    *,
    predicted: str,
    confidence: float,
) -> AnswerRecord:
    """Read the record of answers like this one, by the same calibration; while an alarm is active,
    since the day on which the error began.

    Of a finding, `predicted` is its name and `confidence` its probability.
    """
    at, key = bin_of(confidence), row.watched_version_id
    watched = watch.load(connection, key)
    alarm = watched is not None and watched.detector.active
    columns = bin_day.c
    sums = [
        summed(column)
        for column in (columns.served, columns.n, columns.correct, columns.confidence)
    ]
    alike = (
        columns.watched_version_id == key,
        columns.day >= (_began(ledger, connection, row) if alarm else 0),
        columns.slice == (EVERYTHING, *row.slices_of(predicted))[-1],
        columns.bin == at,
    )
    served, labeled, right, total, day = tuple(
        connection.execute(select(*sums, func.min(columns.day)).where(*alike)).one()
    )
    return AnswerRecord(
        predicted=predicted,
        confidence=confidence,
        lower=at / BIN_COUNT,
        upper=(at + 1) / BIN_COUNT,
        served=int(served or 0),
        labeled=int(labeled or 0),
        right=int(right or 0),
        mean_confidence=float(total) / int(labeled) if labeled else math.nan,
        since=None if day is None else day_date(day).isoformat(),
        alarm=alarm,
    )


def _began(ledger: Ledger, connection: Connection, row: WatchedVersion) -> int:
    """The day on which the main error began, as the diagnosis has it; 0: none is known."""
    main = main_deviation(read_inferred(ledger, connection, row).inference.deviations)
    date = None if main is None else main.since.date
    return 0 if date is None else int(date * 1e9) // DAY_NS
