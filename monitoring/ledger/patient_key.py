"""The key that hashes patients: one for all processes of a ledger, and for its whole life.

It is a secret that the ledger makes and holds, or that of a file, of which the ledger holds only
what recognizes it. With two keys in one ledger, a patient would count as two.
"""

import secrets
from typing import Final

from sqlalchemy import Connection, insert, select

from monitoring.errors import LedgerError
from monitoring.ledger.database import Ledger
from monitoring.ledger.locks import Lock, lock
from monitoring.ledger.schema import patient_key
from monitoring.patient_id import PatientKey

_SECRET_BYTES: Final = 32


def open_patient_key(ledger: Ledger, given: bytes | None = None) -> PatientKey:
    """Return the ledger's key, which the first process decides. `given`: the secret of a file.

    Raises LedgerError if the ledger has another key. It is never replaced: a process that runs
    may have hashed with it by the next commit.
    """
    with ledger.read() as connection:
        key = _known(connection, given)
    if key is None:
        with ledger.write() as connection:
            lock(connection, Lock.SCHEMA)
            key = _known(connection, given) or _enter(connection, given)
    return key


def _known(connection: Connection, given: bytes | None) -> PatientKey | None:
    row = connection.execute(select(patient_key)).one_or_none()
    if row is None:
        return None
    secret = row.secret if given is None else given
    if secret is not None and PatientKey(secret).check == row.recognized_by:
        return PatientKey(secret)
    has = "made its own key" if row.secret is not None else "began with another key file"
    raise LedgerError(
        f"This ledger {has}, and a patient must hash alike everywhere and always. Give every "
        "server and monitor the CANDOR_PATIENT_KEY_FILE that the ledger began with, or none if it "
        "made its own key; a new ledger takes a new one."
    )


def _enter(connection: Connection, given: bytes | None) -> PatientKey:
    key = PatientKey(given or secrets.token_bytes(_SECRET_BYTES))
    held = None if given else key.secret
    connection.execute(insert(patient_key).values(recognized_by=key.check, secret=held))
    return key
