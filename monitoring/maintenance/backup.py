"""Backup of a SQLite ledger while servers write to it, and putting a backup in the place of the
ledger. A copy is one snapshot, checked, and in place only when complete; what was there before is
kept.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from calibration.wording import parameter
from monitoring.errors import LedgerCopyRefused, LedgerError
from monitoring.ledger.database import Ledger
from monitoring.ledger.dialects import read_url
from monitoring.ledger.dialects.sqlite import FileClaim
from monitoring.ledger.predictions import note_done
from monitoring.ledger.schema import prediction

_log = logging.getLogger(__name__)
# SQLite's logs belong to their file: left beside another one they would damage that.
_WITH_LOGS = ("", "-wal", "-shm")


def backup(ledger: Ledger, file: Path) -> int:
    """Copy the ledger to `file`; return its size in bytes.

    Raises LedgerCopyRefused if the ledger is in PostgreSQL, the file or a log beside it exists, or
    the copy is damaged.
    """
    source = ledger.file
    if source is None:
        raise LedgerCopyRefused(
            f"{ledger.name} is not a file; use pg_dump, or whatever backs up your other databases."
        )
    if file.exists():
        raise LedgerCopyRefused(f"{file} exists already; give another name.")
    for log in (_beside(file, "-wal"), _beside(file, "-journal")):
        if log.exists():
            raise LedgerCopyRefused(
                f"{log} is left of another database, and SQLite would write it into the copy; "
                "delete it, or give another name."
            )
    if not file.parent.is_dir():
        raise LedgerCopyRefused(
            f"There is no folder {file.parent}; make it first, or name another."
        )
    with _draft(file) as draft:
        try:
            damage = _copy(source, draft)
        except sqlite3.Error as error:
            raise LedgerCopyRefused(
                f"{source} cannot be copied to {file.parent} ({error})."
            ) from None
        if damage:
            raise LedgerCopyRefused(
                f"The copy of {source} is damaged ({damage}); the ledger may be."
            )
        draft.replace(file)
    return file.stat().st_size


def note_backup(ledger: Ledger) -> None:
    """Note in the ledger that it was backed up; a failure, which harms no copy, is only logged."""
    try:
        with ledger.write() as connection:
            note_done(connection, "backup", ledger.clock())
    except SQLAlchemyError as error:
        _log.warning("the ledger could not note the time of its backup: %s", error)


@dataclass(frozen=True)
class Restored:
    """What a ledger holds now. `last_ns`: time of its newest answer, None without one.

    `kept`: the file before; of a ledger whose file was gone, the log that was left of it.
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
    the new one. Raises LedgerCopyRefused if the ledger is in PostgreSQL, a process uses it, it
    exists without `replace`, or the copy is none, or has another schema. Then nothing has changed.
    """
    dialect, address = read_url(url)
    file = dialect.file(address)
    if file is None:
        raise LedgerCopyRefused(
            f"{dialect.title(address)} is not a file; use pg_restore or psql, into an empty "
            "database."
        )
    if not copy.is_file():
        raise LedgerCopyRefused(
            f"There is no file {copy}; give one that `candor ledger backup` wrote."
        )
    if file.exists() and not replace:
        raise LedgerCopyRefused(
            f"The ledger {file} exists; {parameter('replace', True)} keeps it beside, and "
            f"puts {copy} in its place."
        )
    with closing(FileClaim(_beside(file, ".lead"))) as claim, _draft(file) as draft:
        if not claim.held():
            raise LedgerCopyRefused(
                f"A server or monitor uses the ledger {file}; stop all of them first."
            )
        answers, labels, last_ns = _copy_ledger(copy, draft)
        kept = _set_aside(file)
        draft.replace(file)
    return Restored(file, answers, labels, last_ns, kept)


@contextmanager
def _draft(file: Path) -> Iterator[Path]:
    draft = file.with_name(f".{file.name}.part")
    draft.unlink(missing_ok=True)
    try:
        yield draft
    finally:
        for suffix in _WITH_LOGS:
            _beside(draft, suffix).unlink(missing_ok=True)


def _copy(source: Path, draft: Path) -> str:
    """Copy all pages in one step, durably; return what is damaged, '' for nothing.

    With smaller steps SQLite starts over whenever a server commits. Raises sqlite3.Error.
    """
    uri = f"{source.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as here, closing(sqlite3.connect(draft)) as there:
        here.backup(there, pages=-1)
        there.execute("PRAGMA journal_mode=DELETE")  # one file, without a -wal beside it
        (damage,) = there.execute("PRAGMA quick_check(1)").fetchone()
    with draft.open("rb") as written:
        os.fsync(written.fileno())
    return "" if damage == "ok" else damage


def _copy_ledger(copy: Path, draft: Path) -> tuple[int, int, int | None]:
    """Copy and check; return its answers, its labels, and when its newest answer was given."""
    counts = (
        select(func.count()).select_from(prediction).scalar_subquery(),
        select(func.count(prediction.c.label)).scalar_subquery(),
        select(func.max(prediction.c.served_at_ns)).scalar_subquery(),
    )
    try:
        if damage := _copy(copy, draft):
            raise LedgerCopyRefused(f"{copy} is damaged ({damage}); give another backup.")
        with (
            Ledger(f"sqlite:///{draft}", create=False, writable=False) as ledger,
            ledger.survey() as connection,
        ):
            answers, labels, last_ns = connection.execute(select(*counts)).one()
    except (sqlite3.Error, LedgerError) as error:
        why = str(error).replace(str(draft), str(copy))
        raise LedgerCopyRefused(
            f"{copy} is no ledger that `candor ledger backup` wrote: {why}"
        ) from None
    return answers, labels, last_ns


def _set_aside(file: Path) -> Path | None:
    """Rename the ledger and its logs; return the first of them, if any is there."""
    number = 1
    while any(_beside(file, f".replaced-{number}{suffix}").exists() for suffix in _WITH_LOGS):
        number += 1
    there = [suffix for suffix in _WITH_LOGS if _beside(file, suffix).exists()]
    for suffix in reversed(there):
        _beside(file, suffix).rename(_beside(file, f".replaced-{number}{suffix}"))
    return _beside(file, f".replaced-{number}{there[0]}") if there else None


def _beside(file: Path, suffix: str) -> Path:
    return file.with_name(f"{file.name}{suffix}")
