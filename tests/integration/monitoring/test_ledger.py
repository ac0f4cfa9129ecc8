from pathlib import Path

import pytest
from sqlalchemy import create_engine, select

from monitoring.errors import LedgerError, ModelNotInLedger
from monitoring.ledger import Ledger
from monitoring.ledger.dialects import read_url
from monitoring.ledger.schema import SCHEMA_VERSION, prediction
from monitoring.ledger.versions import choose, of_model
from tests.builders.answers import make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel


def test_it_survives_power_loss_and_never_blocks_readers(monitored: MonitoredModel) -> None:
    assert monitored.rows("PRAGMA journal_mode") == [("wal",)]
    assert monitored.rows("PRAGMA synchronous") == [(2,)]  # FULL
    monitored.serve(make_row(1))
    with monitored.ledger.write():  # the lock is taken ...
        # ... and a reader does not wait
        assert monitored.rows("SELECT count(*) FROM prediction") == [(1,)]


def test_rows_are_stored_as_they_are_whether_they_share_columns_or_not(
    monitored: MonitoredModel,
) -> None:
    shared = [
        make_row(number, confidence=number / 100)._replace(probabilities=b"")
        for number in range(30)
    ]
    alone = [make_row(number, request_id=f"scan-{number}") for number in range(30, 60)]
    monitored.serve(*shared, *alone)
    with monitored.ledger.read() as connection:
        stored = connection.execute(select(prediction).order_by(prediction.c.prediction_id)).all()
    assert [row[:-3] for row in stored] == sorted([*shared, *alone])
    assert {row[-3:] for row in stored} == {(None, None, None)}  # no label yet


def test_what_cannot_hold_a_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("patient,label\n" * 100)
    for url in (
        f"sqlite:///{path}",
        "ledger.db",
        "mysql://localhost/candor",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////no/such/folder/ledger.db",
    ):
        with pytest.raises(LedgerError):
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
        with pytest.raises(LedgerError, match=f"schema {schema}"):
            Ledger(url, writable=writable)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version FROM ledger_schema").scalar() == schema
    engine.dispose()


def test_a_card_is_registered_once_and_another_card_is_another_calibration(
    monitored: MonitoredModel, clock: Clock
) -> None:
    assert monitored.recorder.register(make_card()) == (monitored.watched_version_id,)
    (other,) = monitored.recorder.register(make_card(temperature=2.0))
    assert other != monitored.watched_version_id
    with monitored.ledger.read() as connection:
        # the later id, at the same moment
        assert choose(connection, "pneumonia").watched_version_id == other
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
        for asked in (("retina",), ("pneumonia", 7)):
            with pytest.raises(ModelNotInLedger):
                choose(connection, *asked)
