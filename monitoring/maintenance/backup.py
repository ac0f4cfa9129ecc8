"""Backup of a SQLite ledger while servers write to it, and putting a backup in the place of the
ledger. A copy is one snapshot, checked, and in place only when complete; what was there before is
kept.
"""

import contextlib
import os
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from monitoring.errors import BackupRefused, LedgerError, RestoreRefused
from monitoring.ledger.database import Ledger
from monitoring.ledger.dialects import read_url
from monitoring.ledger.dialects.sqlite import FileClaim
from monitoring.ledger.schema import label_current, ledger_schema, prediction
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
        _copy_running(source, draft, progress)
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return file.stat().st_size


def _copy_running(source: Path, draft: Path, progress: Progress) -> None:
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


_BESIDE = (
    "",
    "-wal",
    "-shm",
)  # SQLite's log belongs to its file: left beside another one it would damage that


@dataclass(frozen=True)
class Restored:
    """What a ledger holds now. `last_ns`: time of its newest answer, None without one. `kept`: the
    file before.

    Of a ledger whose file was gone, `kept` is the log that was left of it.
    """

    file: Path
    answers: int
    labels: int
    last_ns: int | None
    kept: Path | None


def restore(url: str, copy: Path, *, replace: bool = False) -> Restored:
    """Put `copy` in the place of the ledger at `url`.

    With `replace` a ledger that is there already is kept beside it, under the first free name
    `LEDGER.replaced-N`. So is the log of a ledger whose file is gone: SQLite would write it into
    the new one. Raises RestoreRefused if the ledger is in PostgreSQL, a process uses it, it exists
    without `replace`, or the copy is none, or has another schema. Then nothing has changed.
    """
    dialect, address = read_url(url)
    file = dialect.file(address)
    if file is None:
        raise RestoreRefused(
            f"{dialect.title(address)} is not a file; use pg_restore or psql, into an empty "
            "database."
        )
    if not copy.is_file():
        raise RestoreRefused(
            f"There is no file {copy}; give one that `candor ledger backup` wrote."
        )
    if file.exists() and not replace:
        raise RestoreRefused(
            f"The ledger {file} exists; --replace keeps it beside, and puts {copy} in its place."
        )
    claim = FileClaim(Path(f"{file}.lead"))
    draft = file.with_name(f".{file.name}.part")
    try:
        if not claim.held():
            raise RestoreRefused(
                f"A server or monitor uses the ledger {file}; stop all of them first."
            )
        _copy(copy, draft)
        answers, labels, last_ns = _contents(draft, copy)
        kept = _set_aside(file)
        draft.replace(file)
    finally:
        for suffix in _BESIDE:
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)
        claim.close()
    return Restored(file, answers, labels, last_ns, kept)


def _copy(source: Path, draft: Path) -> None:
    """Copy and check, without writing to the source or beside it."""
    draft.unlink(missing_ok=True)
    try:
        with (
            contextlib.closing(
                sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)
            ) as here,
            contextlib.closing(sqlite3.connect(draft)) as there,
        ):
            here.backup(there)
            (found,) = there.execute("PRAGMA quick_check(1)").fetchone()
            there.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.DatabaseError as error:
        raise RestoreRefused(
            f"{source} cannot be read as a ledger ({error}); give another backup."
        ) from None
    if found != "ok":
        raise RestoreRefused(f"{source} is damaged ({found}); give another backup.")
    with draft.open("rb") as written:
        os.fsync(written.fileno())


def _contents(draft: Path, copy: Path) -> tuple[int, int, int | None]:
    """How many answers and labels the ledger in the draft of `copy` holds, and when its newest
    answer was given.
    """
    counts = (
        select(func.count()).select_from(prediction).scalar_subquery(),
        select(func.count()).select_from(label_current).scalar_subquery(),
        select(func.max(prediction.c.served_at_ns)).scalar_subquery(),
    )
    dialect, draft_url = read_url(f"sqlite:///{draft}")
    if not dialect.may_hold(draft_url, ledger_schema):
        raise RestoreRefused(
            f"{copy} is a database, but no ledger; give one that `candor ledger backup` wrote."
        )
    try:
        with Ledger(f"sqlite:///{draft}", create=False) as ledger, ledger.read() as connection:
            answers, labels, last_ns = connection.execute(select(*counts)).one()
    except LedgerError as error:
        raise RestoreRefused(str(error).replace(str(draft), str(copy))) from None
    with contextlib.closing(sqlite3.connect(draft)) as connection:
        connection.execute(
            "PRAGMA journal_mode=DELETE"
        )  # opening it made a log, which would stay beside the draft
    return answers, labels, last_ns


def _set_aside(file: Path) -> Path | None:
    """Rename what is there; a log may be left of a ledger that is gone. Returns the first that is
    kept, if any is.
    """
    number = 1
    while any(_beside(file, suffix, number).exists() for suffix in _BESIDE):
        number += 1
    kept = [suffix for suffix in _BESIDE if file.with_name(file.name + suffix).exists()]
    for suffix in reversed(kept):
        file.with_name(file.name + suffix).rename(_beside(file, suffix, number))
    return _beside(file, kept[0], number) if kept else None


def _beside(file: Path, suffix: str, number: int) -> Path:
    return file.with_name(f"{file.name}.replaced-{number}{suffix}")
