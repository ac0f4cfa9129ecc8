"""Operating points of a version in the ledger: what its card promises, and which labels are here.

Single answers are read up to a limit, and pruned after a time. Only days whose labels are all here
count, so that the start of a confidence sequence does not move with its labels.
"""

import math

import numpy as np
from sqlalchemy import Connection

from calibration.diagnosis.answers import Answers
from calibration.operating.facts import OperatingPoints
from calibration.operating.points import operating_points
from calibration.operating.rates import RateBasis
from monitoring.diagnosis.accuracy import labeled_days
from monitoring.drift import watch
from monitoring.ledger.schema import DAY_NS, EVERYTHING
from monitoring.ledger.versions import count_findings
from monitoring.ledger.watched_version import WatchedVersion

_DAY_S = DAY_NS / 1e9


def watched_keys(connection: Connection, watched_version_id: int) -> tuple[str, ...]:
    """Return the keys of the tags whose values are judged by themselves."""
    watched = watch.load(connection, watched_version_id)
    return watched.tags.keys if watched is not None else ()


def find_operating_points(
    connection: Connection, row: WatchedVersion, answers: Answers, *, healed_s: float
) -> OperatingPoints:
    """Judge a version's answers, labeled or not, at its thresholds.

    `healed_s`: when the last error ended, if all have ended: rates are judged since; NaN otherwise.
    """
    finding = row.finding_card
    auroc = finding.get("measures", {}).get("auroc")
    return operating_points(
        answers,
        _basis(connection, row, answers, healed_s),
        threshold=finding.get("threshold"),
        auroc_promised={} if auroc is None else {row.classes[1]: auroc},
    )


def _basis(
    connection: Connection, row: WatchedVersion, answers: Answers, healed_s: float
) -> RateBasis:
    days = labeled_days(connection, row.watched_version_id, EVERYTHING)[EVERYTHING]
    here = (answers.served_s[answers.correct >= 0] // _DAY_S).astype(np.int64)
    known = dict(zip(*(each.tolist() for each in np.unique(here, return_counts=True)), strict=True))
    left_out = [each.day for each in days if known.get(each.day, 0) < each.n]
    left_out += [] if math.isnan(healed_s) else [int(healed_s // _DAY_S)]
    return RateBasis(
        promises=row.promises,
        keys=watched_keys(connection, row.watched_version_id),
        part=1 / max(count_findings(connection, row), 1),
        first_day=days[0].day if days else 0,
        since_day=max(left_out) + 1 if left_out else None,
        reference=_reference(row),
    )


def _reference(row: WatchedVersion) -> int:
    """The labeled answers of the card's reference."""
    return int(row.finding_card.get("labeled") or row.reference.total)
