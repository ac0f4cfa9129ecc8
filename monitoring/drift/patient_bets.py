"""Which labels bet in the drift watch: one bet a patient, the mean of images labeled together.

Images of one patient err together, in ways that nobody knows. A product of their bets could grow
without any error of the model. So a patient bets with the labels of one transaction, and their mean
is one bet (`calibration.drift.bets.steps_of`). Labels of the patient that come later, or whose
image was served within `APART_NS` of the last that bet, do not bet.

The promise holds exactly while patients are independent of each other, images of one patient more
than `APART_NS` apart are, and neither the order of labels nor their transactions depend on the
outcome. Given the number m of images, each bet has an expectation of at most 1, so has their mean,
and given everybody before, so has the factor of this patient: M <- e (M + 1) grows by 1 a bet on
average, as with single images (`calibration.drift.detector`). The order within a patient, and how
patients interleave, play no part. A later image cannot refine the mean: given the earlier ones,
its bet may be worth any amount, and who stops at an alarm would gain by it.

An answer without a patient bets by itself. The ledger keeps which label joined which bet, so a
replay shows the detector the same bets.
"""

import bisect
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, delete, func, select

from monitoring.drift.replay import LabelRow
from monitoring.feedback.labeling import FirstLabel
from monitoring.ledger.database import in_lists, inserting
from monitoring.ledger.schema import APART_NS, feedback, patient_bet

_INSERT: Final = inserting(patient_bet)


def place_bets(
    connection: Connection, watched_version_id: int, labels: Sequence[FirstLabel]
) -> list[FirstLabel]:
    """Return the labels of one transaction that bet, each with its bet, and keep them.

    Labels that share a bet follow each other; the bet has the feedback id of the first of them.
    """
    patients = {label.patient for label in labels if label.patient is not None}
    placed = _placed(labels, _last_bets(connection, watched_version_id, patients))
    _INSERT.run(connection, _rows(watched_version_id, placed))
    return in_order(placed)


def place_again(
    connection: Connection,
    watched_version_id: int,
    rows: Sequence[LabelRow],
    audits: Sequence[tuple[int, bool]],
) -> list[FirstLabel]:
    """Place the bets of all labels again, after other labels have become the first ones; return
    those that bet, as `place_bets` does. Labels that arrived at one time were of one transaction.

    Args:
        connection: in the transaction that changed the labels.
        watched_version_id: the version.
        rows: all first labels, in their order.
        audits: feedback ids, ascending, each with whether the watch used audited answers only from
            the next label on.
    """
    mine = patient_bet.c.watched_version_id == watched_version_id
    kept = select(feedback.c.feedback_id).filter_by(watched_version_id=watched_version_id)
    connection.execute(delete(patient_bet).where(mine, patient_bet.c.feedback_id.in_(kept)))
    # what is left are bets of labels that were deleted
    left = select(patient_bet.c.patient, func.max(patient_bet.c.served_at_ns)).where(mine)
    served_ns = dict(connection.execute(left.group_by(patient_bet.c.patient)).all())
    changes, labels = [feedback_id for feedback_id, _ in audits], []
    for _, together in itertools.groupby(rows, key=lambda row: row.received_at_ns):
        given = [row.label for row in together]
        before = bisect.bisect_left(changes, given[0].feedback_id)
        audit = before > 0 and audits[before - 1][1]
        placed = _placed(
            [each for each in given if each.patient is None or each.audited or not audit], served_ns
        )
        for label in placed:
            if label.patient is not None:
                latest_ns = max(served_ns.get(label.patient, 0), label.served_at_ns)
                served_ns[label.patient] = latest_ns
        labels += placed
    _INSERT.run(connection, _rows(watched_version_id, labels))
    return in_order(labels)


def _placed(labels: Sequence[FirstLabel], served_ns: Mapping[int, int]) -> list[FirstLabel]:
    """Return those of the labels of one transaction that bet, each with its bet.

    `served_ns`: when the latest image of each patient that bet before was served.
    """
    numbers: dict[int, int] = {}
    placed = []
    for label in labels:
        if label.patient is None:
            placed.append(label._replace(bet=label.feedback_id))
        elif label.served_at_ns > served_ns.get(label.patient, -APART_NS) + APART_NS:
            number = numbers.setdefault(label.patient, label.feedback_id)
            placed.append(label._replace(bet=number))
    return placed


def _rows(watched_version_id: int, placed: Sequence[FirstLabel]) -> list[tuple[int, ...]]:
    return [
        (watched_version_id, label.patient, label.feedback_id, label.bet, label.served_at_ns)
        for label in placed
        if label.patient is not None
    ]


def in_order(labels: Iterable[FirstLabel]) -> list[FirstLabel]:
    """Return the labels as a detector takes them: by bet."""
    return sorted(labels, key=lambda label: (label.bet, label.feedback_id))


def _last_bets(
    connection: Connection, watched_version_id: int, patients: set[int]
) -> dict[int, int]:
    """When the latest image of each patient that bet was served; without those that never bet."""
    columns = patient_bet.c
    found: dict[int, int] = {}
    for portion in in_lists(sorted(patients)):
        wanted = select(columns.patient, func.max(columns.served_at_ns)).where(
            columns.watched_version_id == watched_version_id, columns.patient.in_(portion)
        )
        found |= dict(connection.execute(wanted.group_by(columns.patient)).all())
    return found
