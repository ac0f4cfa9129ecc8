"""A copy of a SQLite ledger while servers write to it: one snapshot, checked, and in place only
when complete.
"""

import contextlib
import os
import sqlite3
import threading
from pathlib import Path

from monitoring.errors import BackupRefused
from monitoring.ledger.database import Ledger
from monitoring.maintenance import Progress, silent

_LOOK_S = 0.2


def backup(ledger: Ledger, file: Path, *, progress: Progress = silent) -> int:
    """Copy the ledger to `file`; return its size in bytes.

    Raises BackupRefused if the ledger is in PostgreSQL, the file or a log beside it exists, or the
    copy is damaged.
    """
    source = ledger.file
    if source is None:
        raise BackupRefused(
            f"{ledger.name} is not a file; use pg_dump, or whatever backs up your other databases."
        )
    if file.exists():
        raise BackupRefused(f"{file} exists already; give another name.")
    for beside in (file.with_name(f"{file.name}{suffix}") for suffix in ("-wal", "-journal")):
        if beside.exists():
            raise BackupRefused(
                f"{beside} is left of another database, and SQLite would write it into the copy; "
                "delete it, or give "
                "another name."
            )
    if not file.parent.is_dir():
        raise BackupRefused(f"There is no folder {file.parent}; make it first, or name another.")
    draft = file.with_name(f".{file.name}.part")
    draft.unlink(missing_ok=True)
    try:
        _copy(source, draft, progress)
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return file.stat().st_size


def _copy(source: Path, draft: Path, progress: Progress) -> None:
    """Copy all pages in one step: with smaller steps SQLite starts over whenever a server
    commits.
    """
    errors: list[Exception] = []
    thread = threading.Thread(
        target=_copy_all, args=(source, draft, errors), name="candor-backup", daemon=True
    )
    thread.start()
    total = source.stat().st_size
    while thread.is_alive():
        thread.join(_LOOK_S)
        progress("bytes", min(draft.stat().st_size, total) if draft.exists() else 0, total)
    if errors:
        raise errors[0]
    progress("bytes", total, total)


def _copy_all(source: Path, draft: Path, errors: list[Exception]) -> None:
    try:
        with (
            contextlib.closing(sqlite3.connect(source)) as here,
            contextlib.closing(sqlite3.connect(draft)) as there,
        ):
            _copy_checked(source, here, there)
    except sqlite3.Error as error:
        errors.append(BackupRefused(f"{source} cannot be copied to {draft.parent} ({error})."))
    except BackupRefused as error:
        errors.append(error)


def _copy_checked(source: Path, here: sqlite3.Connection, there: sqlite3.Connection) -> None:
    here.backup(there, pages=-1)
    there.execute("PRAGMA journal_mode=DELETE")  # one file, without a -wal beside it
    (found,) = there.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise BackupRefused(
            f"The copy of {source} is damaged ({found}); most likely the ledger is too."
        )
