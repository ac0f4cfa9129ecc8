"""Schema 4: sums of all class probabilities by day, predicted class and class, counted from the
answers that are there.

What a release wrote it must be able to read for ever, so nothing here is imported from the living
code.
"""

from array import array
from collections import defaultdict

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"

DAY_NS = 86_400_000_000_000
GRID = 2.0**32
CLASS_LIMIT = 16
SUMS = ("served", "served_squared", "counts", "labeled", "labeled_squared", "squared_error")
ANSWERS = """
    SELECT p.calibration_id, p.served_at_ns, p.predicted, p.probabilities, p.audit, l.label
    FROM prediction p LEFT JOIN label_current l ON l.prediction_id = p.prediction_id
    WHERE p.served_at_ns >= COALESCE((SELECT MAX(at_ns) FROM watermark), 0)
"""


def upgrade() -> None:
    table = op.create_table(
        "class_day",
        sa.Column("calibration_id", sa.BigInteger, primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True),
        sa.Column("predicted", sa.SmallInteger, primary_key=True),
        sa.Column("audited", sa.SmallInteger, primary_key=True),
        sa.Column("true_class", sa.SmallInteger, primary_key=True),
        sa.Column("shard", sa.SmallInteger, primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in SUMS),
        sqlite_with_rowid=False,
    )
    keys = ("calibration_id", "day", "predicted", "audited", "true_class")
    rows = [
        dict(zip((*keys, "shard", *SUMS), (*key, 0, *sums), strict=True))
        for key, sums in sorted(_counted().items())
    ]
    op.bulk_insert(table, rows)


def _counted() -> dict[tuple[int, ...], list[int]]:
    counted: dict[tuple[int, ...], list[int]] = defaultdict(lambda: [0] * len(SUMS))
    answers = op.get_bind().execution_options(yield_per=20_000).execute(sa.text(ANSWERS))
    for calibration_id, served_at_ns, predicted, probabilities, audit, label in answers:
        values = array("f", bytes(probabilities))
        for true_class, p in enumerate(values if len(values) <= CLASS_LIMIT else ()):
            if p > 0 or true_class == label:
                key = (
                    calibration_id,
                    served_at_ns // DAY_NS,
                    predicted,
                    int(audit is not None),
                    true_class,
                )
                for index, term in enumerate(
                    _terms(p, None if label is None else int(true_class == label))
                ):
                    counted[key][index] += term
    return counted


def _terms(p: float, truth: int | None) -> tuple[int, ...]:
    """What one class of one answer adds to SUMS; `truth`: 1 for the true class, 0 for another, None
    without a label.
    """
    served = (round(p * GRID), round(p * p * GRID))
    if truth is None:
        return (*served, 0, 0, 0, 0)
    return (*served, truth, *served, round((truth - p) * (truth - p) * GRID))
