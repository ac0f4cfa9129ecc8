"""NLL and Brier score of labeled answers: they need whole probabilities, which the ledger keeps
with each answer.
"""

from dataclasses import replace

import numpy as np
from sqlalchemy import Connection, select

from calibration.measures import metrics
from calibration.measures.summary import Measures
from monitoring.diagnosis.coverage import Window, Windowed
from monitoring.ledger.schema import DAY_NS, label_current, prediction
from monitoring.ledger.watched_version import WatchedVersion

LATEST = 5_000  # labels at most, so that the cost of a report stays bounded


def with_scores(
    measures: Measures,
    connection: Connection,
    row: WatchedVersion,
    window: Window,
    seen: Windowed,
    *,
    audit: bool,
) -> Measures:
    """Return the measures with the scores of a window's latest `LATEST` current labels.

    Logged predictions that came without all probabilities have none, and are left out. `audit`:
    whether audited answers alone count.
    """
    columns = (prediction.c.confidence, prediction.c.probabilities, label_current.c.label)
    wanted = (
        select(*columns)
        .join(label_current, label_current.c.prediction_id == prediction.c.prediction_id)
        .where(label_current.c.watched_version_id == row.watched_version_id)
    )
    if seen.since_day is not None:
        wanted = wanted.where(prediction.c.served_at_ns >= seen.since_day * DAY_NS)
    if audit:
        wanted = wanted.where(prediction.c.audit.is_not(None))
    most = min(LATEST, window.number) if window.kind == "last" else LATEST
    rows = connection.execute(
        wanted.order_by(label_current.c.first_feedback_id.desc()).limit(most)
    ).all()
    given = ((row.probabilities(answer), answer.label) for answer in rows)
    known = [(p, label) for p, label in given if len(p) == len(row.classes)]
    if not known:
        return measures
    probabilities, labels = (np.array(each) for each in zip(*known, strict=True))
    return replace(
        measures, nll=metrics.nll(probabilities, labels), brier=metrics.brier(probabilities, labels)
    )
