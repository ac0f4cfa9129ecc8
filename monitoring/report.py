"""The calibration report: what the ledger's sums say about a model, beside what its card promised.
 Windows: `all` (every labeled answer, from the day sums: the same cost at any size) and `last:N` (the N
answers whose first label came last).
"""

import math
import re
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, select

from calibration.bins import BinSums
from calibration.measures import Measures
from calibration.reliability import ReliabilityBin, reliability
from monitoring import watch
from monitoring.errors import ModelNeeded, QueryInvalid, brief
from monitoring.ledger.calibrations import choose, models, of_model
from monitoring.ledger.database import Ledger
from monitoring.ledger.schema import feedback, label_current, prediction
from monitoring.ledger.sums import read_sums
from monitoring.verdict import Status, judge

ALL = "all"
LAST_LIMIT = 100_000
_DELAY_SAMPLE = 500  # the latest labels from which the delay is estimated


class Coverage(NamedTuple):
    """Answers served, those with a label, and their share (NaN when nothing was served)."""

    served: int
    labeled: int
    ratio: float


class Delay(NamedTuple):
    """Seconds from answer to label over the latest labels; NaN without labels."""

    median_s: float
    p90_s: float


@dataclass(frozen=True)
class Drift:
    """The detector's word. `log_evalue` is minus infinity before the first label since the last reset."""

    log_evalue: float
    log_threshold: float
    active: bool
    direction: str | None
    labels: int
    alarm_label: int | None
    average_run_length: float
    tolerance: float


@dataclass(frozen=True)
class Report:
    """One model version's calibration as the ledger has it.

    `measures` describe the window, `reference` is the card's own measures of the same names. `expected_accuracy` is the
    mean confidence of all answers served, labeled or not. `bins` are those of a reliability diagram.
    """

    model: str
    version: int
    versions: tuple[int, ...]
    window: str
    generated_at_ns: int
    temperature: float
    status: Status
    verdict: str
    measures: Measures
    reference: dict[str, Any]
    expected_accuracy: float
    coverage: Coverage
    delay: Delay
    drift: Drift | None
    bins: tuple[ReliabilityBin, ...]
    served_bins: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: plain values, None in place of NaN and infinities."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields |= {"measures": asdict(self.measures), "bins": [asdict(row) for row in self.bins]}
        fields |= {"coverage": self.coverage._asdict(), "delay": self.delay._asdict()}
        fields |= {"drift": asdict(self.drift) if self.drift else None}
        plain: dict[str, Any] = _plain(fields)
        return plain


def calibration_report(ledger: Ledger, model: str, *, version: int | None = None, window: str = ALL) -> Report:
    """Report on a version of a model, by default the one registered last.

    Raises ModelUnknown for a model or version that was never registered, QueryInvalid for a window that cannot be read.
    """
    last = read_window(window)
    with ledger.read() as connection:
        row = choose(connection, model, version)
        versions = {other.version for other in of_model(connection, model)}
        sums = read_sums(connection, row.calibration_id)
        labeled = sums.labeled if last is None else last_labeled(connection, row.calibration_id, last)
        drift = _drift(connection, row.calibration_id)
        delay = _delay(connection, row.calibration_id)
    measures = Measures.from_sums(labeled)
    status, sentence = judge(measures, alarm_label=drift.alarm_label if drift else None)
    served = int(sums.served.sum())
    return Report(
        model=row.model,
        version=row.version,
        versions=tuple(sorted(versions)),
        window=window,
        generated_at_ns=ledger.clock(),
        temperature=row.card["calibration"]["temperature"],
        status=status,
        verdict=sentence,
        measures=measures,
        reference=row.card["calibration"]["measures"],
        expected_accuracy=float(sums.served_confidence.sum()) / served if served else math.nan,
        coverage=_coverage(served, sums.labeled.total),
        delay=delay,
        drift=drift,
        bins=tuple(reliability(labeled)),
        served_bins=tuple(sums.served.tolist()),
    )


def only_model(ledger: Ledger) -> str:
    """The model that need not be named because the ledger knows no other. Raises ModelNeeded."""
    with ledger.read() as connection:
        known = models(connection)
    if len(known) != 1:
        raise ModelNeeded(known)
    return known[0]


def read_window(window: str) -> int | None:
    """The N of `last:N`, None for `all`. Raises QueryInvalid.

    >>> read_window("last:500"), read_window("all")
    (500, None)
    """
    if window == ALL:
        return None
    found = re.fullmatch(r"last:([0-9]{1,9})", window)
    if found is None or not 1 <= int(found[1]) <= LAST_LIMIT:
        raise QueryInvalid(f"A window is 'all' or 'last:N' with N from 1 to {LAST_LIMIT:,}; got {brief(window)}.")
    return int(found[1])


def last_labeled(connection: Connection, calibration_id: int, last: int) -> BinSums:
    """The sums of the `last` answers whose first label came last, with the labels they have now."""
    newest_first = label_current.c.first_feedback_id.desc()
    wanted = select(label_current.c.confidence, label_current.c.correct).filter_by(calibration_id=calibration_id)
    rows = connection.execute(wanted.order_by(newest_first).limit(last)).all()
    if not rows:
        return BinSums.zeros()
    confidence, correct = zip(*rows, strict=True)
    return BinSums.from_predictions(np.array(confidence), np.array(correct, dtype=bool))


def _coverage(served: int, labeled: int) -> Coverage:
    return Coverage(served, labeled, labeled / served if served else math.nan)


def _drift(connection: Connection, calibration_id: int) -> Drift | None:
    watched = watch.load(connection, calibration_id)
    if watched is None:
        return None
    detector = watched.detector
    return Drift(
        log_evalue=detector.log_evalue,
        log_threshold=detector.log_threshold,
        active=detector.active,
        direction=detector.direction,
        labels=detector.labels,
        alarm_label=detector.alarm_label,
        average_run_length=watched.settings.average_run_length,
        tolerance=watched.settings.tolerance,
    )


def _delay(connection: Connection, calibration_id: int) -> Delay:
    first = label_current.c.first_feedback_id
    wanted = (
        select(feedback.c.received_at_ns - prediction.c.served_at_ns)
        .select_from(label_current)
        .join(feedback, feedback.c.feedback_id == first)
        .join(prediction, prediction.c.prediction_id == label_current.c.prediction_id)
        .where(label_current.c.calibration_id == calibration_id)
        .order_by(first.desc())
        .limit(_DELAY_SAMPLE)
    )
    delays_s = np.array(connection.scalars(wanted).all(), dtype=np.float64) / 1e9
    if not delays_s.size:
        return Delay(math.nan, math.nan)
    median, p90 = np.quantile(np.maximum(delays_s, 0.0), [0.5, 0.9]).tolist()
    return Delay(median, p90)


def _plain(value: Any) -> Any:
    """NaN and infinities as None, containers likewise, tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
