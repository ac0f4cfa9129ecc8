"""Schema 2: tags and audit draws with each answer, day sums by slice and their totals, bounded tag
values, a watermark, brightness of inputs.

The day sums by predicted and by true class are counted from the answers that are there. What a
release wrote it must be able to read for ever, so nothing here is imported from the living code.
"""

import json
import struct

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = None

DAY_NS = 86_400_000_000_000
SUMS = "served, served_confidence, n, confidence, correct, variance, squared_error"
# bin_index in SQL: the first bin whose upper edge is not below the confidence; k/15 as float32
# counts as the edge too.
EDGES = [max(k / 15, struct.unpack("f", struct.pack("f", k / 15))[0]) for k in range(1, 15)]
BIN = (
    "CASE "
    + " ".join(f"WHEN p.confidence <= {edge!r} THEN {m}" for m, edge in enumerate(EDGES))
    + " ELSE 14 END"
)
COUNTED = f"""
    INSERT INTO bin_day (calibration_id, slice, day, bin, shard, {SUMS})
    SELECT p.calibration_id, :slice, p.served_at_ns / {DAY_NS}, {BIN}, 0,
        {{served}}, {{served_confidence}},
        COUNT(l.label), COALESCE(SUM(l.confidence), 0.0), COALESCE(SUM(l.correct), 0),
        COALESCE(SUM(l.confidence * (1 - l.confidence)), 0.0),
        COALESCE(SUM((l.correct - l.confidence) * (l.correct - l.confidence)), 0.0)
    FROM prediction p {{join}} JOIN label_current l ON l.prediction_id = p.prediction_id
    WHERE p.calibration_id = :calibration_id AND {{which}} = :class
    GROUP BY p.calibration_id, p.served_at_ns / {DAY_NS}, {BIN}
"""
BY_PREDICTED = COUNTED.format(
    served="COUNT(*)", served_confidence="SUM(p.confidence)", join="LEFT", which="p.predicted"
)
BY_TRUE = COUNTED.format(served="0", served_confidence="0.0", join="", which="l.label")


def upgrade() -> None:
    op.add_column("prediction", sa.Column("tags", sa.Text))
    op.add_column("prediction", sa.Column("audit", sa.Double))
    op.create_table(
        "tag_value",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "watermark",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
    )
    _move_day_sums()
    _count_classes()
    _add_totals()
    op.create_table(
        "input_day",
        sa.Column("calibration_id", sa.BigInteger, primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True),
        sa.Column("shard", sa.SmallInteger, primary_key=True),
        sa.Column("n", sa.BigInteger, nullable=False),
        sa.Column("mean", sa.BigInteger, nullable=False),
        sa.Column("mean_squared", sa.BigInteger, nullable=False),
        sa.Column("contrast", sa.BigInteger, nullable=False),
        sa.Column("contrast_squared", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _move_day_sums() -> None:
    op.rename_table("bin_day", "bin_day_1")
    op.create_table(
        "bin_day",
        sa.Column("calibration_id", sa.BigInteger, primary_key=True),
        sa.Column("slice", sa.Text, primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True),
        sa.Column("bin", sa.SmallInteger, primary_key=True),
        sa.Column("shard", sa.SmallInteger, primary_key=True),
        sa.Column("served", sa.BigInteger, nullable=False),
        sa.Column("served_confidence", sa.Double, nullable=False),
        sa.Column("n", sa.BigInteger, nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("correct", sa.BigInteger, nullable=False),
        sa.Column("variance", sa.Double, nullable=False),
        sa.Column("squared_error", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute(
        f"INSERT INTO bin_day (calibration_id, slice, day, bin, shard, {SUMS}) "
        f"SELECT calibration_id, '', day, bin, 0, {SUMS} FROM bin_day_1"
    )
    op.drop_table("bin_day_1")


def _count_classes() -> None:
    connection = op.get_bind()
    for calibration_id, card in connection.execute(
        sa.text("SELECT calibration_id, card FROM calibration")
    ).all():
        for index, name in enumerate(json.loads(card)["classes"]):
            wanted = {"calibration_id": calibration_id, "class": index}
            connection.execute(sa.text(BY_PREDICTED), wanted | {"slice": f"predicted:{name}"})
            connection.execute(sa.text(BY_TRUE), wanted | {"slice": f"true:{name}"})


def _add_totals() -> None:
    sums = (
        "served",
        "served_confidence",
        "n",
        "confidence",
        "correct",
        "variance",
        "squared_error",
    )
    op.create_table(
        "bin_total",
        sa.Column("calibration_id", sa.BigInteger, primary_key=True),
        sa.Column("slice", sa.Text, primary_key=True),
        sa.Column("bin", sa.SmallInteger, primary_key=True),
        sa.Column("shard", sa.SmallInteger, primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in sums),
        sqlite_with_rowid=False,
    )
    counts = ("served", "n", "correct")
    added = (
        f"SUM({name if name in counts else f'CAST(ROUND({name} * {2**32}) AS BIGINT)'})"
        for name in sums
    )
    op.execute(
        f"INSERT INTO bin_total (calibration_id, slice, bin, shard, {SUMS}) "
        f"SELECT calibration_id, slice, bin, 0, {', '.join(added)} FROM bin_day GROUP BY "
        "calibration_id, slice, bin"
    )
