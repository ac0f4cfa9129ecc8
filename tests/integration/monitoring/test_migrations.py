"""A ledger of every released schema, with data, becomes one of this release and agrees with a
recount.
"""

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from calibration.drift.state import DriftSettings
from monitoring.drift import events
from monitoring.errors import LedgerError
from monitoring.ledger import Ledger
from monitoring.ledger.schema import SCHEMA_VERSION, metadata
from monitoring.ledger.sums import read_slices
from monitoring.maintenance.recount import check
from tests.builders.answers import NOW_NS, label, make_row
from tests.builders.monitored import Clock, MonitoredModel, assert_same_state, assert_same_sums

DATA = Path(__file__).parents[2] / "data"
RELEASED = range(1, SCHEMA_VERSION)
SETTINGS = DriftSettings(average_run_length=20, tolerance=0.0)  # as the frozen ledgers were written
CURRENT = (
    "SELECT p.predicted, l.label, l.confidence, l.correct FROM label_current l JOIN prediction p "
    "USING (prediction_id)"
)


def old_ledger(folder: Path, schema: int) -> Path:
    path = folder / "ledger.db"
    with sqlite3.connect(path) as connection:
        connection.executescript((DATA / f"ledger_schema_{schema}.sql").read_text())
    connection.close()
    return path


def shape(path: Path) -> list[tuple[str, ...]]:
    with sqlite3.connect(path) as connection:
        tables = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1"
            )
        ]
        columns = [
            (table, *row)
            for table in tables
            for row in connection.execute(f"PRAGMA table_info({table})")
        ]
        indices = connection.execute(
            "SELECT tbl_name, name FROM sqlite_master WHERE type = 'index' ORDER BY 1, 2"
        ).fetchall()
    connection.close()
    return [*columns, *indices]


@pytest.mark.parametrize("schema", RELEASED)
def test_an_old_ledger_gets_the_shape_of_a_new_one(
    tmp_path: Path, schema: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = old_ledger(tmp_path, schema)
    with Ledger(f"sqlite:///{path}") as ledger, ledger.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    Ledger(f"sqlite:///{tmp_path / 'new.db'}").close()
    assert shape(path) == shape(tmp_path / "new.db")
    assert f"upgraded from schema {schema} to {SCHEMA_VERSION}" in caplog.text
    assert "only a copy made before" in caplog.text


@pytest.mark.parametrize("schema", RELEASED)
def test_nothing_in_it_is_lost_and_its_slices_are_counted(tmp_path: Path, schema: int) -> None:
    with (
        MonitoredModel(old_ledger(tmp_path, schema), Clock(), settings=SETTINGS) as monitored,
        monitored.ledger.read() as connection,
    ):
        answers = monitored.rows(CURRENT)
        assert len(answers) == 17
        assert check(monitored.ledger).agrees
        sums = read_slices(connection, 1)
        assert set(sums) == {
            "",
            "predicted:normal",
            "predicted:pneumonia",
            "true:normal",
            "true:pneumonia",
        }
        assert_same_sums(sums[""].labeled, [(p, bool(c)) for _, _, p, c in answers])
        for index, name in enumerate(("normal", "pneumonia")):
            chosen = [(p, bool(c)) for predicted, _, p, c in answers if predicted == index]
            assert_same_sums(sums[f"predicted:{name}"].labeled, chosen)
            assert sums[f"predicted:{name}"].served.sum() == 12
            assert_same_sums(
                sums[f"true:{name}"].labeled,
                [(p, bool(c)) for _, true, p, c in answers if true == index],
            )
            assert sums[f"true:{name}"].served.sum() == 0
        assert_same_state(*monitored.detectors(1))
        assert [event.kind for event in events.read(connection, 1)][:3] == [
            "started",
            "alarm",
            "acknowledged",
        ]


@pytest.mark.parametrize("schema", RELEASED)
def test_it_goes_on_where_it_stood(tmp_path: Path, schema: int) -> None:
    with MonitoredModel(old_ledger(tmp_path, schema), Clock(), settings=SETTINGS) as monitored:
        monitored.serve(
            make_row(99, request_id="scan-99")
        )  # its label has waited since before the upgrade
        assert monitored.sums(1).labeled.total == 18
        assert monitored.label(label(18, at_ns=NOW_NS)) == ["accepted"]
        assert_same_state(*monitored.detectors(1))


def test_an_upgrade_that_fails_leaves_the_old_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old_ledger(tmp_path, 1)
    before = shape(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE calibration SET card = 'no JSON'")  # only read at the very end
    connection.close()
    with pytest.raises(ValueError, match="Expecting value"):
        Ledger(f"sqlite:///{path}")
    assert shape(path) == before


def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE ledger_schema SET version = 99")
    connection.close()
    with pytest.raises(
        LedgerError, match=rf"has schema 99, this release reads schemas up to {SCHEMA_VERSION};"
    ):
        Ledger(f"sqlite:///{path}")
