"""Upgrades of a ledger from an older release: one Alembic revision per schema, named by the
schema's number.

The table `ledger_schema` holds the number of a ledger's schema. Every release since the first
writes and checks it, so Alembic's own version table and configuration file are not needed, only its
scripts and operations.
"""

from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, update

from monitoring.ledger.schema import ledger_schema

_FOLDER = Path(__file__).parent


def upgrade(connection: Connection, found: int) -> None:
    """Run every migration after schema `found`, in the caller's transaction."""
    scripts = reversed(list(ScriptDirectory(str(_FOLDER)).walk_revisions()))
    with Operations.context(MigrationContext.configure(connection)):
        for script in scripts:
            if int(script.revision) > found:
                script.module.upgrade()
                connection.execute(update(ledger_schema).values(version=int(script.revision)))
