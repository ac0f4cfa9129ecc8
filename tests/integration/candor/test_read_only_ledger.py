"""A ledger that can only be read is reported on; what needs to write says so."""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg
import pytest

from monitoring.feedback.items import FeedbackItem
from tests.builders.answers import CLASSES, make_row
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.postgres import Cluster
from tests.builders.processes import PATIENCE_S, wait_until

READING = (
    ("report",),
    ("report", "--html", "page.html"),
    ("report", "--json"),
    ("ledger", "check"),
    ("ledger", "export", "answers.csv"),
)
WRITING = (
    ("ledger", "check", "--repair"),
    ("ledger", "prune", "--older-than", "9d"),
    ("ledger", "forget", "--request-id", "x"),
    ("monitor", "--port", "0"),
    ("serve", "--port", "0"),
)
_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 24, 1, 2


def obey_permissions() -> None:
    """As everybody but root does."""
    if os.geteuid() == 0:
        for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


RUN = """
import contextlib, io, json, sys
from candor.command_line import main
for arguments in json.loads(sys.argv.pop()):
    sys.argv[1:] = arguments
    output, code = io.StringIO(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
    print(json.dumps([code, output.getvalue()]))
"""


def candor(ledger: str, folder: Path, *commands: Sequence[str]) -> list[tuple[int, str]]:
    """Exit code and output of each command, run by somebody who obeys permissions."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        env=environment | {"CANDOR_LEDGER": ledger, "CANDOR_STORE": str(folder)},
        cwd=folder,
        preexec_fn=obey_permissions,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def fill(model: MonitoredModel) -> None:
    """40 answers and their labels."""
    rows = [make_row(number, watched_version_id=model.watched_version_id) for number in range(40)]
    model.serve(*rows)
    model.label(
        *(FeedbackItem(CLASSES[number % 2], row.prediction_id) for number, row in enumerate(rows))
    )


def answered(url: str) -> None:
    with MonitoredModel(url, Clock()) as model:
        fill(model)


def check_all(ledger: str, folder: Path) -> None:
    found = candor(ledger, folder, *READING, *WRITING)
    for arguments, (code, output) in zip(READING, found[: len(READING)], strict=True):
        assert code == 0, (arguments, output)
    assert "40" in found[0][1]
    assert len((folder / "answers.csv").read_text().splitlines()) == 41
    for arguments, (code, output) in zip(WRITING, found[len(READING) :], strict=True):
        said = " ".join(output.split())
        assert (code, "cannot be written" in said, "needs to write" in said) == (1, True, True), (
            arguments,
            output,
        )


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """`locked(folder)`: nothing in the folder, nor the folder itself, can be written."""
    folders: list[Path] = []

    def lock(folder: Path, *, with_folder: bool) -> Path:
        for file in folder.iterdir():
            file.chmod(0o444)
        if with_folder:
            folder.chmod(0o555)
        folders.append(folder)
        return folder

    yield lock
    for folder in folders:
        folder.chmod(0o755)


@pytest.mark.parametrize("with_folder", [True, False])
def test_a_sqlite_file_that_cannot_be_written(
    tmp_path: Path, locked: Callable[..., Path], with_folder: bool
) -> None:
    (tmp_path / "kept").mkdir()
    work = tmp_path / "work"
    work.mkdir()
    answered(f"sqlite:///{tmp_path / 'kept' / 'ledger.db'}")
    folder = locked(tmp_path / "kept", with_folder=with_folder)
    before = (folder / "ledger.db").read_bytes()
    check_all(f"sqlite:///{folder / 'ledger.db'}", work)
    assert (folder / "ledger.db").read_bytes() == before
    if with_folder:
        assert [file.name for file in folder.iterdir()] == ["ledger.db"]


def test_a_sqlite_file_that_a_server_writes_is_read_beside_it(
    tmp_path: Path, locked: Callable[..., Path]
) -> None:
    (tmp_path / "kept").mkdir()
    work = tmp_path / "work"
    work.mkdir()
    url = f"sqlite:///{tmp_path / 'kept' / 'ledger.db'}"
    with MonitoredModel(url, Clock()) as model:
        fill(model)
        locked(tmp_path / "kept", with_folder=True)
        assert candor(url, work, ("ledger", "export", "answers.csv"))[0][0] == 0
    assert len((work / "answers.csv").read_text().splitlines()) == 41


@pytest.mark.nightly
def test_a_postgresql_role_that_may_only_select(postgres: Cluster, tmp_path: Path) -> None:
    url = postgres.make_database()
    answered(url)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS reader")
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT USAGE ON SCHEMA public TO reader")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    check_all(url.replace("candor@", "reader@"), tmp_path)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DROP OWNED BY reader")


@pytest.mark.nightly
def test_a_replica_of_postgresql_in_recovery(postgres: Cluster, tmp_path: Path) -> None:
    url = postgres.make_database()
    answered(url)
    with postgres.replica() as port:
        there = url.replace(f":{postgres.port}/", f":{port}/")
        wait_until(lambda: candor(there, tmp_path, ("report",))[0][0] == 0)
        check_all(there, tmp_path)
