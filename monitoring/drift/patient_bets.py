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

from monitoring.feedback.labeling import FirstLabel
from monitoring.ledger.schema import APART_NS, feedback, label_current, patient_bet, prediction
from monitoring.ledger.statement import in_lists, inserting

_INSERT: Final = inserting(patient_bet)


def place_bets(
    connection: Connection, watched_version_id: int, labels: Sequence[FirstLabel]
) -> list[FirstLabel]:
    """Return the labels of one transaction that bet, each with its bet, and keep them.

    Labels that share a bet follow each other; the bet has the feedback id of the first of them.
    """
    patients = {label.patient for label in labels if label.patient is not None}
    placed = _placed(labels, _last_bets(connection, watched_version_id, patients))
    _keep(connection, watched_version_id, placed)
    return in_order(placed)


def place_again(
    connection: Connection, watched_version_id: int, audits: Sequence[tuple[int, bool]]
) -> None:
    """Place the bets of patients again, after other labels have become the first ones.

    Labels that arrived at one time were of one transaction.

    Args:
        connection: in a transaction that writes.
        watched_version_id: the version.
        audits: feedback ids, ascending, each with whether the watch used audited answers only from
            the next label on.
    """
    columns = patient_bet.c
    of_version = columns.watched_version_id == watched_version_id
    kept = select(feedback.c.feedback_id).where(feedback.c.watched_version_id == watched_version_id)
    connection.execute(delete(patient_bet).where(of_version, columns.feedback_id.in_(kept)))
    rows = _of_patients(connection, watched_version_id)
    patients = {label.patient for label, _ in rows if label.patient is not None}
    served_ns = _last_bets(connection, watched_version_id, patients)
    changes = [feedback_id for feedback_id, _ in audits]
    for _, together in itertools.groupby(rows, key=lambda row: row[1]):
        labels = [label for label, _ in together]
        before = bisect.bisect_left(changes, labels[0].feedback_id)
        audit = before > 0 and audits[before - 1][1]
        placed = _placed([label for label in labels if label.audited or not audit], served_ns)
        _keep(connection, watched_version_id, placed)
        for label in placed:
            patient = label.patient or 0
            served_ns[patient] = max(served_ns.get(patient, 0), label.served_at_ns)


def _of_patients(connection: Connection, watched_version_id: int) -> list[tuple[FirstLabel, int]]:
    """Return the first labels of answers with a patient, and when they arrived, in their order."""
    first_id, answer = label_current.c.first_feedback_id, prediction.c
    wanted = (
        select(
            *(first_id, label_current.c.confidence, feedback.c.correct, answer.predicted),
            *(answer.audit, answer.tags, answer.patient, answer.served_at_ns),
            feedback.c.received_at_ns,
        )
        .join(feedback, feedback.c.feedback_id == first_id)
        .join(prediction, answer.prediction_id == label_current.c.prediction_id)
        .where(label_current.c.watched_version_id == watched_version_id)
        .where(answer.patient.is_not(None))
        .order_by(first_id)
    )
    return [
        (FirstLabel(key, p, bool(correct), predicted, audit is not None, *of_answer), ns)
        for key, p, correct, predicted, audit, *of_answer, ns in connection.execute(wanted)
    ]


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


def _keep(connection: Connection, watched_version_id: int, placed: Sequence[FirstLabel]) -> None:
    rows = [
        (watched_version_id, label.patient, label.feedback_id, label.bet, label.served_at_ns)
        for label in placed
        if label.patient is not None
    ]
    _INSERT.run(connection, rows)


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
