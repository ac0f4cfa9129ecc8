"""Schema 5: the digest of the bundle that a calibration was served from."""

import sqlalchemy as sa
from alembic import op

revision = "5"
down_revision = "4"


def upgrade() -> None:
    op.add_column("calibration", sa.Column("bundle_digest", sa.Text))
