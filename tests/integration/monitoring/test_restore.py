"""What lies beside a ledger does not get into it by `candor ledger restore`."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

from monitoring.ledger.database import Ledger
from monitoring.maintenance.backup import backup
from tests.builders.processes import candor_here


def tables(file: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }


def test_the_log_of_a_ledger_whose_file_is_gone_is_set_aside(tmp_path: Path) -> None:
    file, copy = tmp_path / "candor.db", tmp_path / "copy.db"
    log = file.with_name("candor.db-wal")
    with Ledger(f"sqlite:///{file}") as ledger:
        backup(ledger, copy)
    before = tables(copy)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE after_the_backup (x)")
        connection.executemany("INSERT INTO after_the_backup VALUES (?)", [("x" * 2_000,)] * 50)
        connection.commit()
        shutil.copy(log, tmp_path / "kept-wal")  # closing would write it into the file
    file.unlink()
    (tmp_path / "kept-wal").rename(log)
    done = candor_here("ledger", "restore", copy, "--ledger", f"sqlite:///{file}")
    assert done.exit_code == 0, done.output
    assert tables(file) == before
    assert (tmp_path / "candor.db.replaced-1-wal").exists()
    assert "candor.db.replaced-1-wal" in done.output.replace("\n", "")


def test_restoring_a_ledger_from_itself_keeps_what_it_held(tmp_path: Path) -> None:
    file = tmp_path / "candor.db"
    with Ledger(f"sqlite:///{file}"):
        pass
    before = tables(file)
    done = candor_here("ledger", "restore", file, "--ledger", f"sqlite:///{file}", "--replace")
    assert done.exit_code == 0, done.output
    assert tables(file) == before == tables(tmp_path / "candor.db.replaced-1")
    assert {each.name for each in tmp_path.iterdir()} <= {
        "candor.db",
        "candor.db.replaced-1",
        "candor.db.lead",
    }
