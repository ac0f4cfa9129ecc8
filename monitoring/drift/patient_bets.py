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

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Connection, func, select

from monitoring.feedback.labeling import FirstLabel
from monitoring.ledger.schema import DAY_NS, patient_bet
from monitoring.ledger.statement import in_lists, inserting

APART_NS: Final = 180 * DAY_NS  # between the servings of images that count as independent
_INSERT: Final = inserting(patient_bet)


def place_bets(
    connection: Connection, watched_version_id: int, labels: Sequence[FirstLabel]
) -> list[FirstLabel]:
    """Return the labels of one transaction that bet, each with its bet, and keep them.

    Labels that share a bet follow each other; the bet has the feedback id of the first of them.
    """
    patients = {label.patient for label in labels if label.patient is not None}
    served_ns = _last_bets(connection, watched_version_id, patients)
    numbers: dict[int, int] = {}
    placed = []
    for label in labels:
        if label.patient is None:
            placed.append(label._replace(bet=label.feedback_id))
        elif label.served_at_ns > served_ns.get(label.patient, -APART_NS) + APART_NS:
            number = numbers.setdefault(label.patient, label.feedback_id)
            placed.append(label._replace(bet=number))
    rows = [
        (watched_version_id, label.patient, label.feedback_id, label.bet, label.served_at_ns)
        for label in placed
        if label.patient is not None
    ]
    _INSERT.run(connection, rows)
    return in_order(placed)


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
