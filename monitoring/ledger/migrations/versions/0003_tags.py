"""Schema 3: drift detectors of tags, beside those of all answers, and the slice that an event is
about.

What a release wrote it must be able to read for ever, so nothing here is imported from the living
code.
"""

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"


def upgrade() -> None:
    op.add_column(
        "monitor_event", sa.Column("slice", sa.Text, nullable=False, server_default=sa.text("''"))
    )
    op.rename_table("monitor_state", "monitor_state_2")
    op.create_table(
        "monitor_state",
        sa.Column("calibration_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("slice", sa.Text, primary_key=True),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("last_feedback_id", sa.BigInteger, nullable=False),
        sa.Column("tags", sa.Text),
    )
    op.execute(
        "INSERT INTO monitor_state (calibration_id, slice, settings, state, last_feedback_id) "
        "SELECT calibration_id, '', settings, state, last_feedback_id FROM monitor_state_2"
    )
    op.drop_table("monitor_state_2")
