"""Schema 6: pictures of answers, where a server keeps them for those who label."""

import sqlalchemy as sa
from alembic import op

revision = "6"
down_revision = "5"


def upgrade() -> None:
    op.create_table(
        "picture",
        sa.Column("prediction_id", sa.LargeBinary(16), primary_key=True),
        sa.Column("expires_at_ns", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("png", sa.LargeBinary, nullable=False),
    )
    op.create_index("picture_age", "picture", ["expires_at_ns", "size_bytes"])
