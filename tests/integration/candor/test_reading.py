"""Commands that read what is not there: each names it, fails, and leaves nothing behind."""

from pathlib import Path

import pytest

from monitoring.errors import LedgerError
from monitoring.ledger.database import Ledger
from tests.builders.processes import candor_here as run

READING = [
    ("report",),
    ("report", "chest", "--html", "page.html"),
    ("ledger", "check"),
    ("ledger", "check", "--repair"),
    ("ledger", "export", "answers.csv"),
    ("ledger", "sources", "chest"),
    ("ledger", "backup", "copy.db"),
    ("ledger", "prune", "--older-than", "90d"),
    ("ledger", "forget", "--request-id", "scan.png"),
    ("recalibrate", "chest", "--preview"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_a_ledger_that_is_not_there(arguments: tuple[str, ...], folder: Path) -> None:
    done = run(*arguments, "--ledger", "sqlite:///./missing.db")
    assert done.exit_code == 1
    assert "There is no ledger ./missing.db: `candor serve`" in str(done.exception)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("models",),
        ("promote", "chest", "1"),
        ("predict", "scan.png", "--model", "chest"),
        ("canary", "start", "chest", "2"),
        ("canary", "status", "chest"),
        ("canary", "promote", "chest"),
        ("canary", "abort", "chest"),
    ],
    ids=" ".join,
)
def test_a_store_that_is_not_there(arguments: tuple[str, ...], folder: Path) -> None:
    Path("scan.png").touch()
    done = run(*arguments, "--store", "missing")
    assert done.exit_code == 1
    assert "there is no store missing: `candor export` makes it" in str(done.exception)
    assert [each.name for each in folder.iterdir()] == ["scan.png"]


@pytest.mark.parametrize(
    "arguments", [("data", "check", "missing"), ("train", "missing"), ("export", "missing")]
)
def test_data_or_a_run_that_is_not_there(arguments: tuple[str, ...], folder: Path) -> None:
    done = run(*arguments)
    assert done.exit_code == 1
    assert "missing" in str(done.exception)
    assert "dermamnist" not in str(done.exception)
    assert not list(folder.iterdir())


def test_a_database_of_somebody_else_is_not_filled_with_tables(folder: Path) -> None:
    Path("other.db").touch()
    with pytest.raises(LedgerError, match="There is no ledger"):
        Ledger("sqlite:///./other.db", create=False)
    assert Path("other.db").stat().st_size == 0
    Ledger("sqlite:///./made.db").close()
    Ledger("sqlite:///./made.db", create=False).close()
