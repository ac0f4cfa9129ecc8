from pathlib import Path

import pytest
from sqlalchemy import create_engine

from monitoring.errors import LedgerError, ModelNotInLedger
from monitoring.ledger import Ledger
from monitoring.ledger.dialects import read_url
from monitoring.ledger.schema import SCHEMA_VERSION
from monitoring.ledger.versions import choose, of_model
from tests.builders.answers import make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel


def test_it_survives_power_loss_and_never_blocks_readers(monitored: MonitoredModel) -> None:
    assert monitored.rows("PRAGMA journal_mode") == [("wal",)]
    assert monitored.rows("PRAGMA synchronous") == [(2,)]  # FULL
    monitored.serve(make_row(1))
    with monitored.ledger.write():  # the lock is taken ...
        assert monitored.rows("SELECT count(*) FROM prediction") == [
            (1,)
        ]  # ... and a reader does not wait


def test_it_is_a_context(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger, ledger.read() as connection:
        assert of_model(connection, "pneumonia") == []


def test_what_was_written_is_there_after_reopening(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
        monitored.serve(make_row(1))
    with MonitoredModel(tmp_path / "ledger.db", clock) as again:
        assert again.watched_version_id == monitored.watched_version_id
        assert again.sums().served.sum() == 1


def test_a_write_that_raises_leaves_nothing(monitored: MonitoredModel) -> None:
    def forget_then_fail() -> None:
        with monitored.ledger.write() as connection:
            connection.exec_driver_sql("DELETE FROM watched_versions")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        forget_then_fail()
    assert monitored.rows("SELECT count(*) FROM watched_versions") == [(1,)]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("patient,label\n" * 100)
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(f"sqlite:///{path}")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ledger.db", "not a database URL"),
        ("mysql://localhost/candor", "kept in SQLite or PostgreSQL, not mysql"),
        ("sqlite://", "must outlive its process"),
        ("sqlite:///:memory:", "must outlive its process"),
        ("sqlite:////no/such/folder/ledger.db", "/no/such/folder does not exist"),
    ],
)
def test_a_url_that_cannot_hold_a_ledger_is_refused(url: str, sentence: str) -> None:
    with pytest.raises(LedgerError, match=sentence):
        Ledger(url)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("schema", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_a_ledger_of_another_schema_is_refused_and_stays_as_it_is(
    tmp_path: Path, request: pytest.FixtureRequest, database: str, schema: int
) -> None:
    if database == "sqlite":
        url = f"sqlite:///{tmp_path / 'ledger.db'}"
    else:
        url = request.getfixturevalue("postgres").make_database()
    engine = create_engine(read_url(url)[1])
    Ledger(url).close()
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE ledger_schema SET version = {schema}")
    for writable in (True, False):
        with pytest.raises(LedgerError, match=f"has schema {schema}.* CANDOR_LEDGER"):
            Ledger(url, writable=writable)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version FROM ledger_schema").scalar() == schema
    engine.dispose()


def test_a_card_is_registered_once_and_another_card_is_another_calibration(
    monitored: MonitoredModel, clock: Clock
) -> None:
    assert monitored.recorder.register(make_card()) == monitored.watched_version_id
    other = monitored.recorder.register(make_card(temperature=2.0))
    assert other != monitored.watched_version_id
    with monitored.ledger.read() as connection:
        assert (
            choose(connection, "pneumonia").watched_version_id == other
        )  # the later id, at the same moment
    clock.now_ns += 1
    monitored.recorder.register(make_card())  # a rollback: the older one serves again
    with monitored.ledger.read() as connection:
        assert choose(connection, "pneumonia").watched_version_id == monitored.watched_version_id
        assert [row.watched_version_id for row in of_model(connection, "pneumonia")] == [
            monitored.watched_version_id,
            other,
        ]


def test_an_unknown_model_or_version_is_named(monitored: MonitoredModel) -> None:
    with monitored.ledger.read() as connection:
        with pytest.raises(ModelNotInLedger, match="no model 'retina'; it knows pneumonia"):
            choose(connection, "retina")
        with pytest.raises(
            ModelNotInLedger, match="no model 'pneumonia' version 7; it knows version 1"
        ):
            choose(connection, "pneumonia", 7)


def test_predictions_are_kept_whole(monitored: MonitoredModel) -> None:
    row = make_row(1, confidence=0.75, request_id="scan-1")
    monitored.serve(row)
    assert monitored.rows("SELECT * FROM prediction") == [tuple(row)]
